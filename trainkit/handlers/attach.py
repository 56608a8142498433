"""Attach the whole checklist to any Ignite engines in one call."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from os import PathLike
from typing import Any, Literal
from weakref import WeakSet

import ignite.distributed as idist
from ignite.engine import Engine
from torch import nn
from torch.optim import Optimizer

from trainkit.handlers.destinations import destinations
from trainkit.handlers.evaluation.output_monitor import OutputMonitor
from trainkit.handlers.evaluation.passes import Passes
from trainkit.handlers.handle import AttachedMonitors
from trainkit.handlers.monitor import Monitor
from trainkit.handlers.monitors.losses import LossMonitor
from trainkit.handlers.monitors.metrics import StepTransform
from trainkit.handlers.monitors.predictions import check_kind
from trainkit.handlers.output.prediction_kind import ignored_index, named_loss, prediction_kind
from trainkit.handlers.parameters.selection import Detail
from trainkit.handlers.parts import CHECKLIST, check_monitors, engines_of, made_for, waits_for
from trainkit.handlers.per_engine import (
    Transform,
    evaluators_by_name,
    metric_options_by_engine,
    transforms_by_engine,
)
from trainkit.handlers.sampling.cadence import When, as_cadence
from trainkit.handlers.sampling.metered import Metered
from trainkit.handlers.sampling.random_numbers import preserved_random_state
from trainkit.handlers.sampling.sampler import Sampler, as_sampler
from trainkit.names import Selection, nearest
from trainkit.stats.outputs.classification import Kind
from trainkit.writers.protocol import Sink, Writer

__all__ = ["attach_monitors"]

_log = logging.getLogger("trainkit")

_watched: "WeakSet[Engine]" = WeakSet()


@preserved_random_state()  # user functions and attributes of a loss may draw random numbers
def attach_monitors(
    trainer: Engine,
    *,
    model: nn.Module | Mapping[str, nn.Module],
    optimizers: Optimizer | Mapping[str, Optimizer],
    writer: Writer | Sink | str | PathLike[str] | Mapping[str, Writer | Sink],
    evaluators: Engine | Mapping[str, Engine] | None = None,
    loss_fn: Callable[..., Any] | None = None,
    predictions: Kind | Literal["auto"] | None = "auto",
    output_transform: Transform | Mapping[str, Transform] | None = None,
    every: When | Sampler = 1,
    detail: Detail = "auto",
    include: Selection = ("*",),
    exclude: Selection = (),
    histograms_every: int | None = None,
    scaler: Any = None,
    scheduled: Mapping[str, Any] | None = None,
    metric_names: str | Sequence[str] | Mapping[str, Any] = "all",
    class_names: Sequence[str] = (),
    global_step_transform: StepTransform | None = None,
    state_attributes: Sequence[str] = (),
    monitors: Mapping[str, Any] | None = None,
    known: Mapping[str, Any] | None = None,
    **switches: bool,
) -> AttachedMonitors:
    """Watch everything on the checklist, on any Ignite trainer and its evaluators.

    Every monitor of the trainer measures in the same iterations; those of an evaluator observe
    each of its passes and write with the trainer's iteration as step. What the engines' output
    does not have (predictions, where the step returns the loss alone) is left out, with one line
    in the log that says what would help. In a run of several processes only the first one
    monitors; what it writes of an evaluator's output is then about the batches of that process
    (Ignite's metrics are about all of them). The checklist is attached to an engine once.

    Args:
        trainer: The engine that trains.
        model: What it trains: a module, or a mapping from name to module.
        optimizers: One, or a mapping from name to optimizer.
        writer: Where everything goes: a writer (evaluators go to its sub-runs, by name); a `Sink`
            (which is written in the background, and closed when the monitors are removed); a folder
            for event files (`train` and evaluators in folders of their own, so that the same tag
            is on one chart); or a mapping from `train` and the evaluators' names to writers.
        evaluators: One, called `validation`, or a mapping from name to evaluator. One called
            `train` (it evaluates on the training data) adds its metrics to the trainer's, and so
            does a pass of another one over the trainer's own data, if it runs over others too.
        loss_fn: What the trainer minimizes. It tells what predictions are, and what the loss is
            where an evaluator returns none. It is never called (but if it says `pure = True`):
            PyTorch's losses are computed, any other is taken from the output: see `LossMonitor`.
        predictions: What `y_pred` holds, as in `PredictionMonitor`; `auto` asks `loss_fn`; None
            leaves predictions and calibration out.
        output_transform: Makes of `engine.state.output` what `as_step_output` understands, for
            all these engines; or a mapping from `trainer` and the evaluators' names, where they
            differ (an engine that is not in it is read as it is).
        every: How often statistics are taken, in iterations; or a function `(engine, iteration) ->
            bool`, called in every iteration (one that draws random numbers needs a generator of its
            own), or an event of Ignite's with a filter, `Events.ITERATION_COMPLETED(every=10)`; or
            a cadence, or a `Sampler`. Losses are no statistics: they are written in every
            iteration, exactly for the first 10,000 and then as means (see `Curve`). Speed is
            written some two hundred times, as means.
        detail: Of gradients, weights, updates and activations, as in `GradientMonitor`.
        include: Only these parameters and modules: a pattern (`encoder` is all of the encoder,
            `*.bias` every bias), several, a function of the name, or a mapping from model to
            these; see `names.selected`.
        exclude: None of these.
        histograms_every: Iterations between histograms; None writes none.
        scaler: The loss scaler, where it is not `trainer.state.scaler`.
        scheduled: Other values that move, as in `HyperparameterMonitor`.
        metric_names: `all`, or which Ignite metrics are written, as in `MetricMonitor`; or a
            mapping from `trainer` and the evaluators' names, where they differ (of an engine that
            is not in it all are written).
        class_names: What each class is called, in the order of the class indices, for pictures.
        global_step_transform: Makes the step of metrics, as in `MetricMonitor`.
        state_attributes: Attributes of `trainer.state` to write, under `state/<attribute>`.
        monitors: What is added to the checklist, and what is taken away: name → a monitor class, a
            `functools.partial` of one, or something with `attach(engine)`; or None, which takes
            one away. The checklist has `losses`, `metrics`, `predictions`, `calibration`,
            `pictures`, `activations`, `hyperparameters`, `gradients`, `weights`, `updates`,
            `throughput`, `memory` and `cost`; a name of its own is replaced.
        known: More objects that monitors may ask for, by name.
        switches: `gradients=False` is another way to write `monitors={"gradients": None}`, for
            each name of the checklist but `predictions`.

    A class or a partial gets, by the names of its parameters, what it does not have yet: `writer`
    (of the engine), `every` and `sampler` (the same thing; on the trainer only), `model`, `models`
    (always a mapping), `optimizers`, `optimizer` (where there is one), `trainer`, `evaluators` (a
    mapping), `loss_fn`, `output_transform` (of the engine), `detail`, `include`, `exclude`,
    `histograms_every`, `scaler`, `scheduled`, `metric_names`, `global_step_transform`,
    `state_attributes` (on the trainer only); `class_names`; `cadence`, which says which iterations
    are sampled; `kind` and `ignore_index` of predictions; and what
    `known` holds. It is made for the engines that its class names: see `Monitor.engines`. One that
    is for evaluators too gets their trainer as `trainer`, and None on the trainer itself. What is
    no subclass of `Monitor` is attached as it is: its faults are not guarded against.

    A monitor that cannot be attached because something about the model or an engine is odd is left
    out, with one line in the log.

    Returns:
        One handle for all of them: `report()` says what each has written. `remove()` leaves no
        hook anywhere, and closes the writers if a folder was given. It is a context manager too.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument has a wrong value, or the trainer or an evaluator is watched
            already.

    Cost:
        In an iteration that is not sampled some seven microseconds, where the loss is in main
        memory: learning rates, the loss and the speed are looked at in every iteration
        (`benchmarks/unsampled.py`).

    Example:
        >>> import torch
        >>> from ignite.engine import Engine
        >>> from trainkit import MemoryWriter, attach_monitors
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> loss_fn = torch.nn.MSELoss()
        >>> def step(engine, batch):
        ...     x, y = batch
        ...     optimizer.zero_grad()
        ...     y_pred = model(x)
        ...     loss = loss_fn(y_pred, y)
        ...     loss.backward()
        ...     optimizer.step()
        ...     return {"loss": loss.detach(), "y_pred": y_pred.detach(), "y": y}
        >>> trainer, writer = Engine(step), MemoryWriter()
        >>> with attach_monitors(
        ...     trainer, model=model, optimizers=optimizer, loss_fn=loss_fn, writer=writer, every=10
        ... ):
        ...     state = trainer.run([(torch.ones(4, 2), torch.zeros(4, 1))] * 20)
        >>> [step for step, norm in writer.scalars["gradients/global_norm"]]
        [1, 10, 20]
        >>> len(writer.scalars["loss/total"])  # the loss is written in every iteration
        20
    """
    named = evaluators_by_name(evaluators)
    for name, engine in {"the trainer": trainer, **named}.items():
        if not isinstance(engine, Engine):
            raise TypeError(f"{name} must be an ignite Engine, got {engine!r}")
        if engine in _watched:
            raise ValueError(f"{name} is watched already; remove() the first handle")
    optimizer = _single(optimizers)
    known = {**(known or {}), **({} if optimizer is None else {"optimizer": optimizer})}
    parts = check_monitors(_with_switches(monitors, switches), known)
    untold: list[str] = []
    kind = _kind(predictions, loss_fn, untold)
    transforms = transforms_by_engine(output_transform, named)
    measured = metric_options_by_engine(metric_names, global_step_transform, named)
    own = isinstance(every, Sampler) or callable(getattr(every, "due", None))
    sampler = as_sampler(every if own else Metered(as_cadence(every)))
    attached = AttachedMonitors(sampler, lambda: _watched.difference_update(engines))
    engines = [trainer, *named.values()]
    if idist.get_rank() != 0:
        return attached

    places = destinations(writer, list(named))
    attached.close = places.close
    available: dict[str, Any] = known | {
        "model": model,
        "models": dict(model) if isinstance(model, Mapping) else {"model": model},
        "optimizers": optimizers,
        "evaluators": named,
        "loss_fn": loss_fn,
        "kind": kind,
        "ignore_index": ignored_index(loss_fn),
        "detail": detail,
        "include": include,
        "exclude": exclude,
        "histograms_every": histograms_every,
        "scaler": scaler,
        "scheduled": scheduled,
        "class_names": class_names,
        "cadence": sampler.cadence,
    }
    _leave_out(parts, kind, sampler)

    def attach(engine_name: str, engine: Engine, passes: Passes | None) -> None:
        on_trainer = engine is trainer
        shared = not on_trainer and engine_name == "train"  # it writes where the trainer does
        # For an evaluator the line about predictions already says it.
        told = {"loss_fn"} if untold and loss_fn is None and not on_trainer else set()
        prepare = partial(
            _prepare, name=engine_name, complained=told, said=attached.said, untold=untold,
            passes=passes,
        )  # fmt: skip
        given = available | measured[engine_name]
        given |= {"output_transform": transforms.get(engine_name)}
        if on_trainer:
            given |= {"every": sampler, "sampler": sampler, "state_attributes": state_attributes}
        else:
            given["evaluated_only"] = shared
        place = "train" if on_trainer else "train_evaluator" if shared else engine_name
        for name, part in parts.items():
            if not made_for(part, engine_name):
                continue
            alone = on_trainer and set(engines_of(part)) != {"trainer"}
            given["trainer"] = None if alone else trainer
            given["writer"] = places.writers["train" if on_trainer else engine_name]
            attached.attach_part(place, name, engine, part, given, prepare)

    try:
        attach("trainer", trainer, None)
        for name, evaluator in named.items():
            elsewhere = None if "train" in named else places.writers["train"]
            attach(name, evaluator, Passes(trainer, name, elsewhere))
        _tell_of_what_is_nowhere(parts, ["trainer", *named])
    except BaseException:
        attached.remove()
        raise
    if places.owned:
        attached.flush_after(trainer, named.values(), places.flush)
    _watched.update(engines)
    return attached


def _with_switches(
    monitors: Mapping[str, Any] | None, switches: Mapping[str, bool]
) -> Mapping[str, Any] | None:
    """Remove the monitors that were switched off by a keyword."""
    names = [name for name in CHECKLIST if name != "predictions"]
    for name, value in switches.items():
        if name not in names:
            raise TypeError(
                f"attach_monitors has no argument {name!r}; nearest: {nearest(name, names)}; "
                f"another monitor goes into monitors={{{name!r}: ...}}"
            )
        if not isinstance(value, bool):
            raise TypeError(
                f"{name} must be True or False, got {value!r:.80}; write monitors={{{name!r}: ...}}"
            )
    if not switches or (monitors is not None and not isinstance(monitors, Mapping)):
        return monitors
    return {name: None for name, value in switches.items() if not value} | dict(monitors or {})


def _single(optimizers: Any) -> Any:
    """The optimizer, if there is only one."""
    if not isinstance(optimizers, Mapping):
        return optimizers
    return next(iter(optimizers.values())) if len(optimizers) == 1 else None


def _leave_out(parts: dict[str, Any], kind: str | None, sampler: Sampler) -> None:
    """Remove the monitors that have nothing to measure here."""
    if kind is None:
        for name in [name for name, part in parts.items() if waits_for(part, "kind")]:
            del parts[name]
    elif kind == "values" and waits_for(parts.get("calibration"), "kind"):
        del parts["calibration"]
    if not isinstance(sampler.cadence, Metered) and waits_for(parts.get("cost"), "every"):
        del parts["cost"]


def _tell_of_what_is_nowhere(parts: Mapping[str, Any], engines: Sequence[str]) -> None:
    for name, part in parts.items():
        if name not in CHECKLIST and not any(made_for(part, engine) for engine in engines):
            _log.warning(
                "the monitor %s is left out: it is for %s, and there is %s",
                name, ", ".join(engines_of(part)), ", ".join(engines),
            )  # fmt: skip


def _prepare(
    monitor: Any,
    name: str,
    complained: set[str],
    said: set[str],
    untold: list[str],
    passes: Passes | None,
) -> None:
    """Tell a monitor about its engine, before it is attached."""
    if passes is not None and isinstance(monitor, Monitor):
        monitor.passes = passes
    if isinstance(monitor, OutputMonitor):
        monitor.engine_name, monitor.complained, monitor.said = name, complained, said
    if isinstance(monitor, LossMonitor):
        monitor.untold = untold


def _kind(predictions: str | None, loss_fn: Any, untold: list[str]) -> Kind | None:
    if predictions != "auto":
        return None if predictions is None else check_kind(predictions)
    kind = prediction_kind(loss_fn)
    if kind is None:
        kinds = (
            "predictions='logits' (or probabilities, log_probabilities, binary_logits, "
            "binary_probabilities, values), or predictions=None"
        )
        untold.append(
            "predictions are left out, and so is the loss of evaluators that return none: nothing "
            f"tells what they are; pass loss_fn, or {kinds}"
            if loss_fn is None
            else f"predictions are left out: the loss {named_loss(loss_fn)} does not tell what "
            f"they are; pass {kinds}; or set loss_fn.predictions = 'logits'; with trainkit run: "
            "monitor.predictions=logits"
        )
    return None if kind is None else check_kind(kind)
