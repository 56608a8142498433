"""Choose what computes statistics of tensors in main memory: numba's loops, or torch.

There are two backends. torch computes every statistic on every device. numba
(`pip install trainkit[fast]`) replaces it in main memory: one compiled call takes all tensors in
one pass. Only histograms have a third version, in NumPy, because torch is much slower there.

Milliseconds of CPU time for the parameters of the two programs of `benchmarks/loops.py`
(torch 2.13, one thread; the fastest of 60 calls, NumPy and torch in turn):

    MLP, 6 tensors          NumPy   torch        transformer, 150 tensors   NumPy   torch
    summary                  0.22    0.34        summary                     2.71    4.65
    norms                    0.09    0.16        norms                       0.94    1.82
    distance to a copy       0.22    0.34        distance to a copy          3.17    4.08
    histogram                0.29    0.38        histogram                   6.8    33.4

torch takes less than twice the time of NumPy's loops for summaries, norms and distances, so those
loops were removed. For histograms `torch.histc` alone takes up to five times as long, so that
loop stays.
The tests compare all of them.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from trainkit.stats.cpu.sizes import Sizes

if TYPE_CHECKING:
    from trainkit.stats.outputs.activations import HostTotals

__all__ = ["ClassRows", "Loops", "loops", "using", "without_numba"]

_log = logging.getLogger("trainkit")

ClassRows = Callable[[Tensor, str, Tensor | None, int], tuple[Tensor, Tensor]]


class Loops(NamedTuple):
    """Functions over tensors in main memory: of one dtype, all with elements; and their sizes.

    None stands for "use torch". The compiled functions say what they return in their docstrings.
    They raise `UnreadableError` for a tensor that does not own its memory.
    """

    histogram_rows: Callable[[Sequence[Tensor], Sizes, int], tuple[Tensor, Tensor]]
    summary_rows: Callable[[Sequence[Tensor], Sizes], Tensor] | None = None
    norm_rows: Callable[[Sequence[Tensor], Sizes], Tensor] | None = None
    copy_rows: Callable[[Sequence[Tensor], Sizes], Tensor] | None = None
    distance_rows: Callable[[Tensor, Sequence[Tensor], Sizes], Tensor] | None = None
    class_rows: ClassRows | None = None
    output_totals: "Callable[[int], HostTotals] | None" = None


def loops() -> Loops:
    """Return the fastest available loops; dependencies are imported on first use."""
    if not _chosen:
        _chosen.append(_fastest())
    return _chosen[-1]


@contextmanager
def using(chosen: Loops) -> Iterator[None]:
    """Make `loops()` return these inside a `with` block: for tests and benchmarks."""
    before = loops()
    _chosen[:] = [chosen]
    try:
        yield
    finally:
        _chosen[:] = [before]


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
    except (ImportError, RuntimeError) as error:  # numba refuses a NumPy that is too new
        if not isinstance(error, ModuleNotFoundError):
            _log.warning("numba is installed, but not used: %s", error)
        return without_numba()
    return Loops(
        histograms.histogram_rows,
        summary.summary_rows,
        norms.norm_rows,
        distances.copy_rows,
        distances.distance_rows,
        predictions.class_rows,
        activations.HostTotals,
    )


def without_numba() -> Loops:
    """Return what is used where numba is not installed."""
    from trainkit.stats.cpu.numpy import histograms

    return Loops(histograms.histogram_rows)
