"""What computes statistics of tensors in main memory: numba where it is installed, else NumPy.

On a CPU a launch costs more than the work it does on a small tensor, and a temporary tensor more
than the pass that fills it. numba's machine code takes any number of tensors in one call and one
pass (`pip install trainkit[fast]`); NumPy needs no temporary either, but some calls per tensor.
On every other device the torch versions are used. The tests hold all three against each other.
"""

import logging
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from trainkit.stats.tensors.readable import ORDINARY

if TYPE_CHECKING:
    from trainkit.stats.outputs.activations import HostTotals

__all__ = [
    "ClassRows", "Loops", "PlainTensors", "Sizes", "loops", "plain_sizes", "plain_tensors",
    "sizes_of",
]  # fmt: skip

_log = logging.getLogger("trainkit")

_KIND = attrgetter("is_cpu", "dtype")
_PLAIN = [{(True, dtype)} for dtype in (torch.float32, torch.float64)]


# Numbers of elements.
Sizes = tuple[int, ...]
ClassRows = Callable[[Tensor, str, Tensor | None, int], tuple[Tensor, Tensor]]


class Loops(NamedTuple):
    """Functions over tensors in main memory, of one dtype, all with elements, and their sizes.

    What they return is told where they are: in `summary` and its neighbours, and in
    `predictions`. They raise `UnreadableError` for memory that a tensor does not own.
    """

    summary_rows: Callable[[Sequence[Tensor], Sizes], Tensor]
    norm_rows: Callable[[Sequence[Tensor], Sizes], Tensor]
    copy_rows: Callable[[Sequence[Tensor], Sizes], Tensor]
    distance_rows: Callable[[Tensor, Sequence[Tensor], Sizes], Tensor]
    histogram_rows: Callable[[Sequence[Tensor], Sizes, int], tuple[Tensor, Tensor]]
    class_rows: Callable[[Tensor, str, Tensor | None, int], tuple[Tensor, Tensor]] | None = None
    output_totals: "Callable[[int], HostTotals] | None" = None


def loops() -> Loops:
    """The fastest that there are; what they need is imported when they are first asked for."""
    if not _chosen:
        _chosen.append(_fastest())
    return _chosen[0]


_chosen: list[Loops] = []


def _fastest() -> Loops:
    try:
        from trainkit.stats.cpu.numba import (
            activations,
            distances,
            histograms,
            norms,
            predictions,
            summary,
        )
    except (ImportError, RuntimeError) as error:  # numba cannot live with every NumPy
        if not isinstance(error, ModuleNotFoundError):
            _log.warning("numba is installed, but not used: %s", error)
        return numpy_loops()
    return Loops(
        summary.summary_rows,
        norms.norm_rows,
        distances.copy_rows,
        distances.distance_rows,
        histograms.histogram_rows,
        predictions.class_rows,
        activations.HostTotals,
    )


def numpy_loops() -> Loops:
    """Those of NumPy."""
    from trainkit.stats.cpu.numpy import distances, histograms, norms, summary

    return Loops(
        summary.summary_rows,
        norms.norm_rows,
        distances.copy_rows,
        distances.distance_rows,
        histograms.histogram_rows,
    )


class PlainTensors(tuple[Tensor, ...]):
    """Tensors that `plain_sizes` has just looked at, and their numbers of elements.

    For whoever asks several statistics of them: so no tensor is asked the same question twice.
    They are to be forgotten soon, for tensors change.
    """

    sizes: Sizes


def plain_tensors(tensors: Sequence[Tensor]) -> PlainTensors | None:
    """The tensors with their sizes, if the loops can take them as they are; else None."""
    sizes = plain_sizes(tensors)
    if sizes is None:
        return None
    found = PlainTensors(tensors)
    found.sizes = sizes
    return found


def plain_sizes(tensors: Sequence[Tensor]) -> Sizes | None:
    """The tensors' numbers of elements, if the loops can take them as they are; else None.

    They can where all are of torch's own types, in main memory, of one dtype, float32 or float64,
    and have elements. So it is nearly always, and then nothing need be done to each of thousands
    of tensors. Whether they are dense and own their memory is found out by the loops.
    """
    if isinstance(tensors, PlainTensors):
        return tensors.sizes
    if not (ORDINARY.issuperset(map(type, tensors)) and set(map(_KIND, tensors)) in _PLAIN):
        return None
    sizes = sizes_of(tensors)
    return None if 0 in sizes else sizes


def sizes_of(tensors: Sequence[Tensor]) -> Sizes:
    """The tensors' numbers of elements."""
    return tuple(map(Tensor.numel, tensors))
