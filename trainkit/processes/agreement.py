"""Have all processes do something behind the same iteration: stop, or save."""

import threading

from trainkit.processes.channel import Channel

__all__ = ["Agreement"]


class Agreement:
    """Finds an iteration behind which all processes do the same thing, without a collective.

    1. Any process may ask, at any time: it got a signal, or its time is over.
    2. The thread of each process says which iteration its training has begun.
    3. All do it behind the latest of these iterations.

    A process that has said its iteration begins no later one before it knows the answer. It waits
    for the threads of the others, never for their training, so a collective that is under way
    ends.

    Args:
        channel: Between the processes.
        name: Of what is agreed on.
    """

    def __init__(self, channel: Channel, name: str) -> None:
        self._channel = channel
        self._name, self._number = name, 0
        self._lock = threading.Lock()
        self._begun = 0
        self._said = False
        self._known = threading.Event()
        self._asked = ""
        self._last = 0
        self._closed = False

    def ask(self, reason: str) -> None:
        """Ask all for it; of several reasons the first counts."""
        self._asked = self._asked or reason

    def passed(self, iteration: int, *, possible: bool = True) -> str:
        """This iteration is complete: the reason, if now is the time; else the next one begins.

        Args:
            iteration: 0 before the first.
            possible: Whether it can be done here; the same in all processes. If not, it is done
                behind the first iteration where it can.
        """
        with self._lock:
            if not self._said:
                self._begun = iteration + 1
                return ""
        self._known.wait()
        return self._asked if possible and iteration >= self._last and not self._closed else ""

    def renew(self, iteration: int) -> None:
        """All have done it behind this iteration. From now on it may be asked for again."""
        with self._lock:
            self._number += 1
            self._said, self._asked, self._begun = False, "", iteration + 1
            self._known.clear()

    def look(self) -> None:
        """See whether somebody has asked, answer, and see whether all have; waits for nobody.

        The thread calls it every so often.

        Raises:
            ChannelClosedError: The others are gone.
        """
        if self._known.is_set():
            return
        name = f"{self._name}/{self._number}"
        if not self._said:
            reason = self._channel.get(name)
            if reason is None and self._asked:
                reason = self._channel.first(name, self._asked)
            if reason is None:
                return
            self._asked = reason
            with self._lock:
                self._said = True
                begun = self._begun
            self._channel.put(f"{name}/begun/{self._channel.rank}", str(begun))
        answers = [int(each) for each in self._channel.of_all(f"{name}/begun") if each is not None]
        if len(answers) == self._channel.world:
            self._last = max(answers)
            self._known.set()

    def close(self) -> None:
        """Have no process wait for an answer any more."""
        self._closed = True
        self._known.set()
