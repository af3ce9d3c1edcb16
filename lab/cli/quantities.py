"""Numbers on a command line that must be above zero."""

from typing import Annotated

from cyclopts import Parameter


def _check(_type: object, value: float) -> None:
    if not value > 0:  # so written since NaN is neither above zero nor below
        raise ValueError("must be above zero")


Positive = Annotated[float, Parameter(validator=_check)]
