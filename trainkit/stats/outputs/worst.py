"""The samples of a pass with the worst predictions."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainkit.stats.outputs.calibration import target_classes
from trainkit.stats.outputs.classification import kept, probabilities
from trainkit.stats.precision import wide

__all__ = ["Worst", "worst_classes", "worst_tokens", "worst_values"]


@dataclass(frozen=True, eq=False)
class Worst:
    """A few samples with the highest badness; those of several batches are joined with `+`.

    Args:
        badness: Descending, NaN first, shape `[k]`.
        found: What is known of each, float64, shape `[k, ...]`; column 0 is its position in the
            data, counted from 0.
        inputs: What the network was given, shape `[k, ...]`.
        samples: How many samples there were.
        most: Samples to keep.
    """

    badness: Tensor
    found: Tensor
    inputs: Tensor
    samples: int
    most: int

    @classmethod
    def of(cls, badness: Tensor, found: Tensor, inputs: Tensor, *, most: int) -> "Worst":
        """Of one batch.

        Args:
            badness: Shape `[N]`; −inf leaves a sample out while there are others.
            found: Shape `[N, ...]`; the position is put in front.
            inputs: Shape `[N, ...]`, on the same device.
            most: Samples to keep.
        """
        samples = len(badness)
        badness, index = badness.topk(min(most, samples))
        found = torch.cat((index[:, None].to(found.dtype), found[index]), 1)
        return cls(badness, found, inputs[index], samples, most)

    def __add__(self, other: "Worst") -> "Worst":
        shift = torch.zeros_like(other.found[:1])
        shift[:, :1].fill_(self.samples)
        badness = torch.cat((self.badness, other.badness))
        badness, index = badness.topk(min(self.most, badness.numel()))
        found = torch.cat((self.found, other.found + shift))[index]
        inputs = torch.cat((self.inputs, other.inputs))[index]
        return Worst(badness, found, inputs, self.samples + other.samples, self.most)


def worst_classes(
    y_pred: Tensor,
    y: Tensor,
    inputs: Tensor,
    *,
    kind: str = "logits",
    ignore_index: int | None = None,
    most: int = 12,
) -> Worst | None:
    """The samples of a batch whose true class was given the smallest probability.

    `found` has the position, the true class, the predicted class, its probability and that of the
    true class. None where a sample is more than one decision (text, pixels, several labels), or
    the inputs are not one per sample.

    Args:
        y_pred: Predictions, as in `probabilities`.
        y: As in `calibration`.
        inputs: What the network was given, shape `[N, ...]`, on the same device.
        kind: What `y_pred` holds.
        ignore_index: The class index that marks a target that does not count.
        most: Samples to keep.

    Example:
        >>> y_pred, y = torch.tensor([[0.9, 0.1], [0.5, 0.5]]), torch.tensor([1, 1])
        >>> worst = worst_classes(y_pred, y, torch.zeros(2, 3), kind="probabilities", most=1)
        >>> worst.found[:, :3].tolist()
        [[0.0, 1.0, 0.0]]
    """
    p = probabilities(y_pred, kind, y)
    if p[:, 0].numel() != len(p) or len(inputs) != len(p) or not len(p):
        return None
    p = p.reshape(len(p), -1)
    badness, found = _badness(p, target_classes(p.argmax(1), y, p.shape[1]), y, ignore_index)
    return Worst.of(badness, found, inputs, most=most)


def worst_tokens(
    y_pred: Tensor,
    y: Tensor,
    tokens: Tensor,
    *,
    kind: str = "logits",
    ignore_index: int | None = None,
    most: int = 12,
    context: int = 32,
) -> Worst | None:
    """The decisions about text whose true class was given the smallest probability.

    `found` is that of `worst_classes`, the position counted in decisions; `inputs` are the tokens
    up to the one at the decision's place, shape `[k, context]`, -1 before the beginning. None
    where there is not one decision for each token.

    Args:
        y_pred: Predictions, shape `[N, C, L]`, as in `probabilities`.
        y: Class indices, shape `[N, L]`.
        tokens: What the network was given, integers of shape `[N, L]`, on the same device.
        kind: What `y_pred` holds.
        ignore_index: The class index that marks a target that does not count.
        most: Decisions to keep.
        context: Tokens to keep of each.

    Example:
        >>> y_pred = torch.tensor([[[0.9, 0.5], [0.1, 0.5]]])
        >>> tokens, y = torch.tensor([[7, 8]]), torch.tensor([[1, 0]])
        >>> found = worst_tokens(y_pred, y, tokens, kind="probabilities", most=1, context=2)
        >>> found.inputs.tolist(), found.found[0, :3].tolist()
        ([[-1, 7]], [0.0, 1.0, 0.0])
    """
    p = probabilities(y_pred, kind, y)
    if p.ndim != 3 or tokens.shape != y.shape or y.shape != p[:, 0].shape or not y.numel():
        return None
    length = y.shape[1]
    flat = p.movedim(1, -1).reshape(-1, p.shape[1])
    badness, found = _badness(flat, y.reshape(-1), y, ignore_index)
    places = torch.arange(y.numel(), device=p.device)
    chosen = Worst.of(badness, found, places, most=most)
    row, column = chosen.inputs // length, chosen.inputs % length
    before = column[:, None] + torch.arange(1 - context, 1, device=p.device)
    seen = tokens.long()[row[:, None], before.clamp(min=0)].where(before >= 0, -1)
    return Worst(chosen.badness, chosen.found, seen, chosen.samples, most)


def _badness(
    p: Tensor, target: Tensor, y: Tensor, ignore_index: int | None
) -> tuple[Tensor, Tensor]:
    """1 - probability of the true class, -inf where there is none; and what is known, `[N, 4]`."""
    likely, choice = p.max(1)
    target = target.long()
    known = (target >= 0) & (target < p.shape[1])
    keep = kept(choice.shape, y, ignore_index)
    known = known if keep is None else known & keep
    target = target.clamp(0, p.shape[1] - 1)
    of_true = p.gather(1, target[:, None])[:, 0]
    dtype = wide(p.device)
    found = torch.stack([x.to(dtype) for x in (target, choice, likely, of_true)], 1)
    return (1 - of_true).to(dtype).where(known, -torch.inf), found


def worst_values(y_pred: Tensor, y: Tensor, inputs: Tensor, *, most: int = 12) -> Worst | None:
    """The samples of a batch with the largest residuals.

    `found` has the position, the target and the prediction. None where a sample has more than one
    value, or the inputs are not one per sample.

    Args:
        y_pred: One value per sample.
        y: The targets, as many.
        inputs: What the network was given, shape `[N, ...]`, on the same device.
        most: Samples to keep.
    """
    n = len(inputs)
    if y_pred.numel() != n or y.numel() != n or not n:
        return None
    dtype = wide(y_pred.device)
    found = torch.stack((y.reshape(-1).to(dtype), y_pred.reshape(-1).to(dtype)), 1)
    return Worst.of((found[:, 0] - found[:, 1]).abs(), found, inputs, most=most)
