"""Data that end before their announced length: where and why."""

from types import FrameType, TracebackType
from typing import Any

__all__ = ["EndedEarlyError", "ended_early", "length_of"]


class EndedEarlyError(RuntimeError):
    """The data ended before their length, or one of their items raised `StopIteration`."""


def length_of(data: Any) -> int | None:
    """Batches in one pass, None where the data do not say.

    Example:
        >>> length_of([1, 2]), length_of(iter([1, 2]))
        (2, None)
    """
    try:
        return len(data)
    except TypeError:  # a `DataLoader` over an `IterableDataset` has a `__len__` that raises it
        return None


def ended_early(
    name: str, drawn: int, length: int | None, stop: BaseException | None
) -> EndedEarlyError:
    """The error that says at which batch, and at which item where that is known.

    Args:
        name: Of the data.
        drawn: Batches that were had in this pass.
        length: Batches that the data say they have; None where they do not.
        stop: What ended the pass: the `StopIteration`, or an error that it caused.

    Example:
        >>> print(ended_early("data.train", 4, 8, None))
        data.train ended after batch 4 of 8: it must give as many batches as its length says
    """
    of = "" if length is None else f" of {length}"
    item = None if stop is None else _item(stop)
    if item is not None:
        return EndedEarlyError(
            f"{name}: {item} raised StopIteration in batch {drawn + 1}{of}; to Python that means "
            "that the data are over: let it raise another error, or leave the item out"
        )
    if not drawn:
        return EndedEarlyError(
            f"{name} gave no batch{of}: it is empty, or an iterator that is used up; give an "
            "iterable that can be started again"
        )
    return EndedEarlyError(
        f"{name} ended after batch {drawn}{of}: it must give as many batches as its length says"
    )


def _item(stop: BaseException) -> str | None:
    """What raised it, if that was an item and not the end of the data."""
    text = str(stop)
    if text.startswith("Caught StopIteration in DataLoader worker process"):
        places = [line.strip() for line in text.splitlines() if line.strip().startswith("File ")]
        worker = text.split("worker process ")[1].split(".")[0]
        return f"an item in worker {worker} ({places[-1] if places else 'somewhere'})"
    cause = stop.__cause__
    if isinstance(stop, RuntimeError) and isinstance(cause, StopIteration):  # in a generator
        return f"an item ({_place(cause.__traceback__)})"
    frames = list(_frames(stop.__traceback__))
    fetching = [frame for frame in frames if _in_torch(frame) and "fetch" in frame.f_code.co_name]
    if not fetching or _in_torch(frames[-1]):
        return None
    indices = [
        frame.f_locals["idx"] for frame in frames if _in_torch(frame) and "idx" in frame.f_locals
    ]
    if not indices:
        indices = [fetching[-1].f_locals.get("possibly_batched_index")]
    return f"item {indices[-1]} ({_place(stop.__traceback__)})"


def _in_torch(frame: FrameType) -> bool:
    return "torch.utils.data" in str(frame.f_globals.get("__name__"))


def _frames(traceback: TracebackType | None) -> list[FrameType]:
    frames = []
    while traceback is not None:
        frames.append(traceback.tb_frame)
        traceback = traceback.tb_next
    return frames


def _place(traceback: TracebackType | None) -> str:
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return "somewhere"
    code = traceback.tb_frame.f_code
    return f"{code.co_qualname}, {code.co_filename}:{traceback.tb_lineno}"
