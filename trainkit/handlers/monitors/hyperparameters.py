"""Learning rate and every other hyperparameter that changes over time."""

from collections.abc import Callable, Mapping, Sequence
from operator import is_
from typing import Any

from ignite.engine import Engine
from torch import Tensor
from torch.optim import Optimizer

from trainkit.handlers.argument_order import writer_first
from trainkit.handlers.curves.staircase import Drawn, Staircases
from trainkit.handlers.monitor import Monitor
from trainkit.handlers.output.as_step_output import Number
from trainkit.handlers.parameters.group_values import GroupValues, entries, numbers_in_value
from trainkit.handlers.parameters.held import one_or_several
from trainkit.handlers.sampling.cadence import When
from trainkit.handlers.sampling.moment import Moment
from trainkit.handlers.sampling.random_numbers import preserved_random_state
from trainkit.handlers.sampling.sampler import Sampler
from trainkit.stats.logarithm import LOWEST, log10
from trainkit.writers.protocol import Sink, Writer

__all__ = ["HyperparameterMonitor"]

Scheduled = Callable[[], Any] | tuple[Any, str]


class HyperparameterMonitor(Monitor):
    """Writes every number in every parameter group that moves, and every other scheduled value.

    They are drawn as they were used: each value has a point at the first iteration that used it
    and one at the last, so that the straight lines between points are true; a value that changes
    in every iteration has points where it is sampled, and wherever a line would be off by more
    than 0.1 % of the value (0.2 % after 10,000 points, and so on). In sampled iterations they
    are read just before the optimizer's step, in all others before the process function (after it
    where a sample has shown that it is the process function that changes them before the step).

    Left out: flags, `None`, and everything else that is not a number; and whatever never changes,
    but for learning rates and scheduled values: it would be a chart of a constant. An optimizer is
    looked at from its first step on that a sample has seen. A tensor is read where it may have
    changed, on its device; while it changes in every iteration, in samples. Scheduled functions are
    called in sampled iterations only.

    Tags: `hyperparameters/<key>`; with several groups `hyperparameters/<group>/<key>`, the group
    by its entry `name` or its position (a group that was alone at first keeps its tags when
    others join it); elements of a tuple as `<key>.<position>`, e.g. `betas.0`; with several
    optimizers `hyperparameters/<optimizer>/…`; `hyperparameters/<name>` for scheduled values.
    Beside each `lr` its `log10_lr`.

    Args:
        writer: Where the numbers go.
        every: How often, in iterations, or a `Sampler` shared with other monitors.
        optimizers: One, or a mapping from name to optimizer.
        scheduled: Name → function returning a number, or `(object, "attribute")`.

    Raises:
        TypeError: `optimizers` or `scheduled` are not of that form.

    Cost:
        A walk through the parameter groups (of more than eight, through two of them) in every
        iteration: a microsecond.

    Example:
        >>> import torch
        >>> from trainkit.writers import MemoryWriter
        >>> weight, writer = torch.nn.Parameter(torch.ones(1)), MemoryWriter()
        >>> optimizer = torch.optim.SGD([weight], lr=0.5)
        >>> trainer = Engine(lambda engine, batch: optimizer.step())
        >>> handle = HyperparameterMonitor(writer, optimizers=optimizer).attach(trainer)
        >>> _ = trainer.run([1, 2, 3])
        >>> writer.scalars["hyperparameters/lr"]
        [(1, 0.5), (3, 0.5)]
    """

    waits_through_skips = True

    @writer_first
    def __init__(
        self,
        writer: Writer | Sink,
        every: When | Sampler = 1,
        *,
        optimizers: Optimizer | Mapping[str, Optimizer],
        scheduled: Mapping[str, Scheduled] | None = None,
    ) -> None:
        super().__init__(writer, every, optimizers=_by_prefix(optimizers))
        self._seen: dict[str, GroupValues] = {}
        self._functions: dict[str, Callable[[], Any]] = {}
        self._attributes: dict[str, tuple[Any, str]] = {}
        for name, value in (scheduled or {}).items():
            _check(name, value)
            if callable(value):
                self._functions[f"hyperparameters/{name}"] = value
            else:
                self._attributes[f"hyperparameters/{name}"] = value
        self._scheduled = Staircases(always=True)
        self._scheduled_at = 0
        # The last iteration that was looked at, and the entries of optimizers not yet seen to step.
        self._entered = 0
        self._before: dict[str, list[Any]] = {}
        # Whether any of them is looked at after the process function.
        self._late = False

    def moments(self) -> Mapping[Moment, Callable[..., Any]]:
        """Before the optimizer's step of a sampled iteration; around every process function."""
        return {
            Moment.EVERY_ITERATION_STARTED: self.enter,
            Moment.BEFORE_STEP: self.before_step,
            Moment.EVERY_PROCESS_LEFT: self.leave,
            Moment.RUN_COMPLETED: self.finish,
        }

    # Hot path (every iteration): few operations, the usual case first.
    def enter(self, engine: Engine) -> None:
        """Look for what has changed since the last iteration."""
        iteration = engine.state.iteration
        if iteration <= self._entered:
            self._start_again()
        self._entered = iteration
        if len(self._seen) < len(self.optimizers):
            self._before = {key: entries(o.param_groups) for key, o in self.optimizers.items()}
        for key, seen in self._seen.items():
            if not seen.late and (drawn := seen.read(self.optimizers[key].param_groups, iteration)):
                self._write(drawn)
        if self._attributes and self._scheduled_at:
            found = self._attributes_now()
            self._write(self._scheduled.see(found, iteration, self._scheduled.last))

    def leave(self, engine: Engine, returned: bool) -> None:
        """Look at what the process function may have changed, or write the last points."""
        if returned and not self._late:
            return
        for key, seen in self._seen.items():
            if not returned:
                if seen.stepped_at != self._entered:  # as far as is known it was not used
                    seen.stairs.last = min(seen.stairs.last, self._entered - 1)
            elif seen.late:
                self._write(seen.read_late(self.optimizers[key].param_groups, self._entered))
        self._note_late()
        if not returned:
            self._write(self._ended())

    def finish(self, engine: Engine) -> None:
        """Write the last points."""
        self._write(self._ended())

    def before_step(self, key: str, optimizer: Optimizer, closure: bool) -> None:
        """Read what this step uses."""
        seen = self._seen.get(key)
        if seen is None:
            alone = len(optimizer.param_groups) == 1
            # One that assigns them before its first step will do so before the others.
            late = self._assigned_since(self._before.get(key, ()), optimizer)
            seen = self._seen[key] = GroupValues(key, alone, late)
        drawn = seen.read_at_step(optimizer.param_groups, self.steps.iteration)
        self._note_late()
        drawn.join(self._scheduled_now())
        self._write(drawn)

    def state_dict(self) -> dict[str, Any]:
        """Where each value stands, so that it need not be drawn anew."""
        return {
            "groups": {key: seen.state_dict() for key, seen in self._seen.items()},
            "scheduled": self._scheduled.state_dict(),
            "scheduled_at": self._scheduled_at,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._seen = {
            key: GroupValues.of_state(state)
            for key, state in state_dict["groups"].items()
            if key in self.optimizers
        }
        self._scheduled.load_state_dict(state_dict["scheduled"])
        self._scheduled_at = state_dict["scheduled_at"]
        self._note_late()

    def _note_late(self) -> None:
        self._late = any(seen.late for seen in self._seen.values())

    def _assigned_since(self, before: Sequence[Any], optimizer: Optimizer) -> bool:
        now = entries(optimizer.param_groups)
        in_this_iteration = self._entered == self.steps.iteration and len(now) == len(before)
        return in_this_iteration and not all(map(is_, now, before))

    def _scheduled_now(self) -> Drawn:
        iteration = self.steps.iteration
        if not (self._functions or self._attributes) or self._scheduled_at == iteration:
            return Drawn()  # another optimizer stepped first in this iteration
        found = self._attributes_now()
        if self._functions:
            with preserved_random_state():
                for tag, read in self._functions.items():
                    found |= numbers_in_value(tag, read())
        last = min(self._scheduled.last, iteration - 1)
        self._scheduled_at = iteration
        drawn = self._scheduled.see(found, iteration, last)
        drawn.join(self._scheduled.sample())
        return drawn

    def _attributes_now(self) -> dict[str, Number]:
        found: dict[str, Number] = {}
        for tag, (owner, name) in self._attributes.items():
            found |= numbers_in_value(tag, getattr(owner, name))
        return found

    def _ended(self) -> Drawn:
        drawn = Drawn()
        for stairs in (*(seen.stairs for seen in self._seen.values()), self._scheduled):
            drawn.join(stairs.end())
        return drawn

    def _start_again(self) -> None:
        """The iterations are counted from an earlier one again."""
        self._write(self._ended())
        self._seen = {key: seen.again() for key, seen in self._seen.items()}
        self._scheduled, self._scheduled_at = Staircases(always=True), 0

    def _write(self, drawn: Drawn) -> None:
        if drawn:
            for step in sorted(drawn):
                found = drawn[step]
                self.writer.write_scalars(step, {**found, **_logarithms(found)})


def _logarithms(found: Mapping[str, Number]) -> dict[str, Number]:
    """log10 of the learning rates: TensorBoard rounds 3e-5 to 0."""
    return {
        f"{tag.removesuffix('lr')}log10_lr": _log10(value)
        for tag, value in found.items()
        if tag.endswith("/lr")
    }


def _log10(value: Number) -> Number:
    if isinstance(value, Tensor):
        return value.detach().double().clamp_min(10.0**LOWEST).log10()
    return float(log10(value))


def _by_prefix(optimizers: Optimizer | Mapping[str, Optimizer]) -> dict[str, Optimizer]:
    named = one_or_several("optimizers", optimizers, Optimizer)
    if len(named) == 1:
        return {"hyperparameters/": next(iter(named.values()))}
    return {f"hyperparameters/{name}/": optimizer for name, optimizer in named.items()}


def _check(name: str, scheduled: Any) -> None:
    if isinstance(scheduled, tuple) and len(scheduled) == 2 and isinstance(scheduled[1], str):
        owner, attribute = scheduled
        if not hasattr(owner, attribute):
            raise TypeError(
                f"scheduled[{name!r}] must name an attribute that {type(owner).__name__} has, got "
                f"{attribute!r}"
            )
    elif not callable(scheduled):
        raise TypeError(
            f"scheduled[{name!r}] must be a function that returns a number, or (object, "
            f"'attribute'), got {scheduled!r}"
        )
