"""Check whether predictions look like logits, probabilities, and so on, as declared."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from trainkit.stats.outputs.classification import class_dimension
from trainkit.stats.precision import wide

__all__ = ["Appearance", "looks_together"]

_FEWEST = 8  # elements that could all lie in [0, 1] by chance


@dataclass(frozen=True, eq=False)
class Appearance:
    """What predictions look like; those of several batches add up.

    Args:
        form: What they are said to be: a kind, or the binary one where there are no classes.
        numbers: The smallest and the largest element, and how far the sum of a decision's
            probabilities is from 1 at most, `[3]`. NaN where there is a NaN.
        likelihoods: Of the targets, negative and logarithmic, taking the predictions for
            probabilities and for logits of yes-or-no decisions, `[2]`; 0 where it does not matter.
        elements: How many there are.
        tolerance: How far from 1 a sum may be, by rounding: they may have been in half precision
            before.
    """

    form: str
    numbers: Tensor
    likelihoods: Tensor
    elements: int
    tolerance: float

    @classmethod
    def of(cls, y_pred: Tensor, kind: str, y: Tensor | None = None) -> "Appearance":
        """Look at one batch.

        Args:
            y_pred: Predictions, floating point.
            kind: What they are said to be: one of `KINDS` but `values`.
            y: Targets.
        """
        tolerance = 5e-3 if y_pred.dtype in (torch.float32, torch.float64) else 2e-2
        x = y_pred.detach()
        if x.dtype not in (torch.float32, torch.float64):
            x = x.float()
        dtype = wide(x.device)
        form = _form(x, kind, y)
        likelihoods = torch.zeros(2, dtype=dtype, device=x.device)
        if not x.numel():
            least = torch.full((1,), torch.inf, dtype=dtype, device=x.device)
            return cls(form, torch.cat((least, -least, -least)), likelihoods, 0, tolerance)
        least, most = torch.aminmax(x)
        deviation = torch.zeros_like(least)
        if form.startswith("binary"):
            if form == "binary_logits" and y is not None and y.numel() == x.numel():
                target = y.detach().reshape(x.shape).to(x.dtype)
                likelihoods = torch.stack(
                    [
                        F.binary_cross_entropy_with_logits(z, target, reduction="sum").to(dtype)
                        for z in (x.clamp(1e-6, 1 - 1e-6).logit(), x)
                    ]
                )
        else:
            dimension = class_dimension(x, y) or 0
            if form == "log_probabilities":
                deviation = x.logsumexp(dimension).abs().amax()
            else:
                deviation = (x.sum(dimension) - 1).abs().amax()
        numbers = torch.stack((least, most, deviation)).to(dtype)
        return cls(form, numbers, likelihoods, x.numel(), tolerance)

    def __add__(self, other: "Appearance") -> "Appearance":
        a, b = self.numbers, other.numbers
        numbers = torch.cat((torch.minimum(a[:1], b[:1]), torch.maximum(a[1:], b[1:])))
        return Appearance(
            self.form,
            numbers,
            self.likelihoods + other.likelihoods,
            self.elements + other.elements,
            max(self.tolerance, other.tolerance),
        )

    def is_wrong(self) -> Tensor:
        """1 where they cannot be what they are said to be, else 0; float32, 0-d.

        - Logits that all lie in [0, 1] and add up to 1 in every decision are probabilities.
        - Binary logits that all lie in [0, 1] are probabilities if that makes the targets
          likelier, or if they span half of it at least; fewer than 8 may do so by chance.
        - Probabilities lie in [0, 1] and add up to 1; log-probabilities add up to 1.

        NaN is nothing wrong: it is to be seen.
        """
        form = self.form
        least, most, deviation = self.numbers.unbind()
        inside = (least >= 0) & (most <= 1)
        if form == "logits":
            wrong = inside & (deviation <= self.tolerance)
        elif form == "binary_logits":
            p, z = self.likelihoods.unbind()
            wrong = inside & ((p < z) | (most - least >= 0.5))
        elif form == "log_probabilities":
            wrong = deviation > 4 * self.tolerance
        else:
            outside = (least < -self.tolerance) | (most > 1 + self.tolerance)
            wrong = outside | (deviation > 4 * self.tolerance)
        fewest = _FEWEST if form == "binary_logits" else 1
        return wrong.float() if self.elements >= fewest else torch.zeros_like(wrong).float()


def looks_together(a: Appearance | None, b: Appearance | None) -> Appearance | None:
    """Those of two batches, where one or both were looked at."""
    if a is None or b is None:
        return a or b
    return a + b


def _form(y_pred: Tensor, kind: str, y: Tensor | None) -> str:
    if kind in ("logits", "probabilities"):
        dimension = class_dimension(y_pred, y)
        if dimension is None or y_pred.shape[dimension] == 1:
            return f"binary_{kind}"
    return kind
