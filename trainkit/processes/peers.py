"""The other processes of a run: whether they live, why one failed, and when all stop."""

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from trainkit.processes.agreement import Agreement
from trainkit.processes.channel import Channel, ChannelClosedError
from trainkit.processes.errors import OtherProcessError

__all__ = ["Peers"]

_log = logging.getLogger("trainkit.processes")

_EVERY = 0.2  # seconds between two looks
_SILENT = 5.0  # seconds without a sign of life, after which a process counts as lost
_TOGETHER = 60.0  # seconds in which all come to the end of a run
_GRACE = 15.0  # seconds that the training has to fail by itself after another process failed


class Peers:
    """A thread that watches the other processes of a run, by messages beside the collectives.

    A process that fails says why. One that is killed sends no heartbeat any more, and counts as
    lost after five seconds. Then a collective of the other processes fails; where it does not,
    the thread ends its process fifteen seconds later.

    Args:
        channel: To the other processes.
    """

    def __init__(self, channel: Channel) -> None:
        #: To the other processes.
        self.channel = channel
        #: Behind which iteration all processes stop, and behind which they save.
        self.stop, self.save = Agreement(channel, "stop"), Agreement(channel, "save")
        #: Ends this process where its training cannot; gets the reason.
        self.on_stuck: Callable[[str], None] = lambda reason: None
        self._beats: list[tuple[str | None, float]] = [(None, time.monotonic())] * channel.world
        self._parent = os.getppid()
        self._ended = threading.Event()
        self._over = threading.Event()
        self._number = 0
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._watch, name="trainkit-peers", daemon=True)

    def __enter__(self) -> "Peers":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if os.getpid() != self._process:
            return
        self._ended.set()
        reason = ""
        if error is not None and not isinstance(error, OtherProcessError):
            reason = self.reason(error)
            if not reason:
                self.fail(error)
        self._leave(_TOGETHER if error is None or _is_agreed_stop(error) else 5 * _EVERY)
        self._over.set()
        self._close()
        self._thread.join(1.0)
        if reason:
            raise OtherProcessError(reason) from error

    def _leave(self, patience: float) -> None:
        """Leave together: a launcher may end all when the first one has left.

        Args:
            patience: In seconds; of a run that failed the others may be gone.
        """
        with suppress(ChannelClosedError):
            self.channel.put(f"done/{self.channel.rank}", "1")
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline:
                if None not in self.channel.of_all("done"):
                    break
                time.sleep(_EVERY / 4)

    def _close(self) -> None:
        self.stop.close()
        self.save.close()

    def fail(self, error: BaseException) -> None:
        """Tell the others why this process ends early. The first reason that is told counts."""
        if _is_agreed_stop(error):
            return
        text = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        how = "was stopped" if isinstance(error, KeyboardInterrupt) else "failed"
        with suppress(ChannelClosedError):
            self.channel.first("failed", f"process {self.channel.rank} {how}: {text}")

    def training_ended(self) -> None:
        """The training of this process has ended: it is not stuck, but completes its files."""
        self._ended.set()

    def reason(self, error: BaseException) -> str:
        """Why this process ends early, if that is because of another one; else empty.

        torch raises an error when a collective breaks off; the reason arrives here a little later.

        Args:
            error: What this process got.
        """
        if isinstance(error, KeyboardInterrupt) or not _of_a_collective(error):
            return ""
        deadline = time.monotonic() + _SILENT + 3 * _EVERY
        while time.monotonic() < deadline:
            try:
                said = self.channel.get("failed")
            except ChannelClosedError:
                return _lost(0)
            if said is not None:
                own = said.startswith(f"process {self.channel.rank} ")
                return "" if own else said
            time.sleep(_EVERY)
        return ""

    def _watch(self) -> None:
        while not self._over.wait(_EVERY):
            reason = ""
            try:
                self.stop.look()
                self.save.look()
                reason = self._missing()
            except ChannelClosedError:
                reason = _lost(0)
            except Exception as error:
                _log.exception("the other processes are not watched any more: %s", error)
                return
            if reason:
                self._close()  # nobody waits for an answer that may never come
                self._wait_for_the_training(reason)
                return

    def _missing(self) -> str:
        """Why the run cannot go on; empty: all is well."""
        channel, now = self.channel, time.monotonic()
        self._number += 1
        channel.put(f"alive/{channel.rank}", str(self._number))
        said = channel.get("failed")
        if said is not None:
            return said
        if os.getppid() != self._parent:
            return "the process that has started this one is gone"
        if channel.rank != 0:
            return ""
        done = channel.of_all("done")
        for rank, beat in enumerate(channel.of_all("alive")):
            before, since = self._beats[rank]
            if beat != before:
                self._beats[rank] = (beat, now)
            elif before is not None and now - since > _SILENT and done[rank] is None:
                return channel.first("failed", _lost(rank))
        return ""

    def _wait_for_the_training(self, reason: str) -> None:
        """Its next collective fails. Where it is stuck instead, end this process."""
        deadline = time.monotonic() + _GRACE
        while time.monotonic() < deadline:
            if self._ended.is_set() or self._over.wait(_EVERY):
                return
        _log.error("training is stuck after another process has ended: %s", reason)
        self.on_stuck(reason)
        os._exit(1)


def _lost(rank: int) -> str:
    return f"process {rank} was lost: it was killed, or its machine is gone"


def _is_agreed_stop(error: BaseException) -> bool:
    """Whether all processes have agreed to stop here, and the run is being saved."""
    return isinstance(error, KeyboardInterrupt) and not getattr(error, "at_once", True)


def _of_a_collective(error: BaseException) -> bool:
    """Whether torch's collectives may have raised it, because of another process."""
    words = ("gloo", "connection", "nccl", "store", "timed out", "timeout", "socket", "peer")
    text = f"{type(error).__name__} {error}".lower()
    return isinstance(error, RuntimeError | OSError) and any(word in text for word in words)
