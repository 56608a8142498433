"""Draw a picture only if its data were not flagged as wrong."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from trainkit.writers.protocol import LeftOut

__all__ = ["UnlessWrong"]


@dataclass(frozen=True)
class UnlessWrong:
    """Calls `make` with all parts but the last one, if that one is 0.

    Args:
        make: Makes the picture.

    Example:
        >>> import numpy
        >>> UnlessWrong(str)(numpy.array(3), numpy.array(0.0))
        '3'
    """

    make: Callable[..., Any]

    def __call__(self, *parts: NDArray[Any]) -> Any:
        """The picture.

        Raises:
            LeftOut: The last part is not 0.
        """
        *shown, wrong = parts
        if wrong.any():
            raise LeftOut("the predictions are not of the kind that they are said to be")
        return self.make(*shown)
