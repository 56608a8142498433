"""What pictures of an evaluation are drawn of, kept on the device: few tensors of fixed size."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainkit.stats.outputs.appearance import Appearance
from trainkit.stats.outputs.classification import probabilities
from trainkit.stats.outputs.confusion import confusion_counts
from trainkit.stats.outputs.even_sample import EvenSample
from trainkit.stats.outputs.score_counts import ScoreCounts
from trainkit.stats.outputs.worst import Worst, worst_classes, worst_tokens, worst_values
from trainkit.stats.precision import wide

__all__ = ["ClassesSeen", "Limits", "ValuesSeen"]


@dataclass(frozen=True)
class Limits:
    """How much is kept.

    Args:
        matrix: Most classes of a confusion matrix.
        curves: Most classes with a curve each.
        worst: Samples that were predicted worst.
        points: Predictions of a regression.
    """

    matrix: int = 100
    curves: int = 32
    worst: int = 12
    points: int = 2000


@dataclass(eq=False, slots=True)
class ClassesSeen:
    """Of a classifier; those of several batches add up.

    Args:
        confusion: `[C, C]`; None where there are too many classes.
        scores: None where there are too many classes.
        worst: None where a sample has several decisions, or its input is not known.
        looks: Of the predictions.
        classes: C.
    """

    confusion: Tensor | None
    scores: ScoreCounts | None
    worst: Worst | None
    looks: Appearance
    classes: int

    @classmethod
    def of(
        cls, y_pred: Tensor, y: Tensor, x: Tensor | None, looks: Appearance, limits: Limits,
        about: dict[str, Any],
    ) -> "ClassesSeen":  # fmt: skip
        """One batch.

        Args:
            y_pred: Predictions.
            y: Targets.
            x: What the network was given; None: not known.
            looks: Of the predictions.
            limits: How much is kept.
            about: `kind` and `ignore_index`.

        Raises:
            ValueError: The shapes do not fit each other.
        """
        p = probabilities(y_pred, about["kind"], y)
        classes = p.shape[1]
        about = {**about, "kind": "probabilities"}
        confusion = confusion_counts(p, y, **about) if classes <= limits.matrix else None
        scores = ScoreCounts.of(p, y, **about) if classes <= limits.curves else None
        worst = None
        if x is not None and limits.worst:
            choose = worst_classes if x.is_floating_point() else worst_tokens
            worst = choose(p, y, x, most=limits.worst, **about)
        return cls(confusion, scores, worst, looks, classes)

    def __add__(self, other: "ClassesSeen") -> "ClassesSeen":
        return ClassesSeen(
            _sum(self.confusion, other.confusion),
            _sum(self.scores, other.scores),
            _sum(self.worst, other.worst),
            self.looks + other.looks,
            self.classes,
        )


@dataclass(eq=False, slots=True)
class ValuesSeen:
    """Of a regression; those of several batches add up.

    Args:
        sample: Predictions and targets, `[n, 2]`.
        limits: Smallest and largest target that is finite, `[2]`.
        worst: None where a sample has several values, or its input is not known.
    """

    sample: EvenSample
    limits: Tensor
    worst: Worst | None

    @classmethod
    def of(cls, y_pred: Tensor, y: Tensor, x: Tensor | None, limits: Limits) -> "ValuesSeen":
        """One batch; arguments as in `ClassesSeen.of`."""
        dtype = wide(y_pred.device)
        prediction, target = (part.detach().reshape(-1).to(dtype) for part in (y_pred, y))
        sample = EvenSample.of(torch.stack((prediction, target), 1), most=limits.points)
        finite = target.isfinite()
        span = [target.where(finite, torch.inf).amin(), target.where(finite, -torch.inf).amax()]
        worst = None
        if x is not None and limits.worst:
            worst = worst_values(y_pred.detach(), y, x, most=limits.worst)
        return cls(sample, torch.stack(span), worst)

    def __add__(self, other: "ValuesSeen") -> "ValuesSeen":
        low = torch.minimum(self.limits[0], other.limits[0])
        high = torch.maximum(self.limits[1], other.limits[1])
        return ValuesSeen(
            self.sample + other.sample, torch.stack((low, high)), _sum(self.worst, other.worst)
        )


def _sum(a: Any, b: Any) -> Any:
    return None if a is None or b is None else a + b
