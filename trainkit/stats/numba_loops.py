"""What numba needs to know to make machine code of loops over many tensors in main memory."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numba
import numpy as np
import torch
from numba import carray  # type: ignore[attr-defined]
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["BITS", "Places", "array_at", "compiled", "kind", "places"]

Function = TypeVar("Function", bound=Callable[..., Any])

# Of the integer with an element's bits: all but the sign; from where on it is no number; how far
# right the sign is shifted.
BITS: dict[torch.dtype, NDArray[Any]] = {
    torch.float32: np.array([0x7FFFFFFF, 0x7F800000, 31], np.int32),
    torch.float64: np.array([0x7FFFFFFFFFFFFFFF, 0x7FF0000000000000, 63], np.int64),
}
# Where elements stand, and how many of them.
Places = tuple[NDArray[np.int64], NDArray[np.int64]]


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


def places(tensors: Sequence[Tensor]) -> Places:
    """The addresses of the tensors' elements, and their numbers; the tensors must live on.

    Args:
        tensors: In main memory and contiguous.
    """
    return (
        np.array([tensor.data_ptr() for tensor in tensors], np.int64),
        np.array([tensor.numel() for tensor in tensors], np.int64),
    )


def kind(tensors: Sequence[Tensor]) -> NDArray[Any]:
    """An empty array of the tensors' dtype: how compiled code learns of it."""
    return _KINDS[tensors[0].dtype]


_KINDS: dict[torch.dtype, NDArray[Any]] = {
    torch.float32: np.empty(0, np.float32),
    torch.float64: np.empty(0, np.float64),
}
