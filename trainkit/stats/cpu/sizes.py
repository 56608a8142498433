"""The numbers of elements of tensors, and whether the loops can take the tensors as they are."""

from collections.abc import Sequence
from operator import attrgetter

import torch
from torch import Tensor

from trainkit.stats.tensors.readable import ORDINARY

__all__ = ["PlainTensors", "Sizes", "plain_sizes", "plain_tensors", "sizes_of"]

# Number of elements of each tensor.
Sizes = tuple[int, ...]

_DEVICE_AND_DTYPE = attrgetter("is_cpu", "dtype")
_ACCEPTED = [{(True, dtype)} for dtype in (torch.float32, torch.float64)]


class PlainTensors(tuple[Tensor, ...]):
    """Tensors that `plain_sizes` has just checked, and their numbers of elements.

    Pass them to several statistics, so that each tensor is checked only once. Do not keep them:
    a later change to a tensor makes the sizes wrong.
    """

    sizes: Sizes


def plain_tensors(tensors: Sequence[Tensor]) -> PlainTensors | None:
    """The tensors with their sizes if the loops can take them as they are, else None."""
    sizes = plain_sizes(tensors)
    if sizes is None:
        return None
    found = PlainTensors(tensors)
    found.sizes = sizes
    return found


def plain_sizes(tensors: Sequence[Tensor]) -> Sizes | None:
    """The numbers of elements if the loops can take the tensors as they are, else None.

    They can if all tensors are of torch's own types, in main memory, not empty, and all float32 or
    all float64. This is the usual case; it needs no Python call per tensor. The loops themselves
    check that a tensor is dense and owns its memory.
    """
    if isinstance(tensors, PlainTensors):
        return tensors.sizes
    if not (
        ORDINARY.issuperset(map(type, tensors))
        and set(map(_DEVICE_AND_DTYPE, tensors)) in _ACCEPTED
    ):
        return None
    sizes = sizes_of(tensors)
    return None if 0 in sizes else sizes


def sizes_of(tensors: Sequence[Tensor]) -> Sizes:
    """The number of elements of each tensor."""
    return tuple(map(Tensor.numel, tensors))
