"""The parts of a data set that a run needs."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from trainkit.data.ended_early import length_of

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
        train: Batches `(x, y)` of the training part, first dimension the batch. Without a length
            (a generator function's result, a loader of an `IterableDataset`) they need
            `trainer.epoch_length`.
        validation: The same of the validation part, None where there is none. Without a length a
            pass ends where the data do.
        test: The same of the test part, None where there is none.
        classes: What each class is called, in the order of the class indices; for text, its
            characters. Empty where there are no classes.

    Raises:
        TypeError: A part cannot be iterated, or not more than once.
        ValueError: A part has no batch.

    Example:
        >>> data = Data(train=[(1, 2)], validation=[])
        Traceback (most recent call last):
        ValueError: data.validation must hold at least one batch, got none; ...
    """

    train: Iterable[Any]
    validation: Iterable[Any] | None = None
    test: Iterable[Any] | None = None
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("train", "validation", "test"):
            part = getattr(self, name)
            if part is None and name != "train":
                continue
            if not (hasattr(part, "__iter__") or hasattr(part, "__getitem__")):
                raise TypeError(
                    f"data.{name} must be batches that can be iterated (a Batches, a DataLoader, a "
                    f"list), got {type(part).__name__}"
                )
            if name != "train" and hasattr(part, "__next__"):
                raise TypeError(
                    f"data.{name} must be batches that can be iterated more than once, got the "
                    f"iterator {type(part).__name__}; give an iterable, e.g. list(...)"
                )
            if length_of(part) == 0:
                raise ValueError(
                    f"data.{name} must hold at least one batch, got none; leave a part out with "
                    "None, or give it more data"
                )
