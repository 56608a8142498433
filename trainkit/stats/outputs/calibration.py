"""Calibration of a classifier: expected calibration error and reliability diagram."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainkit.stats.outputs.classification import kept, probabilities
from trainkit.stats.precision import wide

__all__ = ["CalibrationTotals", "calibration", "target_classes"]


@dataclass(frozen=True, eq=False)
class CalibrationTotals:
    """Sums per bin of confidence; those of several batches add up to those of all of them.

    Args:
        sums: Rows: decisions, their confidence, how many were right; shape `[3, bins]`.
    """

    sums: Tensor

    @classmethod
    def of(
        cls,
        y_pred: Tensor,
        y: Tensor,
        *,
        kind: str = "logits",
        ignore_index: int | None = None,
        bins: int = 15,
    ) -> "CalibrationTotals":
        """The totals of one batch; arguments as in `calibration`."""
        p = probabilities(y_pred, kind, y)
        confidence, choice = p.max(1)
        target = target_classes(choice, y, p.shape[1])
        dtype = wide(p.device)
        weight = torch.ones_like(confidence, dtype=dtype)
        values = torch.stack((weight, confidence.to(dtype), (choice == target).to(dtype)))
        keep = kept(choice.shape, y, ignore_index)
        if keep is not None:
            values = values.where(keep, 0)
        inner = torch.linspace(0, 1, bins + 1, device=p.device, dtype=p.dtype)[1:-1]
        index = torch.bucketize(confidence.contiguous(), inner)
        sums = values.new_zeros(3, bins)
        return cls(sums.index_add(1, index.flatten(), values.flatten(1)))

    def __add__(self, other: "CalibrationTotals") -> "CalibrationTotals":
        return CalibrationTotals(self.sums + other.sums)

    def statistics(self) -> dict[str, Tensor]:
        """The calibration of all decisions, 0-d each; NaN where there was none."""
        count, confidence, right = self.sums.unbind()
        gap = confidence - right
        return {
            "expected_calibration_error": gap.abs().sum() / count.sum(),
            "maximum_calibration_error": (gap.abs() / count).where(count > 0, 0).amax(),
            "overconfidence": gap.sum() / count.sum(),
        }


def target_classes(choice: Tensor, y: Tensor, classes: int) -> Tensor:
    """The true class of each decision, in the shape of `choice`.

    Args:
        choice: The predicted class of each decision.
        y: Class indices; 0 and 1 as floats; or class probabilities, classes in dimension 1.
        classes: How many there are.

    Raises:
        ValueError: `y` has another shape.
    """
    if y.numel() == choice.numel():
        y = y.reshape(choice.shape)
        return (y > 0.5).long() if y.is_floating_point() else y
    if y.is_floating_point() and y.ndim > 1 and y.shape[1] == classes:
        return y.argmax(1)
    raise ValueError(
        f"y must have one class index per prediction, shape {list(choice.shape)}, got shape "
        f"{list(y.shape)}"
    )


def calibration(
    y_pred: Tensor,
    y: Tensor,
    *,
    kind: str = "logits",
    ignore_index: int | None = None,
    bins: int = 15,
) -> dict[str, Tensor]:
    """Whether predictions made with a confidence of 80 % are right in 80 % of the cases.

    Decisions are put into bins of equal width by their confidence, (0, 1/B], (1/B, 2/B], …;
    with acc_b, conf_b and n_b of a bin,
    expected_calibration_error = Σ_b n_b/n · |acc_b − conf_b|,
    maximum_calibration_error = max_b |acc_b − conf_b|, overconfidence = mean confidence − accuracy.

    Left out are decisions whose target is `ignore_index`. A NaN in a prediction is shown.

    Args:
        y_pred: Predictions, as in `probabilities`.
        y: Class indices, or class probabilities in the shape of `y_pred`; 0 and 1 for the
            binary kinds.
        kind: What `y_pred` holds.
        ignore_index: The class index that marks a target that does not count.
        bins: How many bins.

    Raises:
        ValueError: `kind` or the shapes do not fit.

    Source: Guo et al. (2017), On Calibration of Modern Neural Networks,
    https://arxiv.org/abs/1706.04599.

    Example:
        >>> sure = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.9, 0.1]])
        >>> found = calibration(sure, torch.tensor([0, 0, 0, 1]), kind="probabilities")
        >>> round(found["expected_calibration_error"].item(), 4)
        0.15
    """
    totals = CalibrationTotals.of(y_pred, y, kind=kind, ignore_index=ignore_index, bins=bins)
    return totals.statistics()
