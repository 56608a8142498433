"""The kind of predictions (logits, probabilities, ...), from the loss that takes them."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import nn
from torch.nn import functional as F

from trainkit.stats.outputs.classification import KINDS

__all__ = ["ignored_index", "named_loss", "prediction_kind"]

_MODULES: tuple[tuple[type[nn.Module], str], ...] = (
    (nn.CrossEntropyLoss, "logits"),
    (nn.NLLLoss, "log_probabilities"),
    (nn.KLDivLoss, "log_probabilities"),
    (nn.BCEWithLogitsLoss, "binary_logits"),
    (nn.MultiLabelSoftMarginLoss, "binary_logits"),
    (nn.BCELoss, "binary_probabilities"),
    (nn.MSELoss, "values"),
    (nn.L1Loss, "values"),
    (nn.SmoothL1Loss, "values"),
    (nn.HuberLoss, "values"),
)
_FUNCTIONS = {
    F.cross_entropy: "logits",
    F.nll_loss: "log_probabilities",
    F.kl_div: "log_probabilities",
    F.binary_cross_entropy_with_logits: "binary_logits",
    F.multilabel_soft_margin_loss: "binary_logits",
    F.binary_cross_entropy: "binary_probabilities",
    F.mse_loss: "values",
    F.l1_loss: "values",
    F.smooth_l1_loss: "values",
    F.huber_loss: "values",
}


def prediction_kind(loss_fn: Any) -> str | None:
    """What the predictions must be for this loss to make sense of them; None if it does not tell.

    Cross entropy takes `logits`; NLL and KL divergence `log_probabilities`; BCE
    `binary_probabilities`, with logits `binary_logits`; MSE, L1, smooth L1 and Huber `values`:
    the modules, their subclasses, the functions of `torch.nn.functional`, and partials of them.
    A loss with an attribute `components` (name → loss, or name → mapping with an entry `loss`)
    takes what its components take, if they agree; a component that does not tell is passed over.
    Any loss can say it itself, with an attribute: `loss_fn.predictions = "logits"`.

    Args:
        loss_fn: Any loss.

    Example:
        >>> prediction_kind(nn.CrossEntropyLoss()), prediction_kind(F.mse_loss)
        ('logits', 'values')
        >>> prediction_kind(lambda y_pred, y: 0) is None
        True
    """
    said = _said(loss_fn)
    if said is not None:
        return said
    parts = _parts(loss_fn)
    kinds = {_kind(part) for part in parts} - {None} or {_said(part) for part in parts} - {None}
    return kinds.pop() if len(kinds) == 1 else None


def ignored_index(loss_fn: Any) -> int | None:
    """The class index that marks targets which do not count in this loss; None if there is none."""
    for part in _parts(loss_fn):
        if _kind(part) not in ("logits", "log_probabilities"):
            continue
        keywords = part.keywords if isinstance(part, partial) else {}
        default = -100 if not isinstance(part, nn.Module) else None
        index = keywords.get("ignore_index", getattr(part, "ignore_index", default))
        if isinstance(index, int):
            return index
    return None


def named_loss(loss_fn: Any) -> str:
    """What to call a loss in a message.

    Example:
        >>> named_loss(nn.MSELoss()), named_loss(F.mse_loss)
        ('MSELoss()', 'mse_loss')
    """
    while isinstance(loss_fn, partial):
        loss_fn = loss_fn.func
    name = getattr(loss_fn, "__name__", None)
    return name if isinstance(name, str) else f"{' '.join(repr(loss_fn).split()):.60}"


def _parts(loss_fn: Any) -> list[Any]:
    components = _attribute(loss_fn, "components")
    if not isinstance(components, Mapping):
        return [loss_fn]
    return [
        part["loss"] if isinstance(part, Mapping) and "loss" in part else part
        for part in components.values()
    ]


def _attribute(loss_fn: Any, name: str) -> Any:
    try:
        return getattr(loss_fn, name, None)
    except Exception:  # its own code, which may do anything
        return None


def _said(loss_fn: Any) -> str | None:
    said = _attribute(loss_fn, "predictions")
    return said if isinstance(said, str) and said in KINDS else None


def _kind(loss_fn: Any) -> str | None:
    while isinstance(loss_fn, partial):
        loss_fn = loss_fn.func
    for module, kind in _MODULES:
        if isinstance(loss_fn, module) or loss_fn is module:
            return kind
    return next((kind for function, kind in _FUNCTIONS.items() if loss_fn is function), None)
