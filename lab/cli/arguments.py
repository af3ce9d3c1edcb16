"""Kinds of arguments that several commands take."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

STANDARD_OUTPUT = Path("-")


def _no_option(_type: object, value: Path | None) -> None:
    if value not in {None, STANDARD_OUTPUT} and str(value).startswith("-"):
        raise ValueError("no such option")


Flag = Annotated[bool, Parameter(negative="")]
Positive = Annotated[float, Parameter(validator=Number(gt=0))]  # NaN is not
OutputFile = Annotated[Path, Parameter(allow_leading_hyphen=True, validator=_no_option)]
"""Where to write; :data:`STANDARD_OUTPUT`, a single dash, is no option."""
