"""How predicted probabilities are distributed between 0 and 1."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainkit.stats.outputs.classification import kept, probabilities
from trainkit.stats.precision import wide

__all__ = ["ProbabilityCounts"]


@dataclass(frozen=True, eq=False)
class ProbabilityCounts:
    """Probabilities counted in bins of equal width; those of several batches add up.

    Args:
        counts: int64, `[bins]`.
        moments: Minimum, maximum, sum, sum of squares of the finite ones, `[4]`.
        non_finite: Number of NaN and infinite ones, int64, 0-d.

    Example:
        >>> p = torch.tensor([[0.1, 0.9], [0.7, 0.3]])
        >>> ProbabilityCounts.of(p, kind="probabilities", bins=2).counts
        tensor([1, 1])
    """

    counts: Tensor
    moments: Tensor
    non_finite: Tensor

    @classmethod
    def of(
        cls,
        y_pred: Tensor,
        y: Tensor | None = None,
        *,
        kind: str = "logits",
        ignore_index: int | None = None,
        bins: int = 50,
    ) -> "ProbabilityCounts":
        """Count the probabilities of all classes; where there are two, those of the second."""
        p = probabilities(y_pred, kind, y)
        if p.shape[1] == 2:
            p = p[:, 1:]
        finite = p.isfinite()
        keep = kept(p.shape[:1] + p.shape[2:], y, ignore_index)
        counted = finite if keep is None else finite & keep.unsqueeze(1)
        lost = ~finite if keep is None else ~finite & keep.unsqueeze(1)
        x = p.where(counted, 0)
        index = (x * bins).long().clamp_(0, bins - 1).flatten()
        counts = torch.zeros(bins, dtype=torch.int64, device=p.device)
        counts = counts.index_add(0, index, counted.flatten().long())
        return cls(counts, _moments(p, x, counted), lost.sum())

    def __add__(self, other: "ProbabilityCounts") -> "ProbabilityCounts":
        a, b = self.moments, other.moments
        none_a, none_b = self.counts.sum() == 0, other.counts.sum() == 0
        both = torch.cat(
            [torch.minimum(a[:1], b[:1]), torch.maximum(a[1:2], b[1:2]), a[2:] + b[2:]]
        )
        moments = torch.where(none_a, b, torch.where(none_b, a, both))
        return ProbabilityCounts(
            self.counts + other.counts, moments, self.non_finite + other.non_finite
        )

    def edges(self) -> Tensor:
        """The limits of the bins, float64, `[bins + 1]`."""
        bins = self.counts.numel()
        device = self.counts.device
        return torch.linspace(0, 1, bins + 1, dtype=wide(device), device=device)


def _moments(p: Tensor, x: Tensor, counted: Tensor) -> Tensor:
    dtype = wide(p.device)
    if p.numel() == 0:
        return torch.zeros(4, dtype=dtype, device=p.device)
    least = p.where(counted, torch.inf).amin().to(dtype)
    most = p.where(counted, -torch.inf).amax().to(dtype)
    wide_x = x.to(dtype)
    found = torch.stack((least, most, wide_x.sum(), (wide_x * wide_x).sum()))
    return found.where(counted.any(), 0)
