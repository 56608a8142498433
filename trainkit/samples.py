"""Find the number of samples in a batch, a target or a prediction."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from itertools import islice
from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

__all__ = ["samples_in", "samples_of"]

_LOOKED_AT = 8  # items of a long list: a list of samples is alike throughout


def samples_in(batch: Any) -> int | None:
    """How many samples a batch holds, as its user would say it.

    - A tensor or an array: its first dimension.
    - A number that the object tells itself: `num_graphs` or `batch_size` (graphs, tensor dicts).
    - A mapping, a dataclass, or a tuple or list of columns, nested as it may be: what most of its
      parts hold; numbers, 0-d tensors and other parts that tell nothing do not count.
    - A list of samples (mappings with the same keys, strings, numbers, pairs of an input and a
      label, tensors that differ in their first dimension, or images): its length.

    Args:
        batch: Anything; nothing of it is copied or read from a device.

    Returns:
        None where nothing in it tells.

    Example:
        >>> import torch
        >>> x, z, y = torch.zeros(8, 3), torch.zeros(8, 5), torch.zeros(8)
        >>> samples_in(((x, z), y)), samples_in({"scale": 0.5, "text": ["a", "b"]})
        (8, 2)
        >>> samples_in([{"image": torch.zeros(3, 4, 4)}] * 32)
        32
    """
    if (type(batch) is tuple or type(batch) is list) and len(batch) == 2:  # so it is nearly always
        x, y = batch
        if type(x) is Tensor and type(y) is Tensor and x.ndim and y.ndim:
            samples: int = x.shape[0]  # `len` is a function of torch's that is written in Python
            if y.shape[0] == samples:
                return samples
    return _count(batch)[0]


def samples_of(y_pred: Any, y: Any) -> int:
    """Samples behind predictions and targets: what `y` holds, else `y_pred`; 1 if neither tells.

    Example:
        >>> import torch
        >>> samples_of({"a": torch.zeros(4, 2)}, None)
        4
    """
    for part in (y, y_pred):
        found = samples_in(part)
        if found is not None:
            return found
    return 1


# Of each value: how many samples, and whether that is sure. What is read off one list of tensors,
# which may be columns or samples, gives way to what other parts of the batch say.
_Count = tuple[int | None, bool]


def _count(value: Any) -> _Count:
    if isinstance(value, PackedSequence):  # `batch_sizes` is in main memory, always
        return len(value.batch_sizes) and int(value.batch_sizes[0]), True
    if isinstance(value, Tensor):
        return (value.size(0) if value.ndim else None), True
    if isinstance(value, str | bytes):
        return None, False
    if not isinstance(value, tuple | list | dict):
        told = _told_by(value)
        if told is not None:
            return told, True
    if isinstance(value, Mapping):
        return _most(map(_count, value.values()))
    if isinstance(value, tuple | list):
        return _count_items(value)
    if is_dataclass(value):
        return _most(_count(getattr(value, field.name, None)) for field in fields(value))
    return None, False


def _told_by(value: Any) -> int | None:
    for name in ("num_graphs", "batch_size", "shape"):
        told = _attribute(value, name)
        if isinstance(told, tuple):
            told = told[0] if told else None
        if isinstance(told, int) and not isinstance(told, bool):
            return told
    return None


def _attribute(value: Any, name: str) -> Any:
    try:
        return getattr(value, name, None)
    except Exception:  # a property that needs what is not there yet
        return None


def _count_items(items: tuple[Any, ...] | list[Any]) -> _Count:
    if not items:
        return None, False
    some = list(islice(items, _LOOKED_AT))
    if all(_is_atom(item) for item in some):
        numbers = isinstance(items, tuple) and not any(isinstance(i, str | bytes) for i in some)
        return (None if numbers else len(items)), True  # `(3, 4)` is a pair of whatever
    if all(isinstance(item, Mapping) for item in some) and _are_samples(some):
        return len(items), True
    if all(type(item) is tuple or type(item) is list for item in some) and _mixed(some):
        return len(items), True
    if len(items) > 1 and all(isinstance(item, Tensor) for item in some):
        return _count_tensors(items, some)
    return _most(_count(item) for item in items)


def _count_tensors(items: tuple[Any, ...] | list[Any], some: list[Tensor]) -> _Count:
    if any(not tensor.ndim for tensor in some):
        return _most(_count(item) for item in items)
    first = some[0]
    rest = all(tensor.shape[1:] == first.shape[1:] for tensor in some)
    lengths = {tensor.shape[0] for tensor in some}
    many = len(items) > (2 if isinstance(items, list) else 4)
    if rest and len(lengths) > 1 and many:  # sequences, or boxes, of several lengths
        return len(items), True
    images = rest and first.ndim == 3 and first.shape[0] in (1, 3, 4) and len(items) > 3
    if images:
        return len(items), False
    return first.shape[0], not rest or (len(lengths) == 1 and first.ndim != 3)


def _are_samples(some: list[Mapping[Any, Any]]) -> bool:
    """Whether mappings are samples, not columns: the inputs and the targets of one batch."""
    if any(mapping.keys() != some[0].keys() for mapping in some):
        return False
    # Inputs and targets under the same names: only samples have as many dimensions throughout.
    return len(some) != 2 or _dimensions(some[0]) == _dimensions(some[1])


def _dimensions(sample: Mapping[Any, Any]) -> list[int | None]:
    return [getattr(part, "ndim", None) for part in sample.values()]


def _mixed(some: list[Any]) -> bool:
    """Whether these are samples like `(input, label)`: of several kinds inside, all alike."""
    kinds = [tuple(_kind(part) for part in item) for item in some]
    return len(set(kinds)) == 1 and len(set(kinds[0])) > 1 and "atom" in kinds[0]


def _kind(part: Any) -> str:
    if isinstance(part, str):
        return "text"
    return "atom" if _is_atom(part) else "columns"


def _is_atom(item: Any) -> bool:
    if isinstance(item, Tensor):
        return not item.ndim
    return isinstance(item, str | bytes | int | float | complex)


def _most(counts: Any) -> _Count:
    """What most say, the first of them; among those that are sure, if any is."""
    known = [count for count in counts if count[0] is not None]
    sure = [n for n, is_sure in known if is_sure] or [n for n, _ in known]
    if not sure:
        return None, False
    return max(sure, key=sure.count), any(is_sure for _, is_sure in known)
