"""Handing steps to a writer that may fail: what it refuses is kept and tried again."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from trainkit.writers.outage import Outage
from trainkit.writers.step.host_step import HostBlock, HostItem

__all__ = ["Delivery"]

# So many numbers are kept while they cannot be written; the oldest go first.
_KEPT = 1 << 20
# A step that was refused so often is given up, so that it does not hold up those behind it.
_TRIES = 3


class Delivery:
    """Hands steps to one place, in order, and never raises.

    What the place refuses (a service that cannot be reached) is kept and tried again; one line in
    the log says when it fails, one when it works again, with what was lost.

    Args:
        what: The place: the beginning of each line in the log.
        write: Takes some steps; what it raises is a failure of the place, or of one of them.
        together: Whether it may be given several steps in one call. Where that fails, each of
            them is given to it again by itself.
        beside: What it shares with others that fail when it does, as in `Outage`.
    """

    def __init__(
        self,
        what: str,
        write: Callable[[Sequence[HostItem]], object],
        *,
        together: bool,
        beside: object = None,
    ) -> None:
        self.outage = Outage(what, beside)
        self._write = write
        self._together = together
        self._waiting: deque[HostItem] = deque()
        self._size = 0
        self._tries = 0

    def write(self, host_steps: Sequence[HostItem]) -> None:
        """Write these, behind those that wait."""
        if self._together and not self._waiting and not self.outage:
            try:
                self._write(host_steps)
            except Exception as error:
                if len(host_steps) == 1:
                    self._tries = 1
                    self.outage.fail(error)
            else:
                return
        for host_step in host_steps:
            self._waiting.append(host_step)
            self._size += _size(host_step)
        self.retry()

    def retry(self, at_once: bool = False) -> None:
        """Try to write what waits, unless it is too early."""
        while self._waiting and (at_once or not self.outage.waits):
            host_step = self._waiting[0]
            try:
                self._write([host_step])
            except Exception as error:
                self.outage.fail(error)
                self._tries += 1
                # A value of the wrong kind will not become one of the right kind.
                hopeless = isinstance(error, (TypeError, ValueError))
                if hopeless or self._tries >= _TRIES:
                    self._give_up(host_step)
                if not hopeless:
                    break
                self.outage.retry_at_once()
            else:
                self._forget()
                self.outage.end()
        while self._size > _KEPT and self._waiting:
            self._give_up(self._waiting[0])

    def attempt(self, act: Callable[[], Any]) -> None:
        """Do something else with the place, such as flushing it, unless it is too early."""
        if self.outage.waits:
            return
        try:
            act()
        except Exception as error:
            self.outage.fail(error)
        else:
            if not self._waiting:
                self.outage.end()

    def close(self, act: Callable[[], Any]) -> None:
        """Try a last time, and close the place; what is lost is said."""
        self.retry(at_once=True)
        while self._waiting:
            self._give_up(self._waiting[0])
        try:
            act()
        except Exception as error:
            self.outage.fail(error)
        self.outage.close()

    def _give_up(self, host_step: HostItem) -> None:
        if isinstance(host_step, HostBlock):
            if len(host_step.steps):
                steps = host_step.steps
                self.outage.lose(int(steps[0]), int(steps[-1]), len(steps))
        else:
            self.outage.lose(host_step.step, host_step.step, 1)
        self._forget()

    def _forget(self) -> None:
        self._tries = 0
        self._size -= _size(self._waiting.popleft())


def _size(host_step: HostItem) -> int:
    """Of a step, in numbers of eight bytes or so."""
    if isinstance(host_step, HostBlock):
        return 1 + int(host_step.values.size)
    scalars = sum(len(chunk.values) for chunk in host_step.scalars)
    histograms = sum(2 * len(h.counts) for h in host_step.histograms.values())
    images = sum(image.size // 8 for image in host_step.images.values())
    texts = sum(len(text) // 8 for text in host_step.texts.values())
    return 1 + scalars + histograms + images + texts
