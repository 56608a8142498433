"""The totals of class predictions in main memory: compiled."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainkit.stats.cpu.numba.compiling import compiled
from trainkit.stats.tensors.readable import check_owned

__all__ = ["class_rows"]

# So few exponentials are had sooner than a softmax is launched; more are better left to torch,
# which takes several at a time.
_FEW = 4096
_NONE: NDArray[Any] = np.empty(0, np.int64)


def class_rows(
    scores: Tensor, form: str, y: Tensor | None, ignore_index: int
) -> tuple[Tensor, Tensor]:
    """Sums of entropy, highest and second highest probability, and the number of decisions, `[4]`.

    And how often each class was the most probable, `[C]`. NaN where a NaN fell.

    Args:
        scores: A decision a row, `[N, C]`, float32 or float64, C at least 2.
        form: What they are: `logits`, `log_probabilities` or `probabilities`.
        y: A class index per decision, `[N]`; None: all count.
        ignore_index: Decisions with this class index do not count.
    """
    check_owned([scores] if y is None else [scores, y])
    scores = scores.contiguous()
    targets = _NONE if y is None else (y if y.dtype is torch.int64 else y.long()).numpy()
    sums, chosen = np.zeros(4), np.zeros(scores.shape[1])
    if form != "logits":
        p = scores if form == "probabilities" else scores.exp()
        _of_probabilities(p.numpy(), targets, ignore_index, sums, chosen)
    elif scores.numel() <= _FEW:
        _of_logits(scores.numpy(), targets, ignore_index, sums, chosen)
    else:
        _of_both(scores.numpy(), scores.softmax(1).numpy(), targets, ignore_index, sums, chosen)
    return torch.from_numpy(sums), torch.from_numpy(chosen)


@compiled
def _of_probabilities(p: Any, y: Any, ignored: int, sums: Any, chosen: Any) -> None:
    for i in range(p.shape[0]):
        if y.size and y[i] == ignored:
            continue
        entropy, first, second, winner = 0.0, -np.inf, -np.inf, 0
        for c in range(p.shape[1]):
            v = np.float64(p[i, c])
            if v > 0:
                entropy -= v * np.log(v)
            elif v < 0:
                entropy = -np.inf  # what is no probability shows, as with `torch.special.entr`
            if v > first or np.isnan(v):
                first, second, winner = v, first, c
            elif v > second:
                second = v
            if np.isnan(v):
                entropy = second = np.nan
                break
        _add(sums, chosen, entropy, first, second, winner)


@compiled
def _of_logits(x: Any, y: Any, ignored: int, sums: Any, chosen: Any) -> None:
    """With d = x − max x and s = Σ e^d: p = e^d / s, entropy = ln s − Σ e^d · d / s."""
    for i in range(x.shape[0]):
        if y.size and y[i] == ignored:
            continue
        top, next_top, winner = _two_largest(x[i])
        total = spread = 0.0
        for c in range(x.shape[1]):
            d = np.float64(x[i, c]) - top
            e = np.exp(d)
            total += e
            if e != 0:  # e^d · d is 0 in the limit
                spread -= e * d
        entropy = np.log(total) + spread / total
        _add(sums, chosen, entropy, 1 / total, np.exp(next_top - top) / total, winner)


@compiled
def _of_both(x: Any, p: Any, y: Any, ignored: int, sums: Any, chosen: Any) -> None:
    """With m the most probable: entropy = Σ p · (x_m − x) − ln p_m, no logarithm of every p."""
    for i in range(p.shape[0]):
        if y.size and y[i] == ignored:
            continue
        first, second, winner = _two_largest(p[i])
        if first < 0:  # torch makes the whole row NaN
            first = second = np.nan
        top = np.float64(x[i, winner])
        spread = 0.0
        for c in range(p.shape[1]):
            v = np.float64(p[i, c])
            if v != 0:
                spread += v * (top - np.float64(x[i, c]))
        _add(sums, chosen, spread - np.log(first), first, second, winner)


@compiled
def _two_largest(row: Any) -> Any:
    """The largest, the second largest, and where the first is; NaN is not seen."""
    first, second, winner = -np.inf, -np.inf, 0
    for c in range(row.size):
        v = np.float64(row[c])
        if v > first:
            first, second, winner = v, first, c
        elif v > second:
            second = v
    return first, second, winner


@compiled
def _add(sums: Any, chosen: Any, entropy: float, first: float, second: float, winner: int) -> None:
    sums[0] += entropy
    sums[1] += first
    sums[2] += second
    sums[3] += 1
    # 1, or NaN where there is no most probable class.
    chosen[winner] += first / first
