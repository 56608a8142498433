"""A place that cannot be written for a while: one log line when that begins, one when it ends."""

import logging
import threading
from time import monotonic
from weakref import WeakSet

__all__ = ["Outage", "failing"]

_log = logging.getLogger("trainkit")

# Seconds from a failure to the next try: doubled each time.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 10.0
# After this many outages, one that begins less than this many seconds after the last is not logged.
_ALWAYS_SAID, _QUIET = 5, 60.0


def failing(writer: object) -> BaseException | None:
    """The exception that keeps a writer from writing now, if it has a `failing`."""
    error = getattr(writer, "failing", None)
    return error if isinstance(error, BaseException) else None


# Outages that go on and were logged: a neighbour that fails for the same reason is not logged.
_said: "WeakSet[Outage]" = WeakSet()


class Outage:
    """Keeps account of one place that may fail: when to try again, and what was lost.

    Args:
        what: What cannot be written, with its path: the beginning of each line in the log.
        beside: What it shares with others that fail when it does, e.g. the folder of a run. Of
            several that fail for the same reason only the first is logged, and each that has lost
            something.
    """

    def __init__(self, what: str, beside: object = None) -> None:
        self.what = what
        self._beside = beside
        self.error: BaseException | None = None
        self._lock = threading.Lock()
        self._pause = FIRST_PAUSE
        self._next_try = 0.0
        self._since = self._ended = 0.0
        self._count = 0
        self._says = False
        self._lost = 0
        self._first_lost = self._last_lost = 0

    def __bool__(self) -> bool:
        """Whether it goes on."""
        return self.error is not None

    @property
    def waits(self) -> bool:
        """Whether it goes on, and it is too early to try again."""
        return self.error is not None and monotonic() < self._next_try

    def fail(self, error: BaseException) -> None:
        """Note a failure; the first one of an outage is logged."""
        with self._lock:
            now = monotonic()
            begins = self.error is None
            if begins:
                self._since, self._pause = now, FIRST_PAUSE
                self._count += 1
                often = self._count > _ALWAYS_SAID and now - self._ended < _QUIET
                self._says = not often and not self._is_said_already(error)
            self.error = error
            self._next_try = now + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
        if begins and self._says:
            _said.add(self)
            _log.error(
                "%s cannot be written (%s: %s); training goes on, and writing is tried again",
                self.what, type(error).__name__, error,
            )  # fmt: skip

    def retry_at_once(self) -> None:
        """Do not wait for the next try."""
        self._next_try = 0.0

    def lose(self, first: int, last: int, count: int) -> None:
        """Note steps that will never be written."""
        with self._lock:
            if not self._lost:
                self._first_lost, self._last_lost = first, last
            elif first == last == self._last_lost:
                return  # another part of the same step
            self._lost += count
            self._first_lost = min(self._first_lost, first)
            self._last_lost = max(self._last_lost, last)

    def end(self) -> None:
        """Writing works again."""
        if self.error is None:
            return
        with self._lock:
            self.error = None
            self._ended = monotonic()
            seconds = self._ended - self._since
            lost = self._take_losses()
        _said.discard(self)
        if self._says or lost:
            _log.warning(
                "%s: written again after %.0f s; %s", self.what, seconds, lost or "nothing was lost"
            )

    def close(self, error: BaseException | None = None) -> None:
        """Nothing will be tried any more: log what was not logged yet.

        If something was lost, `error` keeps the reason.

        Args:
            error: What closing raised: everything not handed on by then is lost.
        """
        with self._lock:
            lost = self._take_losses()
            if error is not None:
                self.error, lost = error, lost or "lost: what it had not handed on"
            error = self.error
            if not lost:
                self.error = None
        _said.discard(self)
        if lost:
            why = "" if error is None else f" ({type(error).__name__}: {error})"
            _log.error("%s: closed without all that was to be written%s; %s", self.what, why, lost)

    def _is_said_already(self, error: BaseException) -> bool:
        return self._beside is not None and any(
            other._beside == self._beside and _alike(error, other.error)
            for other in list(_said)
            if other is not self
        )

    def _take_losses(self) -> str:
        if not self._lost:
            return ""
        count, first, last = self._lost, self._first_lost, self._last_lost
        self._lost = 0
        if first == last:
            return f"lost: step {first}"
        return f"lost: {count} step{'s' if count > 1 else ''} between {first} and {last}"


def _alike(error: BaseException, other: BaseException | None) -> bool:
    if isinstance(error, OSError) and isinstance(other, OSError) and error.errno is not None:
        return error.errno == other.errno
    return type(error) is type(other) and str(error) == str(other)
