"""What `run` needs to know about an engine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ignite.engine import Engine
from ignite.metrics import Metric
from torch import Tensor

__all__ = ["Engines", "Stateful"]


class Stateful(Protocol):
    """Something that a checkpoint keeps."""

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on from here."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Go on from there."""


@dataclass(frozen=True)
class Engines:
    """The engines of one way of training, and what else is particular to it.

    `run` makes it by calling the `engine` partial, which gets, by parameter name, what its
    signature asks for: see "engines/" in docs/internals.md.

    Args:
        trainer: One optimizer step, or one micro-batch, per iteration; its output is the step
            output (`loss`, `losses`, `y_pred`, `y`, and `scalars` where there is more to show).
        evaluator: Makes a new evaluation engine, once for each of the validation, training and
            test data; None: there is nothing to evaluate.
        metrics: More metrics for the evaluators, beside those of the config.
        step_output: Whether the evaluators return the step output too; if not, only their metrics
            are written.
        predictions: What `y_pred` holds: `auto` (inferred from the loss), the kind by name, or
            None for predictions that mean nothing on their own.
        classes: What the classes of the predictions are called, in pictures; None: as the data say.
        scheduled: Values that the engine itself moves, by name, for the hyperparameter monitor.
        samples: Makers of what is shown after each evaluation, by tag: a tensor is written as
            images, a string as text. They may draw random numbers and change the mode of the
            models: `run` puts both back.
        state: What a checkpoint must keep beside models, optimizers and schedules.
        rehearse: Evaluate one batch before the training, so that a model, a loss and metrics
            that do not fit together are refused at once.
    """

    trainer: Engine
    evaluator: Callable[[], Engine] | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    step_output: bool = True
    predictions: str | None = "auto"
    classes: tuple[str, ...] | None = None
    scheduled: Mapping[str, Callable[[], float]] = field(default_factory=dict)
    samples: Mapping[str, Callable[[], Tensor | str]] = field(default_factory=dict)
    state: Mapping[str, Stateful] = field(default_factory=dict)
    rehearse: bool = True
