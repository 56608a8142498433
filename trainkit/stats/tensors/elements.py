"""The elements of a tensor of any kind, as the plain real tensor that statistics are taken of."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from trainkit.stats.cpu.sizes import plain_sizes
from trainkit.stats.tensors.readable import own_their_memory, plain

__all__ = ["CHUNK_BYTES", "chunks", "elements", "elements_and_sizes", "partitions", "power_of_two"]

# Size of the copies that are made at a time, in bytes.
CHUNK_BYTES = 32 * 2**20


def elements(tensor: Tensor) -> Tensor:
    """The explicit elements, real, in float32 or float64, without a copy where that is possible.

    Complex elements become their magnitudes; half precision and integers become float32. Of a
    sparse tensor these are the stored values, duplicates added up; the zeros that it does not
    store are left to the caller, who knows `tensor.numel()`. Of other kinds: see `plain`.

    Raises:
        UnreadableError: The tensor's elements cannot be read.

    Example:
        >>> elements(torch.tensor([3 + 4j]))
        tensor([5.])
        >>> elements(torch.eye(2).to_sparse())
        tensor([1., 1.])
    """
    return _values(plain(tensor))


def elements_and_sizes(tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[int]]:
    """The `elements` of each, and its number of elements with the zeros that it does not store."""
    sizes = plain_sizes(tensors)
    if sizes is not None and own_their_memory(tensors) and not any(map(Tensor.is_neg, tensors)):
        return list(tensors), list(sizes)
    plains = [plain(tensor) for tensor in tensors]
    return [_values(tensor) for tensor in plains], [tensor.numel() for tensor in plains]


def _values(tensor: Tensor) -> Tensor:
    if tensor.layout is not torch.strided:
        tensor = tensor.coalesce() if tensor.layout is torch.sparse_coo else tensor
        tensor = plain(tensor.values())
    if tensor.is_complex():
        wide = tensor.to(torch.complex64) if tensor.dtype is torch.complex32 else tensor
        tensor = wide.abs()
    if tensor.is_neg():  # the imaginary part of a conjugate: a view with the sign still to come
        tensor = tensor.resolve_neg()
    if tensor.dtype not in (torch.float32, torch.float64):
        tensor = tensor.to(torch.float32)
    return tensor


def partitions(tensors: Sequence[Tensor]) -> Iterator[tuple[list[int], list[Tensor]]]:
    """The tensors that have elements, with their positions, by device and dtype.

    One launch can serve many tensors only where these agree.
    """
    kinds = {(tensor.device, tensor.dtype) for tensor in tensors}
    if len(kinds) == 1 and all(map(Tensor.numel, tensors)):
        yield list(range(len(tensors))), list(tensors)
        return
    found: dict[tuple[torch.device, torch.dtype], tuple[list[int], list[Tensor]]] = {}
    for position, tensor in enumerate(tensors):
        if tensor.numel():
            positions, members = found.setdefault((tensor.device, tensor.dtype), ([], []))
            positions.append(position)
            members.append(tensor)
    yield from found.values()


def chunks(tensors: Sequence[Tensor], limit: int = CHUNK_BYTES) -> Iterator[slice]:
    """Slices of neighbours with at most `limit` bytes together; a larger tensor is alone."""
    start = size = 0
    for position, tensor in enumerate(tensors):
        if position > start and size + tensor.nbytes > limit:
            yield slice(start, position)
            start, size = position, 0
        size += tensor.nbytes
    yield slice(start, len(tensors))


def power_of_two(max_abs: Tensor) -> Tensor:
    """The power of two just below each, 1 for 0, NaN and infinity.

    Dividing by it is exact, and brings the elements of a tensor to where their squares are floats.

    Example:
        >>> power_of_two(torch.tensor([5.0, 0.25, 0.0, torch.inf]))
        tensor([4.0000, 0.2500, 1.0000, 1.0000])
    """
    usable = max_abs.isfinite() & (max_abs > 0)
    largest = math.floor(math.log2(torch.finfo(max_abs.dtype).max))
    return torch.exp2(max_abs.where(usable, 1).log2().floor().clamp(max=largest))
