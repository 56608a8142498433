"""Training speed, and the time spent waiting for data."""

import logging
from collections.abc import Callable, Iterable, Mapping
from time import perf_counter
from typing import Any

from ignite.engine import Engine, Events, RemovableEventHandle

from trainkit.handlers.curves.points import Points
from trainkit.handlers.monitor import Monitor
from trainkit.handlers.sampling.cadence import Cadence
from trainkit.handlers.sampling.moment import Moment
from trainkit.handlers.sampling.sampler import Sampler
from trainkit.samples import samples_in
from trainkit.writers.protocol import Curve, Sink, Writer

__all__ = ["ThroughputMonitor", "samples_in"]

_log = logging.getLogger("trainkit")

_DESCRIPTION = "Of one iteration, evaluations and what happens between epochs left out."
_TAGS = tuple(
    f"throughput/{name}"
    for name in ("iteration_seconds", "data_wait_fraction", "samples_per_second")
)


class ThroughputMonitor(Monitor):
    """Writes the speed of training since the last sampled iteration, or that of every iteration.

    With n iterations of m samples in T seconds since then, of which W were spent between
    Ignite's `GET_BATCH_STARTED` and `GET_BATCH_COMPLETED`:
    iteration_seconds = T / n, samples_per_second = m / T, data_wait_fraction = W / T.

    T is wall-clock time of this process. Left out of it are the runs of `evaluators` and what
    happens between epochs; what other handlers do in an iteration is in it. On CUDA nothing is
    synchronized: an iteration counts when it has been enqueued, and since the queue is bounded
    that is the device's speed over any longer interval, not in a single iteration.
    `samples_per_second` counts the samples of this process, and is left out where the size of a
    batch is not known. Data that end before their length are said once, in the log.

    Tags: `throughput/samples_per_second`, `throughput/iteration_seconds`,
    `throughput/data_wait_fraction`.

    Args:
        writer: Where the numbers go.
        every: How often, in iterations, or a `Sampler` shared with other monitors.
        evaluators: Engines that run inside the training loop; or a mapping from name to engine.
        batch_size: Number of samples in a batch; `samples_in` unless given.
        every_iteration: Write the speed of every iteration, sampled or not, as points of a curve:
            exactly for the first 10,000, as means of several iterations beyond. Then
            `samples_per_second` ends with the first batch whose size is not known.
        clock: Seconds.

    Cost:
        Two clock readings and one look at the batch in every iteration; with `every_iteration` two
        microseconds more.

    Example:
        >>> import torch
        >>> from ignite.engine import Engine
        >>> from trainkit import MemoryWriter, ThroughputMonitor
        >>> writer = MemoryWriter()
        >>> trainer = Engine(lambda engine, batch: 0.5)
        >>> handle = ThroughputMonitor(writer, every=10).attach(trainer)
        >>> state = trainer.run([torch.zeros(32, 3)] * 20)
        >>> [step for step, seconds in writer.scalars["throughput/iteration_seconds"]]
        [1, 10, 20]
    """

    def __init__(
        self,
        writer: Writer | Sink,
        every: int | Cadence | Sampler = 1,
        *,
        evaluators: Iterable[Engine] | Mapping[str, Engine] = (),
        batch_size: Callable[[Any], int | None] | None = None,
        every_iteration: bool = False,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        super().__init__(writer, every)
        self._every_iteration, self._now = every_iteration, clock
        self._points, self._sized = Points(self.writer, Curve(_TAGS, _DESCRIPTION)), True
        engines = evaluators.values() if isinstance(evaluators, Mapping) else evaluators
        self._evaluators = tuple(engines)
        self._batch_size = batch_size or samples_in
        # Since `_since`: seconds that are left out and that were spent waiting for data, iterations
        # and samples (None: not known).
        self._since: float | None = None
        self._excluded = self._waited = 0.0
        self._iterations = 0
        self._samples: int | None = 0
        # When the batch that is not there yet was asked for; who paused the training, and when.
        self._asked: float | None = None
        self._paused: tuple[Engine, float] | None = None
        self._started = 0  # the iteration behind which this pass over the data began
        self._told = False

    def attach(self, engine: Engine) -> RemovableEventHandle:
        """Measure the speed of `engine` from now on.

        Returns:
            Ignite's handle; after its `remove()` no handler is left.

        Raises:
            ValueError: The monitor is attached already.
        """
        handle = super().attach(engine)
        forget, pause, resume, run_out = map(
            self._guarded, (self._forget, self._pause, self._resume, self._run_out)
        )
        for number, (attached_to, event, function) in enumerate(
            (
                (engine, Events.STARTED, forget),
                (engine, Events.GET_BATCH_STARTED, self._ask),
                (engine, Events.GET_BATCH_COMPLETED, self._receive),
                (engine, Events.DATALOADER_STOP_ITERATION, run_out),
                (engine, Events.EPOCH_COMPLETED, pause),
                *((evaluator, Events.STARTED, pause) for evaluator in self._evaluators),
                *((evaluator, Events.COMPLETED, resume) for evaluator in self._evaluators),
            )
        ):
            self.keep(attached_to.add_event_handler(event, function), str(number))
        return handle

    def moments(self) -> Mapping[Moment, Callable[..., Any]]:
        """At the end of the sampled iterations, or of all."""
        if self._every_iteration:
            return {Moment.EVERY_ITERATION_COMPLETED: self.look, Moment.CANCELLED: self.cancel}
        return {Moment.ITERATION_COMPLETED: self.end, Moment.CANCELLED: self.cancel}

    def end(self, engine: Engine) -> None:
        """Write the speed since the last time and start over."""
        now = self._now()
        if self._since is None or not self._iterations:
            return
        elapsed = now - self._since - self._excluded
        seconds, waited, size = _TAGS
        scalars = {seconds: elapsed / self._iterations}
        if elapsed > 0:
            scalars[waited] = self._waited / elapsed
            if self._samples is not None:
                scalars[size] = self._samples / elapsed
        self._start_over(now)
        self.writer.write_scalars(engine.state.iteration, scalars)

    # Hot path (every iteration), like `_ask` and `_receive`: few operations.
    def look(self, engine: Engine) -> None:
        """Write the speed of this iteration."""
        since, now = self._since, self._now()
        if since is None or not self._iterations:
            return
        elapsed, waited, samples = now - since - self._excluded, self._waited, self._samples
        if self._asked is None and self._paused is None:  # `_start_over`, without the call
            self._since, self._excluded, self._waited = now, 0.0, 0.0
            self._iterations, self._samples = 0, 0
        else:
            self._start_over(now)
        if elapsed <= 0:
            return
        row: tuple[float, ...] = (elapsed, waited / elapsed)
        if self._sized:
            if samples is not None:
                row = (elapsed, waited / elapsed, samples / elapsed)
            else:  # points of a tag must come in their order: what there is goes first
                self.writer.flush()
                self._points = Points(self.writer, Curve(_TAGS[:2], _DESCRIPTION))
                self._sized = False
        self._points.write(engine.state.iteration, row)

    def cancel(self) -> None:
        """Forget what was begun."""
        self._since = None

    def _start_over(self, now: float) -> None:
        self._since = now
        self._excluded = self._waited = 0.0
        self._asked = self._paused = None
        self._iterations = self._samples = 0

    def _guarded(self, function: Callable[[Engine], None]) -> Callable[[Engine], None]:
        def called(engine: Engine) -> None:
            self.guard(function, engine)

        return called

    def _forget(self, engine: Engine) -> None:
        self._since = None
        self._started = engine.state.iteration

    def _run_out(self, engine: Engine) -> None:
        """The data have ended, and Ignite starts them again: was that where they said?"""
        drawn, self._started = engine.state.iteration - self._started, engine.state.iteration
        try:
            length = len(engine.state.dataloader)  # type: ignore[arg-type]
        except TypeError:
            return
        if drawn < length and not self._told:
            self._told = True
            _log.warning(
                "the training data ended after batch %d of %d, or an item raised StopIteration: "
                "Ignite starts them again, and trains on the first batches once more",
                drawn, length,
            )  # fmt: skip

    # These two are called in every iteration: so few operations, and no guard, which reads the
    # clock twice. Ignite calls what takes no engine with less to do.
    def _ask(self) -> None:
        now = self._now()
        if self._since is None:
            self._start_over(now)
        if self._paused is not None:  # since the end of the epoch, or since an evaluator failed
            self._excluded += now - self._paused[1]
            self._paused = None
        if self._asked is None:  # else the data ran out and are asked again
            self._asked = now

    def _receive(self, engine: Engine) -> None:
        asked = self._asked
        if asked is None:
            return
        self._waited += self._now() - asked
        self._asked = None
        self._iterations += 1
        if self._samples is not None:
            try:
                size = self._batch_size(engine.state.batch)
            except Exception as error:
                self.guard.fail(error)
            else:
                self._samples = None if size is None else self._samples + size

    def _pause(self, engine: Engine) -> None:
        if self._paused is None:
            self._paused = (engine, self._now())

    def _resume(self, engine: Engine) -> None:
        if self._paused is not None and self._paused[0] is engine:
            self._excluded += self._now() - self._paused[1]
            self._paused = None
