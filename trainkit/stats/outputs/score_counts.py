"""Counts of scores of positive and negative samples: PR and ROC curves."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainkit.stats.outputs.calibration import target_classes
from trainkit.stats.outputs.classification import kept, probabilities

__all__ = [
    "PR_THRESHOLDS",
    "ScoreCounts",
    "area_under_roc",
    "precision_recall",
    "roc_rates",
    "thresholds",
]

PR_THRESHOLDS = 101
"""Of the precision-recall curve: 0, 0.01, …, 1."""

_AT_ONCE = 1 << 21  # scores


@lru_cache(maxsize=1)
def thresholds() -> NDArray[np.float32]:
    """All thresholds, ascending from 0 to 1, float32.

    Those of the precision-recall curve, and between them and close to 0 and 1 those of the
    logistic function of −16, −15.75, …, 16: the scores of a network that is sure lie there.
    """
    even = np.linspace(0, 1, PR_THRESHOLDS)
    logistic = 1 / (1 + np.exp(-np.arange(-16, 16.25, 0.25)))
    return np.unique(np.concatenate((even, logistic)).astype(np.float32))


@lru_cache(maxsize=4)
def _limits(device: torch.device, dtype: torch.dtype) -> Tensor:
    """The thresholds on a device: copied there once."""
    return torch.as_tensor(thresholds(), device=device).to(dtype)


@dataclass(frozen=True, eq=False)
class ScoreCounts:
    """Scores counted by the highest threshold that they reach; those of several batches add up.

    Args:
        counts: int64, shape `[2, K, T]`: not of the class, of the class; class; threshold. Of two
            classes there is one row, the second one's (K = 1).
        lost: Number of scores that are NaN, int64, 0-d; they are in no count.

    Example:
        >>> y_pred, y = torch.tensor([[0.2, 0.8], [0.6, 0.4]]), torch.tensor([1, 0])
        >>> counts = ScoreCounts.of(y_pred, y, kind="probabilities").counts.numpy()
        >>> area_under_roc(counts).tolist()
        [1.0]
    """

    counts: Tensor
    lost: Tensor

    @classmethod
    def of(
        cls, y_pred: Tensor, y: Tensor, *, kind: str = "logits", ignore_index: int | None = None
    ) -> "ScoreCounts":
        """Count the scores of one batch, one class against the others; as in `calibration`."""
        p = probabilities(y_pred, kind, y)
        choice = p.argmax(1)
        target = target_classes(choice, y, p.shape[1])
        keep = kept(choice.shape, y, ignore_index)
        if p.shape[1] == 2:
            p, classes = p[:, 1:], torch.ones(1, dtype=torch.int64, device=p.device)
        else:
            classes = torch.arange(p.shape[1], device=p.device)
        limits = _limits(p.device, p.dtype)
        counts = torch.zeros(
            2 * classes.numel() * limits.numel(), dtype=torch.int64, device=p.device
        )
        lost = torch.zeros((), dtype=torch.int64, device=p.device)
        # A score takes 25 bytes here: of pictures in which every pixel has some, one at a time.
        rows = max(1, _AT_ONCE // max(1, p[:1].numel()))
        for start in range(0, len(p), rows):
            some = slice(start, start + rows)
            kept_ones = None if keep is None else keep[some]
            lost = lost + _count(counts, p[some], target[some], kept_ones, classes, limits)
        return cls(counts.view(2, classes.numel(), limits.numel()), lost)

    def __add__(self, other: "ScoreCounts") -> "ScoreCounts":
        return ScoreCounts(self.counts + other.counts, self.lost + other.lost)


def _count(
    counts: Tensor, p: Tensor, target: Tensor, keep: Tensor | None, classes: Tensor, limits: Tensor
) -> Tensor:
    """Add some scores to the counts; the number of those that are NaN."""
    classes = classes.view(1, -1, *[1] * (p.ndim - 2))
    nan = p.isnan()
    level = (torch.bucketize(p.contiguous(), limits, right=True) - 1).clamp_(0, limits.numel() - 1)
    row = (target.unsqueeze(1) == classes).long()
    if classes.numel() > 1:
        row = row * classes.numel() + classes
    count = ~nan
    if keep is not None:
        count, nan = count & keep.unsqueeze(1), nan & keep.unsqueeze(1)
    counts.index_add_(0, (row * limits.numel() + level).flatten(), count.flatten().long())
    return nan.sum()


def precision_recall(counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """What TensorBoard's PR CURVES shows: a score of a threshold or more is taken for positive.

    Args:
        counts: Of one class, as in `ScoreCounts`, shape `[2, T]`.

    Returns:
        float32, shape `[6, PR_THRESHOLDS]`: true positives, false positives, true negatives,
        false negatives, precision, recall at each threshold of `linspace(0, 1, PR_THRESHOLDS)`.
        Precision is 1 where nothing is taken for positive, as scikit-learn has it; recall is 0
        where there is nothing positive.
    """
    even = np.linspace(0, 1, PR_THRESHOLDS).astype(np.float32)
    above = counts[..., ::-1].cumsum(-1)[..., ::-1][..., np.searchsorted(thresholds(), even)]
    false_positive, true_positive = above
    negatives, positives = counts.sum(-1)[..., None]
    taken = true_positive + false_positive
    precision = np.where(taken > 0, true_positive / np.maximum(taken, 1), 1)
    recall = true_positive / np.maximum(positives, 1)
    rows = (true_positive, false_positive, negatives - false_positive, positives - true_positive,
            precision, recall)  # fmt: skip
    return np.stack(rows).astype(np.float32)


def roc_rates(counts: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False and true positive rates, shape `[K, T + 1]` each, from (0, 0) to (1, 1).

    NaN for a class of which, or beside which, there is nothing.

    Args:
        counts: As in `ScoreCounts`, shape `[2, K, T]`.
    """
    above = counts[..., ::-1].cumsum(-1)
    above = np.concatenate((np.zeros_like(above[..., :1]), above), -1)
    with np.errstate(invalid="ignore"):
        rates = above / counts.sum(-1)[..., None]
    return rates[0], rates[1]


def area_under_roc(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """The area under each ROC curve, by trapezia, shape `[K]`; NaN where there is no curve.

    Args:
        counts: As in `ScoreCounts`, shape `[2, K, T]`.

    Source: T. Fawcett, "An introduction to ROC analysis", 2006, algorithm 2.
    """
    x, y = roc_rates(counts)
    area: NDArray[np.float64] = ((x[:, 1:] - x[:, :-1]) * (y[:, 1:] + y[:, :-1]) / 2).sum(-1)
    return area
