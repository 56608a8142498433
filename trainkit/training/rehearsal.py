"""One batch before the training, so that parts that do not fit are refused at once."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trainkit.losses import LossError
from trainkit.rundir import preserved_random_state
from trainkit.training.building import Built

__all__ = ["rehearse"]


def rehearse(built: Built) -> None:
    """Evaluate one batch: model, loss and metrics, without a trace.

    In evaluation mode, without gradients; the random state is put back. Only the modules' own
    lazy initialization, where they have one, happens here instead of in the first iteration.

    Raises:
        ValueError: Model, batch, loss and metrics do not fit together.
    """
    if built.engines.evaluator is None or not built.engines.rehearse:
        return
    evaluator = built.engines.evaluator()
    part = built.data.validation
    with preserved_random_state():
        batch = next(iter(built.data.train if part is None else part))
        try:
            evaluator.state.output = evaluator._process_function(evaluator, batch)
        except (LossError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            names = ", ".join(type(module).__name__ for module in built.models.values())
            raise ValueError(
                f"data and model do not fit: the first batch does not go through the model "
                f"({names}): batch "
                f"{_seen(batch)}: {_first_line(error)}"
            ) from error
        _check_loss(evaluator.state.output)
        for name, metric in built.metrics.items():
            try:
                metric.reset()
                metric.iteration_completed(evaluator)
                metric.reset()
            except Exception as error:
                output: Any = evaluator.state.output
                raise ValueError(
                    f"metrics.{name} cannot take y_pred {_seen(output.get('y_pred'))} with y "
                    f"{_seen(output.get('y'))}: {_first_line(error)}"
                ) from error


def _check_loss(output: Any) -> None:
    loss = output.get("loss") if isinstance(output, Mapping) else None
    if isinstance(loss, Tensor) and loss.ndim:
        raise ValueError(
            f"loss must return one number (a 0-d tensor), got {_seen(loss)}; take its mean or sum"
        )


def _seen(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if isinstance(value, list | tuple):
        return f"({', '.join(_seen(item) for item in value)})"
    return type(value).__name__


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
