"""What a classifier predicts: how undecided it is, and which classes it chooses."""

from dataclasses import dataclass
from math import log
from typing import Literal, get_args

import torch
from torch import Tensor

from trainkit.stats.cpu.loops import ClassRows, loops
from trainkit.stats.precision import wide

__all__ = [
    "KINDS",
    "ClassTotals",
    "Kind",
    "class_dimension",
    "classification",
    "kept",
    "probabilities",
]

Kind = Literal[
    "logits",
    "log_probabilities",
    "probabilities",
    "binary_logits",
    "binary_probabilities",
    "values",
]
KINDS: tuple[str, ...] = get_args(Kind)

_WIDE = (torch.float32, torch.float64)


def probabilities(y_pred: Tensor, kind: str, y: Tensor | None = None) -> Tensor:
    """Class probabilities with the classes in dimension 1, whatever the model returns.

    A yes-or-no decision becomes two classes, no and yes: shape `[N, ...]` becomes `[N, 2, ...]`.

    Args:
        y_pred: `[N, C]` or `[N, C, ...]`; `[N, ..., C]` where the shape of `y` says so: see
            `class_dimension`. For the binary kinds, and for `logits` without a class dimension or
            with one of size 1, every element is a decision of its own.
        kind: One of `KINDS` but `values`.
        y: Class indices; only their shape is looked at.

    Raises:
        ValueError: `kind` is not a kind of class prediction, or there is no class dimension.
    """
    scores, form = _scores(y_pred, kind, y)
    if form == "logits":
        return scores.softmax(1)
    return scores.exp() if form == "log_probabilities" else scores


def _scores(y_pred: Tensor, kind: str, y: Tensor | None) -> tuple[Tensor, str]:
    """Scores with the classes in dimension 1, and the kind of them: not a binary one any more."""
    if kind not in KINDS[:-1]:
        raise ValueError(f"kind must be one of {', '.join(KINDS[:-1])}, got {kind!r}")
    if y_pred.requires_grad:
        y_pred = y_pred.detach()
    if y_pred.ndim == 0:
        y_pred = y_pred.reshape(1)
    if y_pred.dtype not in _WIDE:
        y_pred = y_pred.float()
    if y_pred.ndim == 2 and not kind.startswith("binary") and y_pred.shape[1] > 1:
        return y_pred, kind  # the usual case
    if kind == "binary_logits":
        return torch.stack((torch.sigmoid(-y_pred), torch.sigmoid(y_pred)), dim=1), "probabilities"
    if kind == "binary_probabilities":
        return torch.stack((1 - y_pred, y_pred), dim=1), "probabilities"
    classes = class_dimension(y_pred, y)
    if classes is None or y_pred.shape[classes] == 1:
        if kind == "log_probabilities":
            raise ValueError(
                f"{kind} need two or more classes in dimension 1 (shape [N, C, ...]), got shape "
                f"{list(y_pred.shape)}"
            )
        return _scores(y_pred, f"binary_{kind}", y)
    if classes == 0:
        return y_pred.unsqueeze(0), kind
    return (y_pred if classes == 1 else y_pred.movedim(classes, 1)), kind


def class_dimension(y_pred: Tensor, y: Tensor | None) -> int | None:
    """Which dimension of the predictions holds the classes, by the shape of the class indices.

    That which is missing in `y`, or is 1 there; where `y` was flattened, that without which the
    numbers of elements agree. 1 comes before the last; where `y` does not tell (there is none, it
    has the shape of `y_pred`, several dimensions fit), it is 1. None where there is no dimension
    for classes.

    Args:
        y_pred: `[N, C]`, `[N, C, ...]` or `[N, ..., C]`, or `[C]` where `y` is 0-d.
        y: Class indices; only their shape is looked at.

    Example:
        >>> class_dimension(torch.zeros(2, 4, 4, 3), torch.zeros(2, 4, 4))
        3
        >>> class_dimension(torch.zeros(2, 4, 4, 3), None)
        1
    """
    shape = y_pred.shape
    if len(shape) < 2:
        return 0 if len(shape) and y is not None and not y.ndim else None
    if y is None or len(shape) == 2:
        return 1
    last = len(shape) - 1
    for kept_as in ((), (1,)):
        for d in (1, last):
            if y.shape == shape[:d] + kept_as + shape[d + 1 :]:
                return d
    if y.numel() * shape[1] != shape.numel() and y.numel() * shape[last] == shape.numel():
        return last
    return 1


def kept(shape: torch.Size, y: Tensor | None, ignore_index: int | None) -> Tensor | None:
    """Which decisions count, bool, of the shape of the decisions; None if all of them do.

    Raises:
        ValueError: There is an index to ignore, but `y` has not one class index per decision.
    """
    targets = _targets(shape, y, ignore_index)
    return (
        None if targets is None or ignore_index is None else targets.reshape(shape).ne(ignore_index)
    )


def _targets(shape: torch.Size, y: Tensor | None, ignore_index: int | None) -> Tensor | None:
    """A class index per decision, `[decisions]`, where some may have to be ignored."""
    if ignore_index is None or y is None or y.is_floating_point():
        return None
    if y.numel() != shape.numel():
        raise ValueError(
            f"y must have one class index per prediction, shape {list(shape)}, to ignore those "
            f"that are {ignore_index}; got shape {list(y.shape)}"
        )
    return y.reshape(-1)


@dataclass(eq=False, slots=True)
class ClassTotals:
    """Sums over decisions; those of several batches add up to those of all of them.

    NumPy arrays do as well as tensors, and may have more dimensions in front.

    Args:
        sums: Of entropy, the highest and the second highest probability, and the number of
            decisions, `[4]`.
        chosen: How often each class was the most probable, or each label was predicted, `[K]`;
            empty where there are too many; NaN where a NaN fell.
        classes: C, in ln C.
        offered: How often each label could have been predicted, `[K]`; None: in every decision.
    """

    sums: Tensor
    chosen: Tensor
    classes: int
    offered: Tensor | None = None

    @classmethod
    def of(
        cls,
        y_pred: Tensor,
        y: Tensor | None = None,
        *,
        kind: str = "logits",
        ignore_index: int | None = None,
        shares: int = 32,
    ) -> "ClassTotals":
        """The totals of one batch; arguments as in `classification`."""
        scores, form = _scores(y_pred, kind, y)
        labels = scores.ndim > 2 and kind.startswith("binary") and scores.shape[2] > 1
        if scores.is_cpu and not labels and scores.numel() and not scores.is_neg():
            class_rows = loops().class_rows
            if class_rows is not None:
                return cls._of_rows(class_rows, scores, form, y, ignore_index, shares)
        p = probabilities(scores, form)
        top, index = p.topk(2, dim=1)
        confidence, second = top.unbind(1)
        choice = index.select(1, 0)
        keep = kept(choice.shape, y, ignore_index)
        dtype = wide(p.device)
        weight = confidence / confidence  # 1, or NaN where there is no most probable class
        ones = torch.ones_like(confidence)
        each = torch.stack((torch.special.entr(p).sum(1), confidence, second, ones))
        if keep is not None:
            each, weight = each.where(keep, 0), weight.where(keep, 0)
        sums = each.flatten(1).sum(1, dtype=dtype)
        offered: Tensor | None = None
        names = p.shape[2] if labels else p.shape[1]
        if names > shares:
            chosen = sums.new_zeros(0)
        elif labels:
            others = [d for d in range(choice.ndim) if d != 1]
            chosen = (choice * weight).sum(others, dtype=dtype)
            offered = (ones if keep is None else ones.where(keep, 0)).sum(others, dtype=dtype)
        else:
            chosen = sums.new_zeros(names)
            chosen = chosen.index_add_(0, choice.flatten(), weight.flatten().to(dtype))
        return cls(sums, chosen, p.shape[1], offered)

    @classmethod
    def _of_rows(
        cls,
        class_rows: ClassRows,
        scores: Tensor,
        form: str,
        y: Tensor | None,
        ignore_index: int | None,
        shares: int,
    ) -> "ClassTotals":
        if ignore_index is None or y is None:
            y = None
        elif scores.ndim > 2 or y.ndim != 1 or y.shape[0] != scores.shape[0]:
            y = _targets(scores.shape[:1] + scores.shape[2:], y, ignore_index)
        elif y.is_floating_point():
            y = None
        if scores.ndim > 2:
            scores = scores.movedim(1, -1).reshape(-1, scores.shape[1])
        sums, chosen = class_rows(scores, form, y, ignore_index or 0)
        classes = chosen.numel()
        return cls(sums, chosen if classes <= shares else chosen[:0], classes)

    def __add__(self, other: "ClassTotals") -> "ClassTotals":
        offered = self.offered
        if offered is not None and other.offered is not None:
            offered = offered + other.offered
        return ClassTotals(
            self.sums + other.sums, self.chosen + other.chosen, self.classes, offered
        )

    def statistics(self) -> dict[str, Tensor]:
        """Means over all decisions, 0-d each; NaN where there was no decision."""
        sums = self.sums
        entropy, confidence, second = (sums[..., i] / sums[..., 3] for i in range(3))
        return {
            "entropy": entropy,
            "entropy_normalized": entropy / log(self.classes),
            "confidence": confidence,
            "margin": confidence - second,
        }

    def shares(self) -> Tensor:
        """Per class, in which share of the decisions it was the most probable, shape `[K]`."""
        return self.chosen / (self.sums[..., 3:] if self.offered is None else self.offered)


def classification(
    y_pred: Tensor,
    y: Tensor | None = None,
    *,
    kind: str = "logits",
    ignore_index: int | None = None,
) -> dict[str, Tensor]:
    """How decided a classifier is: entropy, confidence and margin, averaged over its decisions.

    entropy = −Σ_c p_c · ln p_c in nats, with 0 · ln 0 = 0; entropy_normalized = entropy / ln C;
    confidence = max_c p_c; margin = the highest minus the second highest p_c.

    A decision is a row, and with dimensions behind the classes (pixels, tokens) each of them;
    for the binary kinds each element (C = 2), so that several labels are averaged over too.
    Left out are decisions whose target is `ignore_index`. A NaN in a prediction is a NaN in all.

    Args:
        y_pred: Predictions, as in `probabilities`.
        y: Class indices, for `ignore_index` and for where the classes are.
        kind: One of `KINDS` but `values`: what `y_pred` holds.
        ignore_index: The class index that marks a target that does not count.

    Raises:
        ValueError: `kind` or the shapes do not fit.

    Cost:
        One softmax, one `topk(2)` and three reductions of `y_pred`.

    Example:
        >>> two = classification(torch.tensor([[0.5, 0.5], [1.0, 0.0]]), kind="probabilities")
        >>> {name: round(value.item(), 4) for name, value in two.items()}
        {'entropy': 0.3466, 'entropy_normalized': 0.5, 'confidence': 0.75, 'margin': 0.5}
    """
    return ClassTotals.of(y_pred, y, kind=kind, ignore_index=ignore_index, shares=0).statistics()
