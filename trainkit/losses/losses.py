"""A loss made of named, weighted components."""

from collections.abc import Callable, Mapping
from functools import partial
from math import isfinite
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from trainkit.losses.targets import adapt_target

__all__ = ["Component", "LossError", "Losses"]

# Raised by the component's own code; running out of memory is not a mismatch.
_REFUSALS = (RuntimeError, ValueError, TypeError, IndexError)


_KINDS = (
    "logits", "log_probabilities", "probabilities", "binary_logits", "binary_probabilities",
    "values",
)  # fmt: skip


class Component(TypedDict, total=False):
    """One part of a loss: what is computed, and how much of it counts."""

    weight: float
    loss: Callable[..., Tensor]


class LossError(ValueError):
    """A loss and what it was given do not fit together."""


class Losses(nn.Module):
    """A loss made of named, weighted components; the total is their sum.

    L = sum over components i of w_i · l_i(y_pred, y)

    A component of weight 0 is left out altogether. A target is brought into the shape and dtype
    that each of PyTorch's own losses takes: see `adapt_target`.

    Args:
        components: Name → `{"weight": 1.0, "loss": loss}`, or the loss alone. A loss is called
            with `(y_pred, y)` and returns a 0-d tensor; a `functools.partial` that waits for
            `model` (`L1`, `L2`) is completed with `model`.
        model: What is trained, for components that look at its weights.
        predictions: What `y_pred` holds, for monitors, where the components do not tell: `logits`,
            `log_probabilities`, `probabilities`, `binary_logits`, `binary_probabilities`,
            `values`.

    Raises:
        TypeError: A component is not of that form.
        ValueError: No component is left, a weight is not finite, a name is empty, is `total`
            or contains a slash, or `predictions` is none of these.

    Example:
        >>> mse, l1 = nn.MSELoss(), nn.L1Loss()
        >>> losses = Losses({"mse": {"loss": mse}, "l1": {"weight": 0.5, "loss": l1}})
        >>> losses(torch.tensor([2.0, 4.0]), torch.tensor([0.0, 0.0]))
        {'mse': tensor(10.), 'l1': tensor(1.5000)}
    """

    # What monitors may know: it is the sum of its components, with targets adapted.
    additive = True
    adapt_target = staticmethod(adapt_target)

    def __init__(
        self,
        components: Mapping[str, Component | Callable[..., Tensor]],
        model: nn.Module | Mapping[str, nn.Module] | None = None,
        predictions: str | None = None,
    ) -> None:
        super().__init__()
        if predictions is not None and predictions not in _KINDS:
            raise ValueError(
                f"loss.predictions must be one of {', '.join(_KINDS)}, got {predictions!r}"
            )
        self.predictions = predictions
        if not isinstance(components, Mapping):
            raise TypeError(
                f"loss.components must map names to components, got {type(components).__name__}"
            )
        self.components: dict[str, Callable[..., Tensor]] = {}
        self.weights: dict[str, float] = {}
        for name, component in components.items():
            if not isinstance(name, str) or not name or name == "total" or "/" in name:
                raise ValueError(
                    "a loss component needs a name that is not empty, not 'total' and has no "
                    f"slash, got {name!r}"
                )
            weight, loss = _parts(name, component)
            if weight == 0:
                continue
            self.components[name] = _completed(name, loss, model)
            self.weights[name] = weight
        if not self.components:
            raise ValueError(
                "a loss needs at least one component of a weight other than 0, got "
                f"{ {name: _parts(name, c)[0] for name, c in components.items()} }"
            )
        # Registered, so that `.to(device)` moves class weights and the like.
        self._modules_among = nn.ModuleList(
            loss for loss in self.components.values() if isinstance(loss, nn.Module)
        )

    def forward(self, y_pred: Any, y: Any) -> dict[str, Tensor]:
        """The weighted contribution of each component, 0-d each; they add up to the total.

        Raises:
            LossError: A component refuses what it was given, or returns no single number.
        """
        return {
            name: self.weights[name] * self._contribution(name, loss, y_pred, y)
            for name, loss in self.components.items()
        }

    def _contribution(self, name: str, loss: Callable[..., Tensor], y_pred: Any, y: Any) -> Tensor:
        try:
            value = loss(y_pred, adapt_target(loss, y_pred, y))
        except torch.OutOfMemoryError:
            raise
        except _REFUSALS as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise LossError(
                f"the loss component {name!r} cannot take y_pred {_seen(y_pred)} with "
                f"y {_seen(y)}: {reason}{_hint(reason)}"
            ) from error
        if not isinstance(value, Tensor) or value.ndim != 0:
            raise LossError(
                f"the loss component {name!r} must return one number (a 0-d tensor), got "
                f"{_seen(value)}; take its mean or sum (reduction='mean')"
            )
        return value


def _parts(name: str, component: Any) -> tuple[float, Callable[..., Tensor]]:
    weight, loss = 1.0, component
    if isinstance(component, Mapping):
        unknown = set(component) - {"weight", "loss"}
        if unknown or "loss" not in component:
            raise TypeError(
                f"loss component {name!r} must be {{weight: ..., loss: ...}}, got the keys "
                f"{sorted(map(str, component))}"
            )
        weight, loss = component.get("weight", 1.0), component["loss"]
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise TypeError(f"the weight of loss component {name!r} must be a number, got {weight!r}")
    if not isfinite(weight):
        raise ValueError(f"the weight of loss component {name!r} must be finite, got {weight}")
    if not callable(loss):
        raise TypeError(
            f"the loss of component {name!r} must be callable as loss(y_pred, y), got {loss!r}"
        )
    return float(weight), loss


def _completed(name: str, loss: Callable[..., Tensor], model: Any) -> Callable[..., Tensor]:
    if not (isinstance(loss, partial) and isinstance(loss.func, type)):
        return loss
    if model is None:
        raise TypeError(
            f"loss component {name!r} ({loss.func.__name__}) waits for a model: pass "
            "Losses(..., model=model)"
        )
    completed: Callable[..., Tensor] = loss(model=model)
    return completed


def _seen(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} of shape {list(value.shape)}"
    return type(value).__name__


def _hint(reason: str) -> str:
    if "between 0 and 1" in reason:
        return "; bce takes probabilities: end the model in a sigmoid, or take bce_with_logits"
    return ""
