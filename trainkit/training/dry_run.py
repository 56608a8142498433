"""Evaluate one batch before training, to find parts that do not fit together."""

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import Any

import torch
from ignite.engine import Engine
from torch import Tensor, nn

from trainkit.dashboard.model_table import output_shapes
from trainkit.engines.prepare_batch import contributions_and_total
from trainkit.losses import LossError
from trainkit.rundir import preserved_random_state
from trainkit.training.build import Built
from trainkit.training.loss_warnings import Broadcasts, check_predictions, has_unknown_parts

__all__ = ["preserved_buffers", "rehearse"]


def rehearse(built: Built, shapes: MutableMapping[nn.Module, str] | None = None) -> list[str]:
    """Evaluate one batch with model, loss and metrics, and undo all side effects.

    In evaluation mode, without gradients; the random state and all buffers are put back. Only the
    modules' own lazy initialization, where they have one, happens here instead of in the first
    iteration.

    Args:
        built: What takes part.
        shapes: Filled in: module → shape of what it returned.

    Returns:
        What is doubtful and may be meant, a line for each.

    Raises:
        ValueError: Model, batch, loss and metrics do not fit together, or fit in a way that
            cannot be meant: see `check_predictions`.
    """
    if built.engines.evaluator is None or not built.engines.rehearse:
        return []
    evaluator = built.engines.evaluator()
    part = built.data.train if built.data.validation is None else built.data.validation
    if hasattr(part, "__next__"):  # a batch taken from an iterator cannot be put back
        return []
    losses = [built.loss_fn] if isinstance(built.loss_fn, nn.Module) else []
    with preserved_random_state(), preserved_buffers([*built.models.values(), *losses]):
        batch = next(iter(part), None)
        if batch is None:  # the training says so, and where
            return []
        unknown = built.loss_fn is not None and has_unknown_parts(built.loss_fn)
        watch = Broadcasts() if unknown else None
        with output_shapes(built.models, {} if shapes is None else shapes):
            output: Any = _evaluate(built, evaluator, batch, watch)
        _check_loss(output)
        doubts = [] if watch is None else watch.doubts()
        if isinstance(output, Mapping):
            doubts += check_predictions(built.loss_fn, output.get("y_pred"), output.get("y"))
        evaluator.state.output = output
        for name, metric in built.metrics.items():
            try:
                metric.reset()
                metric.iteration_completed(evaluator)
                metric.reset()
            except Exception as error:
                raise ValueError(
                    f"metrics.{name} cannot take y_pred {_seen(output.get('y_pred'))} with y "
                    f"{_seen(output.get('y'))}: {_first_line(error)}; choose another metric, or "
                    "give it an output_transform that makes (y_pred, y) as it takes them"
                ) from error
        return doubts


def _evaluate(built: Built, evaluator: Engine, batch: Any, watch: Broadcasts | None) -> Any:
    try:
        with nullcontext() if watch is None else watch:
            return evaluator._process_function(evaluator, batch)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        frames = _frames(error)
        code = contributions_and_total.__code__
        called = [frame for frame in frames if frame.f_code is code]
        if called and frames[-1].f_code.co_filename == code.co_filename:
            _check_loss({"loss": called[-1].f_locals.get("value")})
            raise  # what the loss returned is refused there
        if isinstance(error, LossError):
            raise
        if called:
            seen = called[-1].f_locals
            name = getattr(built.loss_fn, "__name__", type(built.loss_fn).__name__)
            raise ValueError(
                f"loss: {name} cannot take y_pred {_seen(seen.get('y_pred'))} with y "
                f"{_seen(seen.get('y'))}: {_first_line(error)}"
            ) from error
        names = ", ".join(type(module).__name__ for module in built.models.values())
        if frames and any(frame.f_code.co_name == "prepare_batch" for frame in frames):
            raise ValueError(
                f"prepare_batch cannot take the first batch, {_seen(batch)}: {_first_line(error)}"
            ) from error
        raise ValueError(
            f"data and model do not fit: the first batch does not go through the model "
            f"({names}): batch {_seen(batch)}: {_first_line(error)}"
        ) from error


@contextmanager
def preserved_buffers(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Restore the buffers of models and losses on exit."""
    before = [
        (module, name, buffer, buffer._version, buffer.clone())
        for root in modules
        for module in root.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None and not nn.parameter.is_lazy(buffer) and not buffer.is_inference()
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for module, name, buffer, version, value in before:
                module._buffers[name] = buffer
                if buffer._version != version:
                    buffer.copy_(value)


def _check_loss(output: Any) -> None:
    loss = output.get("loss") if isinstance(output, Mapping) else None
    if isinstance(loss, Tensor) and loss.ndim:
        raise ValueError(
            f"loss must return one number (a 0-d tensor), got {_seen(loss)}; take its mean or sum"
        )


def _frames(error: BaseException) -> list[FrameType]:
    frames, traceback = [], error.__traceback__
    while traceback is not None:
        frames.append(traceback.tb_frame)
        traceback = traceback.tb_next
    return frames


def _seen(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if isinstance(value, list | tuple):
        more = ", ..." if len(value) > 6 else ""
        return f"({', '.join(_seen(item) for item in value[:6])}{more})"
    if isinstance(value, Mapping):
        inside = ", ".join(f"{key}: {_seen(item)}" for key, item in list(value.items())[:6])
        return f"{{{inside}{', ...' if len(value) > 6 else ''}}}"
    return type(value).__name__


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
