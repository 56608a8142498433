"""What PyTorch's losses average, as sums: the mean over a data set is exact from them."""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from trainkit.stats.outputs.classification import class_dimension
from trainkit.stats.precision import wide

__all__ = ["FORMS", "LossSum", "loss_count", "loss_sum"]

#: Loss → what predictions it takes.
FORMS = {
    "cross_entropy": "logits",
    "nll": "log_probabilities",
    "kl_div": "log_probabilities",
    "bce_with_logits": "binary_logits",
    "bce": "binary_probabilities",
    "soft_margin": "binary_logits",
    "mse": "values",
    "l1": "values",
    "smooth_l1": "values",
    "huber": "values",
    "poisson_nll": "values",
}


@dataclass(eq=False, slots=True)
class LossSum:
    """The numerator and the denominator of a loss that is a mean; those of batches add up.

    Args:
        total: The sum, 0-d.
        count: What it is divided by: a number of elements or the sum of their weights; 0 for a
            loss that is a sum itself.
        bad: Number of targets that are no class index, 0-d; they are not in the sum.
    """

    total: Tensor
    count: Tensor | int
    bad: Tensor | int = 0

    def __add__(self, other: "LossSum") -> "LossSum":
        return LossSum(self.total + other.total, self.count + other.count, self.bad + other.bad)


def loss_sum(
    form: str,
    y_pred: Tensor,
    y: Tensor,
    *,
    reduction: str = "mean",
    **options: Any,
) -> LossSum:
    """The sum that one of PyTorch's losses averages, and what it divides that by.

    mean over a data set = Σ_b total_b / Σ_b count_b over its batches b. The count is what the loss
    averages over: of class indices (cross entropy, NLL) the sum of their class weights, without
    those that are ignored; of class probabilities the number of decisions; else of elements
    (`batchmean`: of samples). A class index out of range, which would end a CUDA program, is
    counted as bad.

    Args:
        form: One of `FORMS`.
        y_pred: Predictions; the classes as in `class_dimension`.
        y: Targets: class indices or probabilities, or of the shape of `y_pred` but for
            dimensions of size 1.
        reduction: `mean`, `sum` (count is 0) or `batchmean`.
        options: Those of the loss: `weight`, `ignore_index`, `label_smoothing`, `pos_weight`, …

    Raises:
        ValueError: The shapes or kinds do not fit, or the reduction is another one.

    Cost:
        That of the loss, without gradients.

    Example:
        >>> found = loss_sum("mse", torch.tensor([1.0, 2.0]), torch.tensor([0.0, 0.0]))
        >>> found.total.item(), found.count
        (5.0, 2)
    """
    _check_reduction(reduction)
    if not y_pred.is_floating_point():
        raise ValueError(f"predictions must be floating point, got {y_pred.dtype}: classes?")
    if y_pred.dtype not in (torch.float32, torch.float64):
        y_pred = y_pred.float()
    device = y_pred.device.type
    full = torch.amp.is_autocast_available(device)
    with torch.no_grad(), torch.autocast(device, enabled=False) if full else nullcontext():
        if form in ("cross_entropy", "nll"):
            found = _of_classes(form, y_pred.detach(), y.detach(), options)
        else:
            found = _of_elements(form, y_pred.detach(), y.detach(), options)
        total = found.total.to(wide(y_pred.device))
    if reduction == "sum":
        return LossSum(total, 0, found.bad)
    count = y_pred.shape[0] if reduction == "batchmean" else found.count
    return LossSum(total, count, found.bad)


def loss_count(
    form: str, y_pred: Tensor | None, y: Tensor, *, reduction: str = "mean", **options: Any
) -> Tensor | int:
    """The count of `loss_sum` alone, for a loss that was computed elsewhere.

    Class indices and their shape are enough for it, and whatever `y_pred` was made into.

    Raises:
        ValueError: The reduction is another one.

    Example:
        >>> loss_count("nll", None, torch.tensor([2, 1, -100])).item()
        2.0
    """
    _check_reduction(reduction)
    if reduction == "sum":
        return 0
    if form not in ("cross_entropy", "nll"):
        elements: Tensor = y if y_pred is None else y_pred
        return elements.shape[0] if reduction == "batchmean" else elements.numel()
    if y.is_floating_point():  # class probabilities
        return y.numel() // max(y.shape[1] if y.ndim > 1 else 1, 1)
    counted = y.detach() != options.get("ignore_index", -100)
    weight: Tensor | None = options.get("weight")
    if weight is None:
        count: Tensor = counted.sum(dtype=wide(y.device))
        return count
    inside = counted & (y >= 0) & (y < weight.numel())
    weights = weight.detach()[y.where(inside, 0).long()]
    return weights.where(inside, 0).sum(dtype=wide(y.device))


def _check_reduction(reduction: str) -> None:
    if reduction not in ("mean", "sum", "batchmean"):
        raise ValueError(
            f"a loss with reduction={reduction!r} returns no single number; return its mean"
        )


def _of_classes(form: str, y_pred: Tensor, y: Tensor, options: dict[str, Any]) -> LossSum:
    dimension = class_dimension(y_pred, y)
    if dimension is None:
        raise ValueError(f"predictions need a class dimension, got shape {list(y_pred.shape)}")
    if dimension == 0:
        y_pred, y, dimension = y_pred.unsqueeze(0), y.reshape(1), 1
    classes = y_pred.shape[dimension]
    weight, smoothing = options.get("weight"), options.get("label_smoothing", 0.0)
    if y.is_floating_point():
        if y.shape != y_pred.shape or form == "nll":
            raise ValueError(
                f"y must hold class indices for predictions of shape {list(y_pred.shape)}, got "
                f"{y.dtype} of shape {list(y.shape)}"
            )
        target = y.to(y_pred.dtype)
        total = F.cross_entropy(y_pred, target, weight, reduction="sum", label_smoothing=smoothing)
        return LossSum(total, y_pred.numel() // max(classes, 1))
    if y.numel() * classes != y_pred.numel():
        raise ValueError(
            f"y must hold one class index per prediction of shape {list(y_pred.shape)}, got shape "
            f"{list(y.shape)}"
        )
    if dimension == y_pred.ndim - 1 or torch.are_deterministic_algorithms_enabled():
        # Rows. Of more dimensions CUDA has no deterministic version; then they are copied.
        y_pred, y = y_pred.movedim(dimension, -1).reshape(-1, classes), y.reshape(-1)
    else:
        y_pred = y_pred.movedim(dimension, 1)
        y = y.reshape(y_pred.shape[:1] + y_pred.shape[2:])
    ignored = options.get("ignore_index", -100)
    indices = y if y.dtype is torch.int64 else y.long()
    counted = indices != ignored
    valid = counted & (indices >= 0) & (indices < classes)
    bad = (counted ^ valid).sum()
    indices = indices.where(valid, ignored)
    if form == "cross_entropy":
        total = F.cross_entropy(
            y_pred, indices, weight, ignore_index=ignored, reduction="sum",
            label_smoothing=smoothing,
        )  # fmt: skip
    else:
        total = F.nll_loss(y_pred, indices, weight, ignore_index=ignored, reduction="sum")
    if weight is None:
        return LossSum(total, valid.sum(), bad)
    share = weight.detach()[indices.where(valid, 0)].where(valid, 0)
    return LossSum(total, share.sum(dtype=wide(share.device)), bad)


def _of_elements(form: str, y_pred: Tensor, y: Tensor, options: dict[str, Any]) -> LossSum:
    y = _as_shaped(form, y_pred, y)
    each = _ELEMENTS[form](y_pred, y, options)
    return LossSum(each.sum(dtype=wide(y_pred.device)), each.numel())


def _as_shaped(form: str, y_pred: Tensor, y: Tensor) -> Tensor:
    y = y if y.dtype == y_pred.dtype else y.to(y_pred.dtype)
    if y.shape == y_pred.shape:
        return y
    if y.numel() == y_pred.numel() and FORMS[form].startswith("binary"):
        return y.reshape(y_pred.shape)  # torch refuses it, so nothing else can be meant
    raise ValueError(
        f"y must have the shape of y_pred, {list(y_pred.shape)}, got {list(y.shape)}, which torch "
        "would broadcast; reshape one of them"
    )


def _bce(y_pred: Tensor, y: Tensor, options: dict[str, Any]) -> Tensor:
    # Not torch's: it ends a CUDA program where a number is no probability.
    p = y_pred.clamp(0, 1)
    each = -(y * p.log().clamp_min(-100) + (1 - y) * (-p).log1p().clamp_min(-100))
    return each if options.get("weight") is None else each * options["weight"]


def _bce_with_logits(y_pred: Tensor, y: Tensor, options: dict[str, Any]) -> Tensor:
    return F.binary_cross_entropy_with_logits(
        y_pred, y, options.get("weight"), pos_weight=options.get("pos_weight"), reduction="none"
    )


def _kl_div(y_pred: Tensor, y: Tensor, options: dict[str, Any]) -> Tensor:
    return F.kl_div(y_pred, y, reduction="none", log_target=bool(options.get("log_target")))


def _poisson_nll(y_pred: Tensor, y: Tensor, options: dict[str, Any]) -> Tensor:
    return F.poisson_nll_loss(
        y_pred, y, log_input=options.get("log_input", True), full=options.get("full", False),
        eps=options.get("eps", 1e-8), reduction="none",
    )  # fmt: skip


_ELEMENTS: dict[str, Any] = {
    "mse": lambda p, y, o: F.mse_loss(p, y, reduction="none"),
    "l1": lambda p, y, o: F.l1_loss(p, y, reduction="none"),
    "smooth_l1": lambda p, y, o: F.smooth_l1_loss(p, y, reduction="none", beta=o.get("beta", 1.0)),
    "huber": lambda p, y, o: F.huber_loss(p, y, reduction="none", delta=o.get("delta", 1.0)),
    "bce": _bce,
    "bce_with_logits": _bce_with_logits,
    "kl_div": _kl_div,
    "poisson_nll": _poisson_nll,
    "soft_margin": lambda p, y, o: F.soft_margin_loss(p, y, reduction="none"),
}
