"""Monitors of what the step returned: in sampled iterations, or over a whole evaluation."""

import logging
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar
from weakref import WeakKeyDictionary

from ignite.engine import Engine

from trainkit.handlers.monitor import Monitor
from trainkit.handlers.output.as_step_output import (
    StepOutput,
    UnclearOutputError,
    as_step_output,
    describe,
)
from trainkit.handlers.output.transform_hint import transform_for
from trainkit.handlers.sampling.cadence import Cadence
from trainkit.handlers.sampling.moment import Moment
from trainkit.handlers.sampling.random_numbers import preserved_random_state
from trainkit.handlers.sampling.sampler import Sampler
from trainkit.writers.protocol import Sink, Writer

__all__ = ["OutputMonitor"]

_log = logging.getLogger("trainkit")

# What the monitors of an evaluator have read of the newest iteration: its number, its output, and
# by the id of the transform what that made of it.
_Read = tuple[int, Any, dict[int, StepOutput]]
_read: "WeakKeyDictionary[Engine, _Read]" = WeakKeyDictionary()

Totals = TypeVar("Totals")


class OutputMonitor(Monitor, Generic[Totals]):
    """Measures what the step returned; over a pass, the totals of its batches are added up.

    `output_transform` is called at most once in an iteration, for all monitors of an engine that
    have the same one: on a trainer in sampled iterations only. Random numbers that it draws are
    put back. On an evaluator, one that fails is not called again; the output is read as it is.

    Args:
        writer: Where the statistics go.
        every: How often, in iterations, or a `Sampler` shared with other monitors.
        output_transform: Makes of `engine.state.output` what `as_step_output` understands.
        trainer: Given, the monitor belongs on an evaluator: it averages over the whole pass.
    """

    engines: ClassVar[Sequence[str]] = ("trainer", "evaluators")
    #: What `attach_monitors` calls the engine; None where the monitor was attached by itself.
    engine_name: str | None = None

    def __init__(
        self,
        writer: Writer | Sink,
        every: int | Cadence | Sampler = 1,
        *,
        output_transform: Callable[[Any], Any] | None = None,
        trainer: Engine | None = None,
    ) -> None:
        super().__init__(writer, every, trainer=trainer)
        self.output_transform = output_transform
        self._totals: Totals | None = None
        self._told: set[str] = set()
        #: What was found out about the engine. `attach_monitors` gives its monitors one set.
        self.complained: set[str] = set()
        #: What was said about the model, which is the same in every engine. `attach_monitors` gives
        #: all of its monitors one set.
        self.said: set[str] = set()

    @abstractmethod
    def totals(self, output: StepOutput) -> Totals | None:
        """What one batch adds (to be added up with `+`); None where the output lacks it."""

    @abstractmethod
    def write(self, step: int, totals: Totals) -> None:
        """Write the statistics of these totals."""

    def moments(self) -> Mapping[Moment, Callable[..., Any]]:
        """At the end of the iteration; on an evaluator in every iteration of a pass."""
        if self.trainer is None:
            return {
                Moment.ITERATION_COMPLETED: self.end,
                Moment.NON_FINITE_LOSS: self.end,
                Moment.CANCELLED: self.cancel,
            }
        return {
            Moment.PASS_STARTED: self.start_pass,
            Moment.PASS_ITERATION: self.observe,
            Moment.PASS_COMPLETED: self.end_pass,
            Moment.CANCELLED: self.cancel,
        }

    def end(self, engine: Engine) -> None:
        """Measure the output of this iteration and write."""
        totals = self._measured(engine, self.sampler.outputs)
        if totals is not None:
            self.write(engine.state.iteration, totals)

    def start_pass(self, engine: Engine) -> None:
        """Forget the pass before."""
        self._totals = None
        _read.pop(engine, None)

    def observe(self, engine: Engine) -> None:
        """Add this batch to the totals."""
        number, output = engine.state.iteration, engine.state.output
        found = _read.get(engine)
        if found is None or found[0] != number or found[1] is not output:
            found = _read[engine] = number, output, {}
        totals = self._measured(engine, found[2])
        if totals is not None:
            so_far: Any = self._totals
            self._totals = totals if so_far is None else so_far + totals

    def end_pass(self, engine: Engine) -> None:
        """Write the statistics of the whole pass, if it had any."""
        assert self.trainer is not None  # noqa: S101
        _read.pop(engine, None)
        totals, self._totals = self._totals, None
        if totals is not None:
            step = self.trainer.state.iteration
            self.write_pass(engine, lambda: self.write(step, totals))

    def cancel(self) -> None:
        """Forget what was begun; harmless at any time."""
        self._totals = None

    def leave_out(self, what: str, why: str, fact: str | None = None) -> None:
        """Say once, in the log, what cannot be measured here and what would help.

        Args:
            what: Is left out.
            why: And what would help.
            fact: A name for what several monitors of the engine find out: the first one says it.
        """
        told, key = (self._told, what) if fact is None else (self.complained, fact)
        if key not in told:
            told.add(key)
            _log.warning("%s%s %s left out: %s", self.prefix, what, _is(what), why)

    @property
    def prefix(self) -> str:
        """What a line in the log begins with: which evaluator it is about, where that is known."""
        return f"{self.engine_name}: " if self.engine_name not in (None, "trainer") else ""

    def hint(self, output: StepOutput, *wanted: str) -> str:
        """What to return, or which `output_transform` helps; it can be pasted.

        Args:
            output: What was read.
            wanted: What it lacks: `loss`, `y_pred`, `y`.
        """
        keys = " and ".join(repr(name) for name in wanted)
        return f"return a dict with {keys}{self.transform(output, *wanted)}"

    def transform(self, output: StepOutput, *wanted: str) -> str:
        """The second half of `hint`; empty where no `output_transform` helps."""
        return self._transform(output.seen, wanted)

    def _transform(self, seen: Any, wanted: tuple[str, ...]) -> str:
        if self.output_transform is not None:
            return " from output_transform"
        transform = transform_for(seen, wanted)
        if transform is None:
            return ""
        if self.engine_name is not None:
            transform = f"{{{self.engine_name!r}: {transform}}}"
        return f", or pass output_transform={transform}"

    def _measured(self, engine: Engine, known: dict[int, StepOutput]) -> Totals | None:
        transform = id(self.output_transform)
        try:
            output = known.get(transform)
            if output is None:
                output = as_step_output(self._transformed(engine), engine.state.batch)
                known[transform] = output
            return self.totals(output)
        except UnclearOutputError as error:
            self._leave_all_out(error, engine.state.output)
            return None

    def _leave_all_out(self, error: UnclearOutputError, seen: Any) -> None:
        hint = self._transform(seen, ("loss", "y_pred", "y"))
        self.leave_out(
            "losses and predictions",
            f"{error.found}; return a dict with 'loss', 'y_pred' and 'y'{hint}",
            fact="unclear",
        )

    def _transformed(self, engine: Engine) -> Any:
        output, transform = engine.state.output, self.output_transform
        refused = f"output_transform {id(transform)}"
        if transform is None or refused in self.complained:
            return output
        try:
            with preserved_random_state():
                return transform(output)
        except UnclearOutputError:
            raise
        except Exception as error:
            why = (
                f"output_transform does not take the engine's output, {describe(output)} "
                f"({type(error).__name__}: {error}); where the engines' outputs differ, give "
                "attach_monitors one for each: output_transform={'trainer': ..., 'validation': ...}"
            )
            if self.trainer is None:
                raise TypeError(why) from error
            self.complained.add(refused)
            _log.warning("%sthe evaluator's output is read as it is: %s", self.prefix, why)
            return output


def _is(what: str) -> str:
    return "are" if what.endswith("s") and not what.startswith("what ") else "is"
