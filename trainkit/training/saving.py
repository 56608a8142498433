"""When the state of a run is saved, and what belongs to it."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, Protocol

import ignite.distributed as idist

from trainkit.processes.channel import Channel
from trainkit.processes.process_states import gather_states, send_state
from trainkit.rundir import (
    Best,
    Bookkeeping,
    CheckpointFolder,
    DamagedCheckpointError,
    SaveThread,
    load_checkpoint,
    snapshot,
)
from trainkit.settings import CheckpointSettings
from trainkit.training.build import Built
from trainkit.training.state import OF_ONE_PROCESS, run_state, state_of_process

__all__ = ["EventPositions", "Mark", "Saving", "Stateful"]

_log = logging.getLogger("trainkit.training")
_MINUTE = 60.0

# Parts that an evaluation changes; where it is interrupted, it is begun again.
_CHANGED = ("monitoring", "evaluation_data")


class Stateful(Protocol):
    """Part of a run with a state of its own."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors, plain values and containers of these."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""


class EventPositions:
    """How far the event files reached at a moment of the training; known a little later.

    Args:
        waits: Return when the threads of the writers have filled in what is found.
        found: Part → file → bytes.
    """

    def __init__(
        self, waits: Sequence[Callable[[], None]], found: Mapping[str, Mapping[str, int]]
    ) -> None:
        self._waits = waits
        self._found = found

    def wait(self) -> dict[str, dict[str, int]]:
        """Return when everything written until that moment is on the disk."""
        for wait in self._waits:
            wait()
        return {part: dict(files) for part, files in self._found.items()}


@dataclass(frozen=True)
class Mark:
    """What an evaluation changes, as it was at a moment of the training.

    Args:
        events: How far the event files reached.
        parts: The states of those parts that an evaluation changes.
    """

    events: EventPositions
    parts: Mapping[str, Any]


class Saving:
    """Saves the state of a run: after evaluations, and every so many iterations or minutes.

    The training waits for a copy of the state in main memory; a thread writes it. First the event
    files are on the disk as far as they belong to the state, then the state itself.

    Args:
        built: What takes part in the run.
        settings: Which states are kept.
        folder: Where.
        run: The id of the run.
        best: The best values so far.
        positions: Begins to find out how far the event files reach.
        bookkeeping: Keeps a full disk from ending the training.
        channel: To the other processes; None: there are none.
        clock: Tells the time in seconds.
    """

    def __init__(
        self,
        built: Built,
        settings: CheckpointSettings,
        folder: CheckpointFolder,
        *,
        run: str,
        best: Best,
        positions: Callable[[], EventPositions],
        bookkeeping: Bookkeeping,
        channel: Channel | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._built = built
        self._settings = settings
        self._folder = folder
        self._run = run
        self._best = best
        self._positions = positions
        self._channel = channel
        self._number = 0  # of checkpoints that were begun, in every process
        self._clock = clock
        self._bookkeeping = bookkeeping
        self._thread = SaveThread(bookkeeping)
        self._saved_at = self._clock()
        self._verified = False
        #: What has a state besides the objects of `Built`, by name.
        self.parts: dict[str, Stateful] = {}
        #: Checkpoint → iteration.
        self.saved: dict[str, int] = {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Put the state of the parts back, and of the best values."""
        self._best.load_state_dict(state["best"])
        self.saved = {"last": state["iteration"]}
        if self._settings.best and self._best.iteration:
            self.saved["best"] = self._best.iteration
        for name, part in self.parts.items():
            if name in state["parts"]:
                part.load_state_dict(state["parts"][name])

    def due(self, iteration: int) -> bool:
        """Whether a state is to be saved behind this iteration, without an evaluation."""
        every = self._settings.every
        return every is not None and iteration % every == 0

    @property
    def late(self) -> bool:
        """Whether so much time has passed since the last state that another one is due."""
        minutes = self._settings.every_minutes
        return minutes is not None and self._clock() - self._saved_at >= minutes * _MINUTE

    def mark(self) -> Mark:
        """What an evaluation changes, as it is now; nothing is waited for."""
        states = {name: self.parts[name].state_dict() for name in _CHANGED if name in self.parts}
        return Mark(self._positions(), snapshot(states))

    def save(
        self,
        facts: Mapping[str, Any],
        *,
        last: bool,
        best: bool = False,
        mark: Mark | None = None,
    ) -> None:
        """Save the state as it is now; returns when it is copied.

        Args:
            facts: What is known of the run so far, to stand in the state.
            last: It is the last state.
            best: It is the best one.
            mark: From before an evaluation that is not complete; None: there is none.
        """
        iteration = self._built.engines.trainer.state.iteration
        kept = [each[1] for each in self._best.kept] if self._settings.best else []
        if not (last or best or (len(kept) > 1 and iteration in kept)):
            return
        self._number += 1
        if idist.get_rank() != 0:
            self._saved_at = self._clock()
            if self._channel is not None:
                send_state(self._channel, self._number, state_of_process(self._built))
            return
        self._thread.wait()  # two copies of the state in memory are enough
        mark = self.mark() if mark is None else mark
        parts = {name: part.state_dict() for name, part in self.parts.items()}
        state: dict[str, Any] = snapshot(
            {
                **run_state(self._built, self._run),
                **facts,
                "best": {"metric": self._best.metric, "mode": self._best.mode,
                         **self._best.state_dict()},
                "parts": parts | dict(mark.parts),
            }
        )  # fmt: skip
        self._saved_at = self._clock()
        name = "last" if last else "best"
        self._thread.start(
            f"checkpoints/{name}.pt",
            partial(self._write, state, mark.events, kept, self._number, last=last, best=best),
        )

    def keep_before_non_finite(self) -> None:
        """Keep the last state under another name: what comes after it is not finite."""
        self._thread.wait()
        self._bookkeeping.keep("a checkpoint", self._folder.keep_before_non_finite)

    def complete(self) -> str:
        """Return when nothing is being written; says why no state can be saved, if so."""
        self._thread.wait()
        failure = self._thread.failure
        return "" if failure is None else f"{type(failure).__name__}: {failure}"

    def _write(
        self,
        state: dict[str, Any],
        positions: EventPositions,
        kept: list[int],
        number: int,
        *,
        last: bool,
        best: bool,
    ) -> None:
        state["events"] = positions.wait()
        if self._channel is not None:
            own = {name: state[name] for name in OF_ONE_PROCESS}
            state["processes"] = gather_states(self._channel, number, own)
        self._folder.save(state, last=last, best=best, kept=kept if len(kept) > 1 else ())
        names = [name for name, is_it in (("last", last), ("best", best)) if is_it]
        self.saved |= dict.fromkeys(names, state["iteration"])
        if not self._verified and names:
            self._verify(names[0])

    def _verify(self, name: str) -> None:
        """Read the first checkpoint back: whether the run could be resumed is told at once."""
        self._verified = True
        try:
            load_checkpoint(self._folder.path / f"{name}.pt")
        except DamagedCheckpointError as error:
            _log.warning("this run cannot be resumed: %s", error)
