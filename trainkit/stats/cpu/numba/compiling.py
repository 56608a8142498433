"""Tools for loops over many tensors in main memory that numba compiles."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numba
import numpy as np
import torch
from llvmlite import ir  # type: ignore[import-untyped]
from numba import carray  # type: ignore[attr-defined]
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray
from torch import Tensor

from trainkit.stats.cpu.sizes import Sizes
from trainkit.stats.tensors.readable import UnreadableError, check_owned, end_inside

__all__ = [
    "AHEAD", "BITS", "Places", "array_at", "compiled", "copy_at", "fetch", "kind",
    "places",
]  # fmt: skip

Function = TypeVar("Function", bound=Callable[..., Any])

# Per dtype: magnitude mask, bit pattern of +inf, shift of the sign bit.
BITS: dict[torch.dtype, NDArray[Any]] = {
    torch.float32: np.array([0x7FFFFFFF, 0x7F800000, 31], np.int32),
    torch.float64: np.array([0x7FFFFFFFFFFFFFFF, 0x7FF0000000000000, 63], np.int64),
}
# Addresses of the first elements, and numbers of elements.
Places = tuple[NDArray[np.int64], NDArray[np.int64]]
# Elements in a block; the next block is prefetched meanwhile.
AHEAD = 512
_LINE = 64


def compiled(function: Function) -> Function:
    """Machine code, kept on disk for the next process; it runs without Python's lock.

    Sums may be taken in any order, many elements at a time. NaN and infinity are what they are.
    """
    compile_it = numba.njit(
        cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"}
    )
    return cast("Function", compile_it(function))


@intrinsic
def _pointer(typing_context: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return numba.types.voidptr(address), generate


@numba.njit(inline="always")
def array_at(address: int, size: int, dtype: Any) -> Any:
    """The elements at an address, as an array. Only compiled code can call it."""
    return carray(_pointer(address), (size,), dtype)  # type: ignore[call-arg]


@intrinsic
def _copy(typing_context: Any, to: Any, source: Any, size: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        to, source = (builder.inttoptr(a, cgutils.voidptr_t) for a in arguments[:2])
        cgutils.raw_memcpy(builder, to, source, arguments[2], 1)  # type: ignore[no-untyped-call]
        return context.get_dummy_value()

    return numba.types.void(to, source, size), generate


@numba.njit(inline="always")
def copy_at(to: Any, source: Any, size: Any) -> None:
    """Copy bytes from one address to another, as the C library does it: faster than a loop."""
    _copy(to, source, size)  # type: ignore[call-arg]


@intrinsic
def _fetch_line(typing_context: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at = builder.inttoptr(arguments[0], cgutils.voidptr_t)
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [at.type, number, number, number])
        ask = builder.module.declare_intrinsic("llvm.prefetch", [at.type], kind)
        # To be read; soon; data.
        builder.call(ask, [at, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return numba.types.void(address), generate


@numba.njit(inline="always")
def fetch(x: Any, start: int) -> None:
    """Ask for the `AHEAD` elements from `start` on, if there are so many, to be there soon.

    By itself the processor asks for what comes next within a page, and then waits for the next
    page.
    """
    if start + AHEAD <= x.size:
        address = np.int64(x.ctypes.data) + start * x.itemsize
        for offset in range(0, AHEAD * x.itemsize, _LINE):
            _fetch_line(address + offset)  # type: ignore[call-arg]


def places(
    tensors: Sequence[Tensor], sizes: Sizes, *, signed: bool = True
) -> tuple[Places, Sequence[Tensor]]:
    """Where the elements of tensors are, and what must live on while they are read.

    That is the tensors themselves, or copies of those whose elements are not in order and side by
    side, or have their signs still to come (the imaginary part of a conjugate).

    Args:
        tensors: Of torch's own types, in main memory, all with elements.
        sizes: Their numbers of elements.
        signed: Whether it matters if signs are still to come: the question is felt.

    Raises:
        UnreadableError: A tensor does not own the memory of its elements.
    """
    try:
        if not all(map(Tensor.is_contiguous, tensors)):
            check_owned(tensors)
            tensors = [tensor.contiguous() for tensor in tensors]
        if signed and any(map(Tensor.is_neg, tensors)):
            check_owned(tensors)
            tensors = [tensor.resolve_neg() for tensor in tensors]
        key = tuple(map(Tensor.data_ptr, tensors)), sizes
    except RuntimeError:  # sparse, or a wrapper of torch.func: there is no one place
        raise UnreadableError("is no array") from None
    # Weights stay where they are, and gradients mostly come to the same places again.
    found = _known.get(key)
    if found is None:
        check_owned(tensors)
        if len(_known) >= _KEPT:
            _known.clear()
        found = _known[key] = tuple(np.array(numbers, np.int64) for numbers in key)
    elif not end_inside(tensors):  # a storage that was shrunk may lie where another one was
        check_owned(tensors)
    return found, tensors


_KEPT = 16
_known: dict[tuple[tuple[int, ...], tuple[int, ...]], Any] = {}


def kind(tensors: Sequence[Tensor]) -> NDArray[Any]:
    """An empty array of the tensors' dtype: how compiled code learns of it."""
    return _KINDS[tensors[0].dtype]


_KINDS: dict[torch.dtype, NDArray[Any]] = {
    torch.float32: np.empty(0, np.float32),
    torch.float64: np.empty(0, np.float64),
}
