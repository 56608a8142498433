"""Every Ignite metric of an engine."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ignite.engine import Engine, Events, RemovableEventHandle
from torch import Tensor

from trainkit.handlers.evaluation.metric_values import Shown, UnshownError, parts_of, shown
from trainkit.handlers.monitor import Monitor
from trainkit.handlers.sampling.cadence import Cadence
from trainkit.handlers.sampling.moment import Moment
from trainkit.handlers.sampling.random_numbers import preserved_random_state
from trainkit.handlers.sampling.sampler import Sampler
from trainkit.writers.protocol import Sink, Writer

__all__ = ["MetricMonitor", "StepTransform"]

_log = logging.getLogger("trainkit")

StepTransform = Callable[[Engine, Any], int]


class MetricMonitor(Monitor):
    """Writes every entry of `engine.state.metrics`, and attributes of the state if asked to.

    On an evaluator (with `trainer` given): at the end of each pass, with the trainer's iteration
    as step, under `metrics/`. On a trainer: in each sampled iteration what has changed since it
    was written (a `RunningAverage`), and everything at the end of an epoch, under `running/`:
    a mean over moving weights is no metric of a data set. Metrics are seen if they are attached
    by the time the pass or the epoch starts, before this monitor or after it.

    A number is written as it is; the elements of a vector or mapping one by one, under
    `<name>/<index or key>`; a square matrix of counts (`ConfusionMatrix`) as an image, each row
    divided by its sum, and a text as a text, both at the end of a pass or epoch only. Everything
    else is left out, with one line in the log for each name.

    Tags: `metrics/<name>` or `running/<name>`, with `/<index or key>`; `state/<attribute>`.

    Args:
        writer: Where the metrics go.
        every: How often on a trainer, in iterations, or a `Sampler` shared with other monitors.
        trainer: The engine whose iteration is the step; None on the trainer itself.
        metric_names: `all`, or the names of those to write, as in Ignite's logger handlers.
        global_step_transform: Called with `(engine, event)`; returns another step, an integer.
        state_attributes: Names of attributes of `engine.state` to write too.

    Raises:
        TypeError: One of the last three is of the wrong kind.

    Cost:
        Nothing in an iteration that is not sampled.

    Example:
        >>> from trainkit.writers import MemoryWriter
        >>> writer, trainer = MemoryWriter(), Engine(lambda engine, batch: None)
        >>> evaluator = Engine(lambda engine, batch: batch)
        >>> handle = MetricMonitor(writer, trainer=trainer).attach(evaluator)
        >>> @evaluator.on(Events.EPOCH_COMPLETED)
        ... def measure(engine):
        ...     engine.state.metrics["accuracy"] = 0.5
        >>> _ = evaluator.run([1])
        >>> writer.scalars["metrics/accuracy"]
        [(0, 0.5)]
    """

    engines = ("trainer", "evaluators", "train")

    def __init__(
        self,
        writer: Writer | Sink,
        every: int | Cadence | Sampler = 1,
        *,
        trainer: Engine | None = None,
        metric_names: str | Sequence[str] = "all",
        global_step_transform: StepTransform | None = None,
        state_attributes: Sequence[str] = (),
    ) -> None:
        super().__init__(writer, every, trainer=trainer)
        self._names = check_names(metric_names)
        if global_step_transform is not None and not callable(global_step_transform):
            raise TypeError(
                "global_step_transform must be a function of (engine, event) that returns a whole "
                f"number, got {global_step_transform!r}"
            )
        self._step_transform = global_step_transform
        self._attributes = _texts("state_attributes", state_attributes)
        self._told: set[str] = set()
        self._asked = False
        # Tag → what was last written under it: the value itself, its version and the step.
        self._known: dict[str, tuple[Any, int | None, int]] = {}

    def attach(self, engine: Engine) -> RemovableEventHandle:
        """Write the metrics of `engine` from now on.

        Returns:
            Ignite's handle; after its `remove()` no handler is left.

        Raises:
            ValueError: The monitor is attached already.
        """
        handle = super().attach(engine)
        self._known, self._asked = {}, False
        if self.trainer is None:
            self.listen(engine, Events.EPOCH_STARTED, self.start_pass, "start")
        return handle

    def moments(self) -> Mapping[Moment, Callable[..., Any]]:
        """At the end of the iteration; on an evaluator at the end of a pass, behind its metrics."""
        if self.trainer is not None:
            return {Moment.PASS_STARTED: self.start_pass}
        return {Moment.ITERATION_COMPLETED: self.end, Moment.CANCELLED: self.cancel}

    def start_pass(self, engine: Engine) -> None:
        """Come last at the end of this pass, behind every metric that is attached by now."""
        end = Events.EPOCH_COMPLETED if self.trainer is None else Events.COMPLETED
        self.listen(engine, end, self.end_pass, "end")

    def end_pass(self, engine: Engine) -> None:
        """Write what the metrics are now."""
        if self.trainer is None:
            self._write(self.writer, self._read(engine, Events.EPOCH_COMPLETED, anew=False))
            return
        found = self._read(engine, Events.COMPLETED)
        train = self.passes.train
        other = None if train is None else lambda: self._write(train, found)
        self.write_pass(engine, lambda: self._write(self.writer, found), other)

    def end(self, engine: Engine) -> None:
        """Come last in this sampled iteration, behind the metrics that it changes."""
        if engine.state.metrics or self._attributes or not self._asked:
            self._asked = True
            self.listen(engine, Events.ITERATION_COMPLETED, self._write_sample, "sample")

    def cancel(self) -> None:
        """Forget what was begun."""
        self.drop("sample")

    def _write_sample(self, engine: Engine) -> None:
        self.drop("sample")
        step, found = self._read(engine, Events.ITERATION_COMPLETED, anew=True)
        if found.scalars:
            self.writer.write_scalars(step, found.scalars)

    def _read(self, engine: Engine, event: Any, *, anew: bool | None = None) -> tuple[int, Shown]:
        """Everything there is; on a trainer what is `anew`, or was not written at this step."""
        found = Shown()
        section = "running" if self.trainer is None else "metrics"
        step = self._step(engine, event)
        for name, value in self._entries(engine.state.metrics, complete=not anew):
            self._add(found, f"{section}/{name}", value, step, anew)
        for name in self._attributes:
            if hasattr(engine.state, name):
                self._add(found, f"state/{name}", getattr(engine.state, name), step, anew)
            else:
                self._leave_out(f"state/{name}", "engine.state has no such attribute")
        return step, found

    def _add(self, found: Shown, tag: str, value: Any, step: int, anew: bool | None) -> None:
        if anew and (isinstance(value, str) or _rank(value) > 1):
            return  # images and texts are written at the end of an epoch
        if anew is not None:
            version = _version(value)
            before = self._known.get(tag)
            same = before is not None and before[0] is value and before[1] == version
            if before is not None and same and (anew or before[2] == step):
                return
            self._known[tag] = value, version, step
        try:
            parts = list(parts_of(tag, value))
        except Exception as error:  # reading a mapping may fail
            parts = [(tag, UnshownError(f"it cannot be read ({type(error).__name__}: {error})"))]
        if not parts:
            self._leave_out(tag, f"the {type(value).__name__} is empty")
        for part, item in parts:
            if part in found.tags:
                self._leave_out(part, "another metric has the same tag; rename one of them")
                continue
            try:
                found.add(part, shown(item))
            except UnshownError as error:
                self._leave_out(part, str(error))
            except Exception as error:
                self._leave_out(part, f"it cannot be read ({type(error).__name__}: {error})")

    def _entries(self, metrics: Mapping[str, Any], *, complete: bool) -> Iterator[tuple[str, Any]]:
        if self._names is None:
            yield from _once(metrics)
            return
        for name in self._names:
            if name in metrics:
                yield name, metrics[name]
            elif metrics and complete:
                self._leave_out(
                    f"the metric {name}", f"there is none; there is {', '.join(map(str, metrics))}"
                )

    def _step(self, engine: Engine, event: Any) -> int:
        iteration = (engine if self.trainer is None else self.trainer).state.iteration
        if self._step_transform is None:
            return iteration
        with preserved_random_state():
            step: Any = self._step_transform(engine, event)
        if isinstance(step, int):
            return step
        self._leave_out(
            "global_step_transform",
            f"it must return a whole number, got {step!r:.40}; the iteration is the step instead",
        )
        return iteration

    def _write(self, writer: Writer, read: tuple[int, Shown]) -> None:
        step, found = read
        if found.scalars:
            writer.write_scalars(step, found.scalars)
        if found.images:
            writer.write_images(step, found.images)
        if found.texts:
            writer.write_texts(step, found.texts)

    def _leave_out(self, what: str, why: str) -> None:
        if what not in self._told:
            self._told.add(what)
            _log.warning("%s is left out: %s", what, why)


def check_names(metric_names: Any) -> list[str] | None:
    """The names, None for all of them.

    Raises:
        TypeError: It is neither `all` nor a list of names.
    """
    return None if metric_names == "all" else _texts("metric_names", metric_names)


def _texts(argument: str, given: Any) -> list[str]:
    listed = isinstance(given, Sequence) and not isinstance(given, str)
    if not (listed and all(isinstance(name, str) for name in given)):
        either = "'all' or " if argument == "metric_names" else ""
        raise TypeError(f"{argument} must be {either}a list of names, got {given!r}")
    return list(given)


def _rank(value: Any) -> int:
    """Its number of dimensions; 0 where it is none that says so."""
    try:
        rank = value.ndim
    except Exception:  # any fault costs only this value
        return 0
    return rank if isinstance(rank, int) else 0


def _version(value: Any) -> int | None:
    tracked = isinstance(value, Tensor) and not value.is_inference()
    return value._version if tracked else None


def _once(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The entries, but none twice: Ignite keeps a mapping, and each of its items beside it."""
    inside = [value for value in metrics.values() if isinstance(value, Mapping)]
    for name, value in metrics.items():
        if not any(name in mapping and mapping[name] is value for mapping in inside):
            yield str(name), value
