"""Numbers on a command line that must be above zero; NaN is not."""

from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

Positive = Annotated[float, Parameter(validator=Number(gt=0))]
