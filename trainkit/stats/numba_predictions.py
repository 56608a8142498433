"""The totals of class probabilities in main memory: one pass, compiled."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainkit.stats.numba_loops import compiled

__all__ = ["class_rows"]


_ALL = np.empty(0, np.bool_)


def class_rows(p: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor]:
    """Sums of entropy, highest and second highest probability, `[3]`; wins of each class, `[C]`.

    Args:
        p: Class probabilities, `[N, C]`, float32 or float64, C at least 2.
        keep: Which of them count, bool, `[N]`; None: all.
    """
    sums, chosen = np.zeros(3), np.zeros(p.shape[1])
    _classes(p.numpy(), _ALL if keep is None else keep.numpy(), sums, chosen)
    return torch.from_numpy(sums), torch.from_numpy(chosen)


@compiled
def _classes(p: Any, keep: Any, sums: Any, chosen: Any) -> None:
    for i in range(p.shape[0]):
        if keep.size and not keep[i]:
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
        sums[0] += entropy
        sums[1] += first
        sums[2] += second
        # 1, or NaN where there is no most probable class.
        chosen[winner] += first / first
