"""The parts of a data set that a run needs."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Data", "SizedIterable"]


class SizedIterable(Protocol):
    """Batches, and how many of them: a `Batches`, a `DataLoader`, a list."""

    def __len__(self) -> int:
        """Number of batches in one pass."""

    def __iter__(self) -> Iterator[Any]:
        """One pass."""


@dataclass(frozen=True)
class Data:
    """Batches to train on, to choose by, and to report on.

    Args:
        train: Batches `(x, y)` of the training part, first dimension the batch.
        validation: The same of the validation part, None where there is none.
        test: The same of the test part, None where there is none.
        classes: What each class is called, in the order of the class indices; for text, its
            characters. Empty where there are no classes.

    Raises:
        TypeError: A part has no length or cannot be iterated.
        ValueError: A part has no batch.

    Example:
        >>> data = Data(train=[(1, 2)], validation=[])
        Traceback (most recent call last):
        ValueError: data.validation must hold at least one batch, got none; ...
    """

    train: SizedIterable
    validation: SizedIterable | None = None
    test: SizedIterable | None = None
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("train", "validation", "test"):
            part = getattr(self, name)
            if part is None and name != "train":
                continue
            if not (hasattr(part, "__len__") and hasattr(part, "__iter__")):
                raise TypeError(
                    f"data.{name} must be batches with a length (a Batches, a DataLoader, a "
                    f"list), got {type(part).__name__}"
                )
            if len(part) == 0:
                raise ValueError(
                    f"data.{name} must hold at least one batch, got none; leave a part out with "
                    "None, or give it more data"
                )
