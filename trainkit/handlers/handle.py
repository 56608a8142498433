"""The one handle for all monitors of a checklist."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Any

from ignite.engine import Engine, Events, RemovableEventHandle

from trainkit.fill_partials import described, fill
from trainkit.handlers.argument_errors import is_about_arguments
from trainkit.handlers.monitor import Monitor
from trainkit.handlers.sampling.guard import Guard
from trainkit.handlers.sampling.sampler import Sampler

__all__ = ["AttachedMonitors"]

_log = logging.getLogger("trainkit")


class _Detaching:
    """A handle for handlers with a `detach` method."""

    def __init__(self, handler: Any, engine: Engine) -> None:
        self._handler, self._engine = handler, engine

    def remove(self) -> None:
        """Take it off."""
        self._handler.detach(self._engine)


class AttachedMonitors:
    """The monitors of a trainer and its evaluators, to be taken off together.

    Args:
        sampler: Decides in which iterations the trainer's monitors measure.
        released: Called when they have been taken off.

    Example:
        >>> import torch
        >>> from ignite.engine import Engine
        >>> from trainkit import MemoryWriter, attach_monitors
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> trainer = Engine(lambda engine, batch: 0.5)
        >>> attached = attach_monitors(
        ...     trainer, model=model, optimizers=optimizer, writer=MemoryWriter()
        ... )
        >>> attached.failures
        {}
        >>> attached.remove()
    """

    def __init__(self, sampler: Sampler, released: Callable[[], None]) -> None:
        self.sampler = sampler
        self.monitors: dict[str, Any] = {}
        #: What could not be attached, and why.
        self.left_out: dict[str, Exception] = {}
        #: What was said about the model, by whichever engine's monitors saw it first.
        self.said: set[str] = set()
        self.close: Callable[[], None] = lambda: None
        self._released = released
        self._handles: list[Any] = []  # each has `remove`
        self._flush: RemovableEventHandle | None = None
        self._training = False

    @property
    def failures(self) -> dict[str, BaseException]:
        """What ended a monitor, by its name, e.g. `train/GradientMonitor`."""
        guards = {
            name: monitor.guard
            for name, monitor in self.monitors.items()
            if isinstance(monitor, Monitor)
        }
        return {name: g.failure for name, g in guards.items() if g.failure is not None}

    def report(self) -> str:
        """One line per monitor: what it has written, and when; or what ended it."""
        lines = []
        for name, monitor in self.monitors.items():
            if not isinstance(monitor, Monitor):
                lines.append(f"{name}: no Monitor; what it has written is not known")
                continue
            line = f"{name}: {monitor.writer}"
            if monitor.guard.failure is not None:
                line += f"; disabled by {monitor.guard.failure!r}"
            elif (failing := getattr(monitor.writer, "failing", None)) is not None:
                line += f"; its writer does not work now: {failing!r}"
            lines.append(line)
        lines += [f"{name}: left out, because of {e!r}" for name, e in self.left_out.items()]
        return "\n".join(lines) or "no monitor is attached"

    def __repr__(self) -> str:
        return f"{type(self).__name__}:\n  " + self.report().replace("\n", "\n  ")

    def add(self, place: str, engine: Engine, monitor: Any, name: str = "") -> None:
        """Attach a monitor to `engine` and keep it under `<place>/<its class>`.

        Args:
            place: Of the engine.
            engine: Is watched.
            monitor: Has `attach(engine)`.
            name: What it is called where there is another one of its class.
        """
        try:
            handle = monitor.attach(engine)
        except Exception:
            if isinstance(monitor, Monitor):
                with suppress(Exception):  # it may be partly attached
                    monitor.detach()
            raise
        if hasattr(handle, "remove"):
            self._handles.append(handle)
        elif hasattr(monitor, "detach"):  # as Ignite's own handlers have it
            self._handles.append(_Detaching(monitor, engine))
        key = f"{place}/{type(monitor).__name__}"
        if key in self.monitors:
            key = f"{place}/{name}"
        self.monitors[key] = monitor

    def attach_part(
        self,
        place: str,
        name: str,
        engine: Engine,
        part: Any,
        available: Mapping[str, Any],
        prepare: Callable[[Any], None] = lambda monitor: None,
    ) -> None:
        """Make a monitor and attach it; one that cannot be is left out, with a line in the log.

        Args:
            place: Of the engine.
            name: Of the part.
            engine: Is watched.
            part: A partial that is completed, or what is attached as it is.
            available: What it may wait for.
            prepare: Called with the monitor before it is attached.

        Raises:
            TypeError, ValueError: It was refused for its arguments.
        """
        key = f"monitors.{name}"
        try:
            monitor = part
            if isinstance(part, partial):
                monitor = fill(part, available, key)()
            if not hasattr(monitor, "attach"):
                raise TypeError(
                    f"{key} must make something with attach(engine), got {described(monitor)}"
                )
            prepare(monitor)
            self.add(place, engine, monitor, name)
        except Exception as error:
            if is_about_arguments(error):
                if isinstance(part, partial) and part.keywords and key not in str(error):
                    kind = TypeError if isinstance(error, TypeError) else ValueError
                    raise kind(f"{key}: {error}") from error
                raise
            made = getattr(getattr(part, "func", type(part)), "__name__", name)
            self.left_out[f"{place}/{made}"] = error
            _log.warning("%s is left out: %s: %s", made, type(error).__name__, error)

    def flush_after(
        self, trainer: Engine, evaluators: Iterable[Engine], flush: Callable[[], None]
    ) -> None:
        """Call `flush` when training is over, and after every evaluation that comes later."""
        guard = Guard("flushing the writers", lambda: None)

        def start(engine: Engine) -> None:
            # Attached anew, to come behind an evaluation that `COMPLETED` starts.
            self._training = True
            self._let_go()
            self._flush = engine.add_event_handler(Events.COMPLETED, complete)

        def complete(engine: Engine) -> None:
            self._training = False
            guard(flush)

        def complete_evaluation(engine: Engine) -> None:
            if not self._training:
                guard(flush)

        self._handles.append(trainer.add_event_handler(Events.STARTED, start))
        self._handles += [
            evaluator.add_event_handler(Events.COMPLETED, complete_evaluation)
            for evaluator in evaluators
        ]

    def state_dict(self) -> dict[str, Any]:
        """What the monitors know from earlier iterations: of each that has a `state_dict`.

        Under `sampler`: which of them wait for an optimizer's step now. With the same attached
        monitors, `load_state_dict` in another process has their series go on as if nothing had
        happened in between.
        """
        found = {"sampler": self.sampler.state_dict()}
        for name, monitor in self.monitors.items():
            if hasattr(monitor, "state_dict") and hasattr(monitor, "load_state_dict"):
                with self._told_apart(name, "its state cannot be had"):
                    found[name] = monitor.state_dict()
        return found

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from there; of monitors without a state in it, and the other way round, nothing."""
        for name, state in state_dict.items():
            monitor = self.sampler if name == "sampler" else self.monitors.get(name)
            if monitor is not None and hasattr(monitor, "load_state_dict"):
                with self._told_apart(name, "its state cannot be put back"):
                    monitor.load_state_dict(state)

    @contextmanager
    def _told_apart(self, name: str, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            _log.warning("%s: %s: %s: %s", name, what, type(error).__name__, error)

    def remove(self) -> None:
        """Take every monitor off, and close the writers that were opened; harmless when done."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._let_go()
        self._released()
        self.close()

    def __enter__(self) -> "AttachedMonitors":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.remove()

    def _let_go(self) -> None:
        if self._flush is not None:
            self._flush.remove()
            self._flush = None
