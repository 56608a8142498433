"""Which tensors can be read, and how to turn other kinds into ordinary tensors.

The compiled loops read memory by its address, so a tensor must own the memory. Some tensors own
none: wrappers around other tensors, fake tensors, tensors whose storage was freed.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter, le
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

__all__ = [
    "ORDINARY",
    "UnreadableError",
    "check_owned",
    "dense",
    "end_inside",
    "own_their_memory",
    "plain",
    "tensors_in",
]

#: Types whose storage holds their elements. A subclass may keep them elsewhere.
ORDINARY = frozenset({Tensor, nn.Parameter})

HOLDS_NOTHING = attrgetter("is_meta")
_NESTED, _BYTES = attrgetter("is_nested"), attrgetter("nbytes")
_STORAGE, _STORED = Tensor.untyped_storage, torch.UntypedStorage.nbytes

# Several numbers in an element, or bits of unknown meaning. torch has no conversion for them.
_PACKED = frozenset(
    dtype
    for name in (
        *(f"{sign}int{bits}" for sign in ("", "u") for bits in range(1, 8)),
        "bits8", "bits16", "bits1x8", "bits2x4", "bits4x2", "float4_e2m1fn_x2",
        "quint4x2", "quint2x4",
    )
    if isinstance(dtype := getattr(torch, name, None), torch.dtype)
)  # fmt: skip


_usual: Any = Tensor.__torch_function__
_USUAL_FUNCTIONS = _usual.__func__, torch._C._disabled_torch_function_impl


class UnreadableError(TypeError):
    """The elements of a tensor cannot be read. The message begins with a verb and says why."""


def plain(tensor: Tensor) -> Tensor:
    """The same elements as an ordinary tensor, detached, dense or sparse, and safe to read.

    Without a copy where that is possible. A `DTensor` becomes its local part where that is all of
    it; quantized tensors are dequantized, nested ones joined, those of mkldnn made dense.

    Raises:
        UnreadableError: There are no such elements, or only the tensor's own code knows them.

    Example:
        >>> plain(nn.Parameter(torch.ones(2)))
        tensor([1., 1.])
        >>> plain(torch.empty(2, device="meta"))
        Traceback (most recent call last):
            ...
        trainkit.stats.tensors.readable.UnreadableError: is on the meta device, ...
    """
    if type(tensor) not in ORDINARY:
        return plain(_inside(tensor))
    if tensor.requires_grad:  # detach() is measurable overhead with thousands of tensors
        tensor = tensor.detach()
    if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        raise UnreadableError("exists only inside a transform of torch.func (vmap, grad)")
    if torch._is_functional_tensor(tensor):
        raise UnreadableError("exists only while torch traces a function")
    if HOLDS_NOTHING(tensor):
        raise UnreadableError("is on the meta device, which holds no numbers")
    if tensor.dtype in _PACKED:
        raise UnreadableError(f"has elements that are no single numbers ({tensor.dtype})")
    if tensor.is_nested:
        return _joined(tensor)
    if tensor.is_mkldnn:
        return tensor.to_dense()
    if tensor.layout is torch.strided:
        if tensor._is_zerotensor():  # of autograd: a zero without memory
            return tensor.clone()
        _check_storage(tensor)
        return tensor.dequantize() if tensor.is_quantized else tensor
    return tensor


def dense(tensor: Tensor) -> Tensor:
    """The same elements as a dense ordinary tensor: as `plain`, with the zeros of sparse ones.

    Raises:
        UnreadableError: As `plain`.
    """
    found = plain(tensor)
    return found if found.layout is torch.strided else found.to_dense()


def check_owned(tensors: Sequence[Tensor]) -> None:
    """Refuse dense tensors of ordinary types that do not own the memory of their elements.

    Raises:
        UnreadableError: There is one, or one whose elements are not in order in one memory.
    """
    if not own_their_memory(tensors):
        for tensor in tensors:
            wrapped = torch._C._functorch.is_functorch_wrapped_tensor(tensor)
            if wrapped or tensor.is_nested or tensor.layout is not torch.strided:
                raise UnreadableError("is no array")
            _check_storage(tensor)


def end_inside(tensors: Sequence[Tensor]) -> bool:
    """Whether contiguous tensors in main memory end within their storages; few operations."""
    stored = map(_STORED, map(_STORAGE, tensors))
    if not any(map(Tensor.storage_offset, tensors)):
        return all(map(le, map(_BYTES, tensors), stored))
    return all(
        (tensor.storage_offset() + tensor.numel()) * tensor.itemsize <= size
        for tensor, size in zip(tensors, stored, strict=True)
    )


def own_their_memory(tensors: Sequence[Tensor]) -> bool:
    """Whether contiguous tensors own their memory; few operations: there may be thousands."""
    try:
        return (
            all(map(Tensor.data_ptr, tensors))
            and all(map(Tensor.is_contiguous, tensors))
            and not any(map(Tensor.storage_offset, tensors))
            and not any(map(_NESTED, tensors))
            and all(map(le, map(_BYTES, tensors), map(_STORED, map(_STORAGE, tensors))))
        )
    except (RuntimeError, NotImplementedError):  # a wrapper of torch.func
        return False


def _check_storage(tensor: Tensor) -> None:
    size = tensor.numel()
    if size == 0:
        return
    try:
        found = tensor.untyped_storage().nbytes()
    except NotImplementedError:
        if not tensor.is_cpu:  # a device whose tensors have no storage: torch reads them, not we
            return
        raise UnreadableError("has no storage") from None
    # From the first to the last element.
    extent = (
        size
        if tensor.is_contiguous()
        else 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
    )
    needed = (tensor.storage_offset() + extent) * tensor.dtype.itemsize
    if found < needed:
        raise UnreadableError(
            f"needs {needed} bytes of storage and has {found}: it was freed or resized "
            "(as FSDP does between uses)"
        )
    if tensor.is_cpu and tensor.data_ptr() == 0:
        raise UnreadableError("has no memory of its own")


def _inside(tensor: Tensor) -> Tensor:
    """What a tensor of another type holds, where that is known."""
    kind = type(tensor)
    if is_lazy(tensor):
        raise UnreadableError("has no shape before the first forward pass")
    distributed: Any = sys.modules.get("torch.distributed.tensor")
    if distributed is not None and isinstance(tensor, distributed.DTensor):
        return _local(tensor)
    if tensor.layout is torch.jagged:
        if not tensor.is_cpu:
            raise UnreadableError("is jagged on a device: to see its parts is to wait for it")
        return _joined(tensor)
    if kind.__torch_dispatch__ is not Tensor.__torch_dispatch__:
        raise UnreadableError(f"is a {kind.__name__}, and only its own code knows its numbers")
    function: Any = kind.__torch_function__
    own_functions = getattr(function, "__func__", function) not in _USUAL_FUNCTIONS
    with torch._C.DisableTorchFunctionSubclass():
        if not (tensor.is_floating_point() or tensor.is_complex()):
            raise UnreadableError(f"is a {kind.__name__} of {tensor.dtype}: probably packed")
        if own_functions and any(True for _ in tensors_in(vars(tensor).values())):
            raise UnreadableError(f"is a {kind.__name__} that holds its numbers in other tensors")
        return tensor.detach().as_subclass(Tensor)


def _local(tensor: Any) -> Tensor:
    processes = tensor.device_mesh.size()
    if processes > 1 and not all(placement.is_replicate() for placement in tensor.placements):
        raise UnreadableError(
            f"is spread over {processes} processes, of which one monitors (its norm can be had in "
            "the training step, with torch.nn.utils.get_total_norm)"
        )
    with torch.no_grad():
        local: Tensor = tensor.to_local()
    return local


def _joined(tensor: Tensor) -> Tensor:
    with torch.no_grad():
        parts = [plain(part).reshape(-1) for part in tensor.unbind()]
        empty = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
        return torch.cat(parts) if parts else empty


def tensors_in(values: Iterable[Any]) -> Iterator[Any]:
    """The tensors among these, and in lists and mappings among these."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from tensors_in(value)
        elif isinstance(value, dict):
            yield from tensors_in(value.values())
