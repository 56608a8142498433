"""The user's own handlers, attached to the engines of a run."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import isroutine
from typing import Any

from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, EarlyStopping
from ignite.metrics import Metric
from torch import nn

from trainkit.fill_partials import (
    by_name,
    check_complete,
    complete,
    described,
    named_parameters_of,
)
from trainkit.names import nearest
from trainkit.training.early_stopping import check_options, early_stopping

__all__ = ["HandlerStates", "attach_handlers", "check_handlers"]

_notes = logging.getLogger("trainkit.training.notes")

# What a handler may wait for besides what every other part may.
_ENGINES = ("trainer", "evaluator", "evaluators", "on_evaluation", "stop", "directory")

_KINDS = (
    "something with attach(engine), or a function that takes the trainer (in a config with "
    "_partial_: true)"
)


def check_handlers(
    handlers: Any, known: Mapping[str, Any], metrics: Sequence[str] = ()
) -> dict[str, Any]:
    """The handlers by name, if each is of a kind that can be attached and has what it waits for.

    Args:
        handlers: By name; None: none.
        known: What partials may wait for.
        metrics: Names that early stopping may go by; none: its metric is not checked.

    Raises:
        TypeError: One is not, or waits for what the run does not have.
        ValueError: An option of `early_stopping` cannot be.
    """
    found = by_name(handlers, "handlers")
    names = dict.fromkeys((*known, *_ENGINES))
    for name, part in found.items():
        key = f"handlers.{name}"
        if isinstance(part, partial):
            check_complete(part, names | _alone(part, names), key)
            if part.func is early_stopping:
                _check_early_stopping(key, part.keywords, metrics)
        elif isroutine(part):
            check_complete(partial(part), names | _alone(partial(part), names), key)
        elif not (hasattr(part, "attach") or callable(part)) or isinstance(part, type):
            raise TypeError(f"{key} must be {_KINDS}, got {described(part)}")
    return found


def _check_early_stopping(key: str, given: Mapping[str, Any], metrics: Sequence[str]) -> None:
    """Before the run's folder is made: it is called with the trainer only."""
    names = ("metric", "patience", "mode", "min_delta")
    metric = str(given.get("metric", "loss"))
    if metrics and metric.split("/")[0] not in metrics:
        raise ValueError(
            f"{key}.metric must be a metric of the validation data, got {metric!r}; nearest: "
            f"{nearest(metric, metrics)}"
        )
    try:
        check_options(**{name: given[name] for name in names if name in given})
    except ValueError as error:
        raise ValueError(f"{key}.{error}") from error


class HandlerStates:
    """The state of the user's handlers, as a checkpoint keeps it.

    A handler with `state_dict` and `load_state_dict` keeps its own; of any other the modules in
    its attributes are kept (an average of the weights).
    """

    def __init__(self) -> None:
        self.handlers: dict[str, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        """By name; a handler whose state cannot be had is left out, with a line in the log."""
        return {name: _state_of(name, handler) for name, handler in self.handlers.items()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Put the states back; a handler without one begins anew, and that is said."""
        for name, handler in self.handlers.items():
            state = state_dict.get(name) or {}
            if "own" in state:
                handler.load_state_dict(state["own"])
            elif state.get("modules"):
                for key, weights in state["modules"].items():
                    getattr(handler, key).load_state_dict(weights)
            else:
                _notes.warning(
                    "handlers.%s keeps no state (it has no state_dict): it begins anew", name
                )


def _state_of(name: str, handler: Any) -> dict[str, Any]:
    if hasattr(handler, "state_dict") and hasattr(handler, "load_state_dict"):
        try:
            return {"own": handler.state_dict()}
        except Exception as error:
            _notes.warning("the state of handlers.%s cannot be had: %s", name, error)
            return {}
    attributes = getattr(handler, "__dict__", {})
    modules = {key: each for key, each in attributes.items() if isinstance(each, nn.Module)}
    return {"modules": {key: each.state_dict() for key, each in modules.items()}}


def attach_handlers(
    handlers: Mapping[str, Any],
    known: Mapping[str, Any],
    *,
    trainer: Engine,
    evaluators: Mapping[str, Engine],
    on_evaluation: Callable[[Callable[[Mapping[str, Any]], None]], None],
    stop: Callable[[str], None],
    directory: Any,
) -> dict[str, Any]:
    """Attach each to the trainer, behind everything that the run has attached itself.

    A partial is completed by parameter name first. Then:

    - What has `attach` is attached to the trainer (a metric under its name in the config).
    - Ignite's `EarlyStopping` and `Checkpoint` are called at the end of each evaluation of the
      validation data, which is where they look for their score.
    - Anything else that can be called is called after each iteration (`TerminateOnNan`).

    A function is called at once, with what it names; its one parameter of another name is the
    trainer.

    Args:
        handlers: By name, checked.
        known: What partials may wait for.
        trainer: Of the run.
        evaluators: By part of the data: `train`, `validation`, `test`.
        on_evaluation: Takes a function that is called with the values of each evaluation.
        stop: Ends the training, for the reason that it is given.
        directory: Of the run.

    Returns:
        What was attached, by name; of a function what it has returned.

    Raises:
        TypeError, ValueError: One cannot be made or attached.
        RuntimeError: The handler's own code has raised something.
    """
    validation = evaluators.get("validation")
    given = {
        **known, "trainer": trainer, "evaluators": dict(evaluators), "evaluator": validation,
        "on_evaluation": on_evaluation, "stop": stop, "directory": directory,
    }  # fmt: skip
    made: dict[str, Any] = {}
    for name, part in handlers.items():
        key = f"handlers.{name}"
        try:
            made[name] = _made_and_attached(name, part, given, trainer, validation)
        except Exception as error:
            if str(error).startswith(key):
                raise
            kind = type(error) if type(error) in (TypeError, ValueError) else RuntimeError
            text = " ".join(str(error).split())
            said = text if kind is not RuntimeError else f"{type(error).__name__}: {text}"
            raise kind(f"{key} cannot be attached: {said}") from error
    return made


def _made_and_attached(
    name: str, part: Any, given: Mapping[str, Any], trainer: Engine, validation: Engine | None
) -> Any:
    made = part
    if isinstance(part, partial) or isroutine(part):
        function = part if isinstance(part, partial) else partial(part)
        alone = dict.fromkeys(_alone(function, given), trainer)
        made = complete(function, {**given, **alone}, f"handlers.{name}")
        if not isinstance(function.func, type) and not hasattr(made, "attach"):
            return made  # a function that has attached what it wanted, whatever it returns
    if isinstance(made, EarlyStopping | Checkpoint) and validation is None:
        raise ValueError("it looks at the evaluation of validation data, got none")
    _attach(name, made, trainer, validation)
    return made


def _attach(name: str, handler: Any, trainer: Engine, validation: Engine | None) -> None:
    if isinstance(handler, EarlyStopping | Checkpoint) and validation is not None:
        validation.add_event_handler(Events.COMPLETED, handler)
    elif isinstance(handler, Metric):
        handler.attach(trainer, name)
    elif hasattr(handler, "attach"):
        handler.attach(trainer)
    elif callable(handler):  # as Ignite's `TerminateOnNan` and `TimeLimit`
        trainer.add_event_handler(Events.ITERATION_COMPLETED, handler)
    else:
        raise TypeError(f"it must be {_KINDS}, got {described(handler)}")


def _alone(function: "partial[Any]", known: Mapping[str, Any]) -> dict[str, Any]:
    """The one parameter that is no name of a part: whatever it is called, it is the trainer."""
    parameters = named_parameters_of(function)
    if isinstance(function.func, type) or any(name in known for name in parameters):
        return {}
    required = [name for name, needed in parameters.items() if needed]
    return {required[0]: None} if len(required) == 1 else {}
