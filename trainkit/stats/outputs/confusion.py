"""The confusion matrix of a classifier."""

import torch
from torch import Tensor

from trainkit.stats.outputs.calibration import target_classes
from trainkit.stats.outputs.classification import kept, probabilities

__all__ = ["confusion_counts"]


def confusion_counts(
    y_pred: Tensor, y: Tensor, *, kind: str = "logits", ignore_index: int | None = None
) -> Tensor:
    """How often each class was predicted where each class is true; those of batches add up.

    Left out are decisions whose target is `ignore_index`, or no class at all. A prediction with a
    NaN counts as the class of the NaN.

    Args:
        y_pred: Predictions, as in `probabilities`.
        y: As in `calibration`.
        kind: What `y_pred` holds.
        ignore_index: The class index that marks a target that does not count.

    Returns:
        int64, shape `[C, C]`, on the device; row: the true class, column: the predicted one.

    Raises:
        ValueError: `kind` or the shapes do not fit.

    Example:
        >>> y_pred = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])
        >>> confusion_counts(y_pred, torch.tensor([0, 1, 0]), kind="probabilities")
        tensor([[1, 1],
                [0, 1]])
    """
    p = probabilities(y_pred, kind, y)
    classes = p.shape[1]
    choice = p.argmax(1)
    target = target_classes(choice, y, classes).long()
    count = (target >= 0) & (target < classes)
    keep = kept(choice.shape, y, ignore_index)
    if keep is not None:
        count = count & keep
    cell = (target.clamp(0, classes - 1) * classes + choice).flatten()
    counts = torch.zeros(classes * classes, dtype=torch.int64, device=p.device)
    return counts.index_add(0, cell, count.flatten().long()).view(classes, classes)
