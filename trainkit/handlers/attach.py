"""The whole checklist on somebody's engines, in one call."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from os import PathLike
from typing import Any
from weakref import WeakSet

import ignite.distributed as idist
from ignite.engine import Engine
from torch import nn
from torch.optim import Optimizer

from trainkit.handlers.activations import ActivationMonitor
from trainkit.handlers.attached import AttachedMonitors
from trainkit.handlers.budget import CostMonitor, Metered
from trainkit.handlers.cadence import When, as_cadence
from trainkit.handlers.calibration import CalibrationMonitor
from trainkit.handlers.destinations import destinations
from trainkit.handlers.evaluation import OutputMonitor, PassMonitor
from trainkit.handlers.gradients import GradientMonitor
from trainkit.handlers.hyperparameters import HyperparameterMonitor
from trainkit.handlers.kinds import ignored_index, named_loss, prediction_kind
from trainkit.handlers.losses import LossMonitor
from trainkit.handlers.memory import MemoryMonitor
from trainkit.handlers.metrics import MetricMonitor, StepTransform
from trainkit.handlers.monitor import Monitor
from trainkit.handlers.passes import Passes
from trainkit.handlers.predictions import PredictionMonitor, check_kind
from trainkit.handlers.sampler import Sampler, as_sampler
from trainkit.handlers.throughput import ThroughputMonitor
from trainkit.handlers.updates import UpdateMonitor
from trainkit.handlers.weights import WeightMonitor
from trainkit.names import Selection
from trainkit.writers.protocol import Writer

__all__ = ["attach_monitors"]

_log = logging.getLogger("trainkit")

Transform = Callable[[Any], Any]
Make = Callable[[], Monitor]

_watched: "WeakSet[Engine]" = WeakSet()


def attach_monitors(
    trainer: Engine,
    *,
    model: nn.Module | Mapping[str, nn.Module],
    optimizers: Optimizer | Mapping[str, Optimizer],
    writer: Writer | str | PathLike[str] | Mapping[str, Writer],
    evaluators: Engine | Mapping[str, Engine] | None = None,
    loss_fn: Callable[..., Any] | None = None,
    predictions: str | None = "auto",
    output_transform: Transform | Mapping[str, Transform] | None = None,
    every: When | Sampler = 1,
    detail: str = "auto",
    include: Selection = ("*",),
    exclude: Selection = (),
    histograms_every: int | None = None,
    scaler: Any = None,
    scheduled: Mapping[str, Any] | None = None,
    metric_names: str | Sequence[str] | Mapping[str, Any] = "all",
    global_step_transform: StepTransform | None = None,
    state_attributes: Sequence[str] = (),
    losses: bool = True,
    metrics: bool = True,
    gradients: bool = True,
    weights: bool = True,
    updates: bool = True,
    activations: bool = True,
    calibration: bool = True,
    hyperparameters: bool = True,
    throughput: bool = True,
    memory: bool = True,
    cost: bool = True,
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
        writer: Where everything goes: a writer (evaluators go to its sub-runs, by name); a folder
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
            bool`, or an event of Ignite's with a filter, `Events.ITERATION_COMPLETED(every=10)`; or
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
        global_step_transform: Makes the step of metrics, as in `MetricMonitor`.
        state_attributes: Attributes of `trainer.state` to write, under `state/<attribute>`.
        losses: Watch the loss and its components.
        metrics: Watch every Ignite metric of the engines.
        gradients: Watch gradients, before and after clipping.
        weights: Watch weights.
        updates: Watch the size of each step relative to the weights.
        activations: Watch module outputs.
        calibration: Watch calibration, on evaluators of classifiers.
        hyperparameters: Watch learning rates and the like.
        throughput: Watch speed.
        memory: Watch memory.
        cost: Watch what the monitoring itself costs, where the cadence measures it (a number of
            iterations and `Budget` do).

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
        Two calls and two clock readings in an iteration that is not sampled.
    """
    named = _named(evaluators)
    for name, engine in {"the trainer": trainer, **named}.items():
        if not isinstance(engine, Engine):
            raise TypeError(f"{name} must be an ignite Engine, got {engine!r}")
        if engine in _watched:
            raise ValueError(f"{name} is watched already; remove() the first handle")
    untold: list[str] = []
    kind = _kind(predictions, loss_fn, untold)
    ignored = ignored_index(loss_fn)
    transforms = _transforms(output_transform, named)
    measured = _metric_options(metric_names, global_step_transform, named)
    own = isinstance(every, Sampler) or callable(getattr(every, "due", None))
    sampler = as_sampler(every if own else Metered(as_cadence(every)))
    attached = AttachedMonitors(sampler, lambda: _watched.difference_update(engines))
    engines = [trainer, *named.values()]
    if idist.get_rank() != 0:
        return attached

    places = destinations(writer, list(named))
    train = places.writers["train"]
    shown: dict[str, Any] = {"detail": detail, "include": include, "exclude": exclude}
    drawn: dict[str, Any] = {"histograms_every": histograms_every}
    seen: dict[str, Any] = {"output_transform": transforms.get("trainer")}
    attached.close = places.close

    def of_trainer() -> Iterator[Make]:
        if losses:
            yield partial(LossMonitor, train, sampler, every_iteration=True, **seen)
        if metrics:
            yield partial(
                MetricMonitor,
                train,
                sampler,
                state_attributes=state_attributes,
                **measured["trainer"],
            )
        if kind is not None:
            yield partial(
                PredictionMonitor, train, sampler, kind=kind, ignore_index=ignored, **drawn, **seen
            )
        if activations:
            yield partial(ActivationMonitor, model, train, sampler, **shown)
        if hyperparameters:  # before gradients: it may write a point of the iteration before
            yield partial(HyperparameterMonitor, optimizers, train, sampler, scheduled=scheduled)
        if gradients:
            yield partial(
                GradientMonitor, model, optimizers, train, sampler, scaler=scaler, **shown, **drawn
            )
        if weights:
            yield partial(WeightMonitor, model, optimizers, train, sampler, **shown, **drawn)
        if updates:
            yield partial(UpdateMonitor, model, optimizers, train, sampler, scaler=scaler, **shown)
        if throughput:
            yield partial(
                ThroughputMonitor,
                train,
                sampler,
                evaluators=named.values(),
                every_iteration=True,
            )
        if memory:
            yield partial(MemoryMonitor, train, sampler)
        if cost and isinstance(sampler.cadence, Metered):
            yield partial(CostMonitor, train, sampler)

    def of_evaluator(name: str) -> Iterator[Make]:
        place = places.writers[name]
        transform = transforms.get(name)
        trained = name == "train"  # its loss and predictions have the tags of the trainer's
        if losses:
            yield partial(
                LossMonitor,
                place,
                loss_fn=loss_fn,
                output_transform=transform,
                trainer=trainer,
                evaluated_only=trained,
            )
        if metrics:
            yield partial(MetricMonitor, place, trainer=trainer, **measured[name])
        if kind is not None:
            about: dict[str, Any] = {"kind": kind, "ignore_index": ignored, "trainer": trainer}
            about |= {"output_transform": transform}
            if not trained:
                yield partial(PredictionMonitor, place, **about, **drawn)
            if calibration and kind != "values":
                yield partial(CalibrationMonitor, place, **about)

    try:
        prepare = partial(_prepare, name="trainer", complained=set(), untold=untold)
        for make in of_trainer():
            attached.attach("train", trainer, make, prepare)
        for name, evaluator in named.items():
            passes = Passes(trainer, name, None if "train" in named else train)
            known = {"loss_fn"} if untold and loss_fn is None else set()  # it says so already
            prepare = partial(_prepare, name=name, complained=known, untold=untold, passes=passes)
            for make in of_evaluator(name):
                place = name if name != "train" else "train_evaluator"
                attached.attach(place, evaluator, make, prepare)
    except BaseException:
        attached.remove()
        raise
    if places.owned:
        attached.flush_after(trainer, named.values(), places.flush)
    _watched.update(engines)
    return attached


def _prepare(
    monitor: Monitor,
    name: str,
    complained: set[str],
    untold: list[str],
    passes: Passes | None = None,
) -> None:
    """Tell a monitor where it is, before it is attached."""
    if passes is not None and isinstance(monitor, PassMonitor):
        monitor.passes = passes
    if isinstance(monitor, OutputMonitor):
        monitor.engine_name, monitor.complained = name, complained
    if isinstance(monitor, LossMonitor):
        monitor.untold = untold


def _named(evaluators: Engine | Mapping[str, Engine] | None) -> dict[str, Engine]:
    if evaluators is None:
        return {}
    return dict(evaluators) if isinstance(evaluators, Mapping) else {"validation": evaluators}


def _transforms(
    given: Transform | Mapping[str, Transform] | None, evaluators: Mapping[str, Engine]
) -> dict[str, Transform]:
    names = ["trainer", *evaluators]
    found = dict(given) if isinstance(given, Mapping) else dict.fromkeys(names, given)
    for name, transform in found.items():
        if name not in names:
            raise ValueError(
                f"output_transform names the engine {name!r}; there is {', '.join(names)}"
            )
        if transform is not None and not callable(transform):
            raise TypeError(
                "output_transform must be a function, or a mapping from 'trainer' and the "
                f"evaluators' names to functions, got {transform!r:.80}"
            )
    return {name: transform for name, transform in found.items() if transform is not None}


def _metric_options(
    names: Any, transform: StepTransform | None, evaluators: Mapping[str, Engine]
) -> dict[str, dict[str, Any]]:
    engines = ["trainer", *evaluators]
    chosen = names if isinstance(names, Mapping) else dict.fromkeys(engines, names)
    for name in chosen:
        if name not in engines:
            raise ValueError(
                f"metric_names names the engine {name!r}; there is {', '.join(engines)}"
            )
    return {
        name: {"metric_names": chosen.get(name, "all"), "global_step_transform": transform}
        for name in engines
    }


def _kind(predictions: str | None, loss_fn: Any, untold: list[str]) -> str | None:
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
    return kind
