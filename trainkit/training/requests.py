"""Requests to stop and to save, heard by all processes of a run behind the same iteration."""

import ignite.distributed as idist

from trainkit.processes.peers import Peers
from trainkit.rundir import Interrupted, Interruption
from trainkit.training.stopping import Stopping

__all__ = ["Requests"]

_SIGNAL = "signal "


class Requests:
    """Hears signals and the clock, and has all processes act on them behind the same iteration.

    Signals and the clock differ between processes. One that stopped alone would leave the others
    waiting in their next collective.

    Args:
        peers: The other processes; None: there are none.
        interruption: Whether somebody asked to stop.
        stopping: Knows when the time is over.
        steps: Micro-batches per optimizer step. Several processes stop and save behind an
            optimizer's step: the gradients of an accumulation differ between them.
        epoch: Iterations of one, which ends with an optimizer step.
    """

    def __init__(
        self,
        peers: Peers | None,
        interruption: Interruption,
        stopping: Stopping,
        *,
        steps: int,
        epoch: int,
    ) -> None:
        self._peers = peers
        self._interruption = interruption
        self._stopping = stopping
        self._steps, self._epoch = steps, epoch

    def may_save(self, iteration: int) -> bool:
        """Whether the state is complete in the first process."""
        return self._peers is None or (iteration % self._epoch) % self._steps == 0

    def saves(self, iteration: int, *, late: bool) -> bool:
        """Whether all processes save now because one of them found that it is time.

        Args:
            iteration: That is complete.
            late: Whether the last state is too old, by the clock of this process.
        """
        if self._peers is None:
            return late
        agreement = self._peers.save
        if late and idist.get_rank() == 0:
            agreement.ask("time")
        if not agreement.passed(iteration, possible=self.may_save(iteration)):
            return False
        agreement.renew(iteration)
        return True

    def look(self) -> None:
        """End the training where its time is over."""
        if self._peers is None:
            self._stopping.look()

    def check(self, iteration: int) -> None:
        """Hear a request to stop; the last thing behind an iteration.

        Raises:
            Interrupted: It was a signal.
        """
        if self._peers is None:
            self._interruption.check()
            return
        agreement = self._peers.stop
        if self._interruption.asked is not None:
            agreement.ask(f"{_SIGNAL}{self._interruption.asked}")
        elif over := self._stopping.over:
            agreement.ask(over)
        reason = agreement.passed(iteration, possible=self.may_save(iteration))
        if reason.startswith(_SIGNAL):
            raise Interrupted(int(reason.removeprefix(_SIGNAL)))
        if reason and not self._stopping.stopped:
            self._stopping.stop(reason)
