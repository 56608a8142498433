"""Losses that can be computed without calling user code."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainkit.stats.outputs.loss_sums import FORMS, LossSum, loss_count, loss_sum
from trainkit.stats.precision import wide

__all__ = ["KnownLoss", "known_losses"]

_MODULES: dict[type[nn.Module], str] = {
    nn.CrossEntropyLoss: "cross_entropy",
    nn.NLLLoss: "nll",
    nn.BCEWithLogitsLoss: "bce_with_logits",
    nn.MultiLabelSoftMarginLoss: "bce_with_logits",  # the same mean, of the same elements
    nn.BCELoss: "bce",
    nn.MSELoss: "mse",
    nn.L1Loss: "l1",
    nn.SmoothL1Loss: "smooth_l1",
    nn.HuberLoss: "huber",
    nn.KLDivLoss: "kl_div",
    nn.PoissonNLLLoss: "poisson_nll",
    nn.SoftMarginLoss: "soft_margin",
}
_FUNCTIONS: dict[Any, str] = {
    F.cross_entropy: "cross_entropy",
    F.nll_loss: "nll",
    F.binary_cross_entropy_with_logits: "bce_with_logits",
    F.multilabel_soft_margin_loss: "bce_with_logits",
    F.binary_cross_entropy: "bce",
    F.mse_loss: "mse",
    F.l1_loss: "l1",
    F.smooth_l1_loss: "smooth_l1",
    F.huber_loss: "huber",
    F.kl_div: "kl_div",
    F.poisson_nll_loss: "poisson_nll",
    F.soft_margin_loss: "soft_margin",
}
_CLASSES = {"weight", "ignore_index", "label_smoothing"}
_OPTIONS: dict[str, set[str]] = {
    "cross_entropy": _CLASSES,
    "nll": _CLASSES,
    "bce_with_logits": {"weight", "pos_weight"},
    "bce": {"weight"},
    "smooth_l1": {"beta"},
    "huber": {"delta"},
    "kl_div": {"log_target"},
    "poisson_nll": {"log_input", "full", "eps"},
}


@dataclass(frozen=True, eq=False)
class KnownLoss:
    """One loss whose value over a whole data set is known from sums over its batches.

    Args:
        form: Which one, a key of `stats.loss_sums.FORMS`; empty for a loss that is called.
        loss_fn: The module or function itself.
        weight: What its value is multiplied by.
        fits: Brings a target into the shape that the loss takes.
    """

    form: str
    loss_fn: Any
    weight: float = 1.0
    fits: Any = None

    @property
    def kind(self) -> str | None:
        """What predictions it takes; None where it does not tell."""
        return FORMS.get(self.form)

    @property
    def reduction(self) -> str:
        """`mean`, `sum`, `batchmean` or `none`."""
        return str(self._option("reduction", "mean")) if self.form else "mean"

    def sum(self, y_pred: Any, y: Any, samples: int) -> LossSum:
        """What this batch adds.

        Args:
            y_pred: Predictions.
            y: Targets.
            samples: In the batch: the count of a loss that is called.

        Raises:
            ValueError: The loss does not take these shapes.
        """
        if self.fits is not None:
            y = self.fits(self.loss_fn, y_pred, y)
        if not self.form:
            return self._called(y_pred, y, samples)
        found = loss_sum(self.form, y_pred, y, reduction=self.reduction, **self._options())
        if self.weight != 1:
            found.total = found.total * self.weight
        return found

    def count(self, y_pred: Any, y: Tensor, samples: int) -> Tensor | int:
        """What this batch counts, where somebody else has its loss.

        Args:
            y_pred: Predictions, if they are there; perhaps not as the loss takes them.
            y: Targets.
            samples: In the batch.

        Raises:
            ValueError: The loss is no mean.
        """
        if not self.form:
            return samples
        return loss_count(self.form, y_pred, y, reduction=self.reduction, **self._options())

    def _options(self) -> dict[str, Any]:
        found = {name: self._option(name, None) for name in _OPTIONS.get(self.form, ())}
        return {name: value for name, value in found.items() if value is not None}

    def _called(self, y_pred: Any, y: Any, samples: int) -> LossSum:
        with torch.no_grad():
            value = self.loss_fn(y_pred, y)
        if not isinstance(value, Tensor) or value.ndim:
            raise ValueError(f"a loss must return one number (a 0-d tensor), got {value!r:.60}")
        return LossSum(value.to(wide(value.device)) * (self.weight * samples), samples)

    def _option(self, name: str, default: Any) -> Any:
        if isinstance(self.loss_fn, partial):
            return self.loss_fn.keywords.get(name, default)
        return getattr(self.loss_fn, name, default)


def known_losses(loss_fn: Any) -> dict[str, KnownLoss] | None:
    """The losses that a loss is the sum of, by name; None where it is not known what it does.

    A loss that draws random numbers, keeps buffers or counts its calls must not be called by
    anybody but the training. So these are known, and nothing else:

    - PyTorch's `CrossEntropyLoss`, `NLLLoss`, `BCELoss`, `BCEWithLogitsLoss`, `MSELoss`, `L1Loss`,
      `SmoothL1Loss`, `HuberLoss`, `KLDivLoss`, `PoissonNLLLoss` and `SoftMarginLoss` themselves
      (no subclass, no hooks), and the functions behind them, also as a partial of keywords. They
      are not called: their sums are computed.
    - A loss that says `pure = True`, itself or in its own class: a promise that calling it changes
      nothing. It is called on evaluation batches.
    - A loss whose class says `additive = True`: the sum of `components`, each a loss, multiplied
      by `weights` (trainkit's `Losses`), if all of its components are known.

    Args:
        loss_fn: Any loss.

    Example:
        >>> sorted(known_losses(nn.MSELoss())), known_losses(lambda y_pred, y: 0)
        ([''], None)
    """
    if _says(loss_fn, "additive"):
        components: Mapping[str, Any] = loss_fn.components
        found: dict[str, KnownLoss] = {}
        for name, component in components.items():
            known = _known(component)
            if known is None:
                return None
            fits = getattr(loss_fn, "adapt_target", None)
            found[name] = KnownLoss(known.form, component, loss_fn.weights[name], fits)
        return found
    known = _known(loss_fn)
    return None if known is None else {"": known}


def _known(loss_fn: Any) -> KnownLoss | None:
    form = _MODULES.get(type(loss_fn))
    if form is not None:
        hooked = loss_fn._forward_hooks or loss_fn._forward_pre_hooks
        return None if hooked or "forward" in vars(loss_fn) else KnownLoss(form, loss_fn)
    function, keywords = loss_fn, {}
    if type(loss_fn) is partial and not loss_fn.args:
        function, keywords = loss_fn.func, loss_fn.keywords
    form = next((form for known, form in _FUNCTIONS.items() if known is function), None)
    if form is not None and keywords.keys() <= _OPTIONS.get(form, set()) | {"reduction"}:
        return KnownLoss(form, loss_fn)
    return KnownLoss("", loss_fn) if _says(loss_fn, "pure") else None


def _says(loss_fn: Any, what: str) -> bool:
    """Whether it says so itself, or its own class does: a subclass may do anything."""
    own = getattr(loss_fn, "__dict__", {})
    return own.get(what) is True or vars(type(loss_fn)).get(what) is True
