"""Find wrong predictions and targets that a loss accepts silently, on one batch."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from trainkit.handlers.output.prediction_kind import prediction_kind
from trainkit.losses import HeadLoss, adapt_target

__all__ = ["Broadcasts", "OfProbabilities", "check_predictions", "has_unknown_parts"]

_LEFT_OUT = "entropy and calibration of such predictions are left out"
_FEWEST = 8  # fewer binary predictions than this may all lie in [0, 1] by chance


class OfProbabilities(str):
    """A doubt that the prediction monitors find too; they do not repeat it."""

    __slots__ = ()


def check_predictions(loss_fn: Any, y_pred: Any, y: Any) -> list[str]:
    """What is doubtful about predictions, given the loss that takes them; a line for each doubt.

    An error is what cannot be meant: cross entropy of one class, NLL of what are no
    log-probabilities, predictions and targets of which a difference is larger than both. A doubt
    is what somebody may want: cross entropy of probabilities.

    Args:
        loss_fn: One loss, or one with `components`; a loss that is not known is passed over.
        y_pred: Of one batch.
        y: Of the same.

    Raises:
        ValueError: It cannot be meant.
    """
    doubts: list[str] = []
    for key, part in _parts(loss_fn):
        if isinstance(part, HeadLoss):
            pair = part.of_head(y_pred, y)
            doubts += _of_part(f"{key}.loss", part.loss, *pair, adapted=True)
        else:
            adapted = part is not loss_fn and hasattr(loss_fn, "adapt_target")
            doubts += _of_part(key, part, y_pred, y, adapted=adapted)
    return doubts


def _of_part(key: str, part: Any, y_pred: Any, y: Any, *, adapted: bool) -> list[str]:
    if not (isinstance(y_pred, Tensor) and y_pred.is_floating_point() and y_pred.numel()):
        return []
    kind = prediction_kind(part)
    if kind == "logits":
        _check_classes(key, "cross entropy", y_pred, y)
        if _are_probabilities(y_pred):
            return [
                OfProbabilities(
                    f"{key}: cross entropy takes logits, and the model's outputs are probabilities "
                    "(at least 0, adding up to 1): it applies a softmax of its own, and trains "
                    f"slowly; leave the softmax out of the model; {_LEFT_OUT}"
                )
            ]
    elif kind == "log_probabilities":
        _check_log_probabilities(key, y_pred, y)
    elif kind == "binary_logits":
        least, most = (float(value) for value in y_pred.aminmax())
        if y_pred.numel() >= _FEWEST and least > 0 and most < 1:
            return [
                OfProbabilities(
                    f"{key}: bce_with_logits takes logits, and all of the model's outputs lie "
                    f"between 0 and 1 ({least:.3g} to {most:.3g}): it applies a sigmoid of its "
                    f"own; leave the sigmoid out of the model, or take bce; {_LEFT_OUT}"
                )
            ]
    elif kind == "values":
        _check_shapes(key, y_pred, adapt_target(part, y_pred, y) if adapted else y)
    return []


def has_unknown_parts(loss_fn: Any) -> bool:
    """Whether any part is a loss whose expected input is not known."""
    parts = [part for _, part in _parts(loss_fn) if not isinstance(part, HeadLoss)]
    return any(prediction_kind(part) is None for part in parts)


class Broadcasts(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees whether `[N, 1]` meets `[N]` inside, so that each prediction meets every target."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: tuple[list[int], list[int]] | None = None

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = function.overloadpacket.__name__
        pair = [arg for arg in args[:2] if isinstance(arg, Tensor)]
        if len(pair) == 2 and name in ("sub", "rsub") and _is_crossed(*pair):
            self.seen = (list(pair[0].shape), list(pair[1].shape))
        elif len(pair) == 2 and name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"):
            shapes = [_before_expansion(tensor) for tensor in pair]
            if shapes[0] != shapes[1] and pair[0].ndim == 2 and pair[0].shape[0] > 1:
                self.seen = (shapes[0], shapes[1])
        return function(*args, **(kwargs or {}))

    def doubts(self) -> list[str]:
        """One line if broadcasting was seen."""
        if self.seen is None:
            return []
        a, b = self.seen
        return [
            f"loss: a difference of {a} and {b} compares each prediction with every target; "
            "reshape one of them (y.unsqueeze(1), or y_pred.squeeze(1))"
        ]


def _parts(loss_fn: Any) -> Iterator[tuple[str, Any]]:
    components = getattr(loss_fn, "components", None)
    if isinstance(components, Mapping):
        yield from ((f"loss.components.{name}", part) for name, part in components.items())
    elif loss_fn is not None:
        yield "loss", loss_fn


def _check_classes(key: str, name: str, y_pred: Tensor, y: Any) -> None:
    if y_pred.ndim > 1 and y_pred.shape[1] == 1:
        raise ValueError(
            f"{key}: {name} needs an output for each class, got one ({_shape(y_pred)}): its loss "
            "would always be 0; take bce_with_logits, or give the model as many outputs as classes"
        )
    if y_pred.ndim == 1 and isinstance(y, Tensor) and y.shape == y_pred.shape and len(y) > 1:
        raise ValueError(
            f"{key}: {name} needs an output for each class, got y_pred {_shape(y_pred)}: it would "
            "take the batch for classes; take bce_with_logits, or give the model as many outputs "
            "as classes"
        )


def _check_log_probabilities(key: str, y_pred: Tensor, y: Any) -> None:
    _check_classes(key, "NLL", y_pred, y)
    if y_pred.ndim < 2:
        return
    sums = y_pred.double().exp().sum(1)
    if not bool(torch.isfinite(sums).all()) or float((sums - 1).abs().max()) < 0.05:
        return  # non-finite values are reported elsewhere
    found = "probabilities" if _are_probabilities(y_pred) else "no log-probabilities"
    raise ValueError(
        f"{key}: NLL takes log-probabilities, and the model's outputs are {found} (the sums of "
        f"their exponentials are {float(sums.min()):.3g} to {float(sums.max()):.3g}, not 1); end "
        "the model in a log_softmax, or take cross_entropy with logits"
    )


def _are_probabilities(y_pred: Tensor) -> bool:
    if y_pred.ndim < 2 or y_pred.shape[1] < 2 or float(y_pred.min()) < 0:
        return False
    precise = y_pred.dtype in (torch.float32, torch.float64)
    return float((y_pred.double().sum(1) - 1).abs().max()) < (1e-3 if precise else 2e-2)


def _check_shapes(key: str, y_pred: Tensor, y: Any) -> None:
    if not isinstance(y, Tensor) or y.shape == y_pred.shape:
        return
    try:
        together: torch.Size = torch.broadcast_shapes(y.shape, y_pred.shape)  # type: ignore[no-untyped-call]
    except RuntimeError:  # the loss has already refused it, or does not check shapes
        return
    if together.numel() > max(y.numel(), y_pred.numel()):
        raise ValueError(
            f"{key}: y_pred {_shape(y_pred)} with y {_shape(y)} would be broadcast to "
            f"{list(together)}: each prediction compared with every target; reshape one of them "
            "(y.unsqueeze(1), or y_pred.squeeze(1)), or take trainkit.losses.Losses, which does"
        )


def _is_crossed(a: Tensor, b: Tensor) -> bool:
    flat, tall = sorted((a, b), key=lambda tensor: tensor.ndim)
    return flat.ndim == 1 and tall.ndim == 2 and tall.shape == (len(flat), 1) and len(flat) > 1


def _before_expansion(tensor: Tensor) -> list[int]:
    return [
        1 if stride == 0 else size
        for size, stride in zip(tensor.shape, tensor.stride(), strict=True)
    ]


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))
