"""Hands finished steps to sinks that may fail: what a sink refuses is kept and tried again."""

from collections import deque
from collections.abc import Iterator, Sequence

from trainkit.writers.outage import Outage, failing
from trainkit.writers.protocol import Sink
from trainkit.writers.sinks.subsinks import sub_sink
from trainkit.writers.step.host_step import HostBlock, HostItem, Step, Steps, items_of

__all__ = ["Deliveries", "Delivery"]

# Maximum of kept numbers (eight bytes each) during an outage; the oldest are dropped first.
KEPT = 1 << 21
# A step that was refused so often is given up if another one is taken: it is at fault then, and
# must not hold up those behind it.
_TRIES = 3
# What a step takes beside its values (its mappings and arrays), in numbers of eight bytes.
_STEP_SIZE = 100


class Delivery:
    """Hands steps to one sink, in order, and never raises.

    What the sink refuses (a service that cannot be reached) is kept, up to 16 MiB, and tried
    again. One line in the log says when it fails, one when it works again, with what was lost.

    Args:
        sink: Gets the steps.
        beside: What it shares with other sinks that fail when it does, as in `Outage`.
        one_by_one: Whether it gets a single step with each call.
    """

    def __init__(self, sink: Sink, beside: object = None, *, one_by_one: bool = False) -> None:
        self.sink = sink
        self.outage = Outage(_name(sink), beside)
        self._one_by_one = one_by_one
        self._waiting: deque[HostItem] = deque()
        self._size = 0
        self._tries = 0
        # What failed last: only when that works again the outage is over. A sink that collects
        # batches takes steps while the service behind it cannot be reached.
        self._failed = "write"

    @property
    def failing(self) -> BaseException | None:
        """What keeps the sink from writing now."""
        return self.outage.error or failing(self.sink)

    def write(self, steps: Sequence[Step]) -> None:
        """Write these, behind those that wait."""
        if not (self._one_by_one or self._waiting or self.outage):
            try:
                self.sink.write(steps)
            except Exception as error:
                if len(items_of(steps)) == 1:
                    self._tries = 1
                    self._fail("write", error)
            else:
                return
        for item in steps if self._one_by_one else items_of(steps):
            self._waiting.append(item)
            self._size += _size(item)
        self.retry()

    def retry(self, at_once: bool = False) -> None:
        """Try to write what waits, unless it is too early."""
        while self._waiting and (at_once or not self.outage.waits):
            error = self._try(0)
            if error is None:
                self._succeed("write")
                continue
            self._tries += 1
            # Trying a value of the wrong type again is useless.
            hopeless = isinstance(error, (TypeError, ValueError))
            often = at_once or self._tries >= _TRIES
            if hopeless:
                self.outage.retry_at_once()
            if (hopeless or often) and self._split():
                continue
            if hopeless:
                self._lose()
            elif often and self._another_is_taken():
                self._lose()
                self._succeed("write")
            else:
                break
        while self._size > KEPT and self._waiting:
            self._lose()

    def _try(self, place: int) -> Exception | None:
        """Write the item at this place of those that wait, and take it out."""
        item = self._waiting[place]
        try:
            self.sink.write(Steps([item]))
        except Exception as error:
            self._fail("write", error)
            return error
        self._take_out(place)
        return None

    def _another_is_taken(self) -> bool:
        """Try one that waits behind the first: whether only the first is refused."""
        others = len(self._waiting) - 1
        if not others:
            return False
        # A different one each time, because the next one may be faulty too.
        return self._try(1 + max(0, self._tries - _TRIES) % others) is None

    def _split(self) -> bool:
        """Put the steps of a block in its place; False where the first item is no block."""
        item = self._waiting[0]
        if not isinstance(item, HostBlock) or len(item) < 2:
            return False
        self._take_out(0)
        for step in reversed(item.alone()):
            self._waiting.appendleft(step)
            self._size += _size(step)
        return True

    def flush(self) -> None:
        """Write what waits and flush the sink, unless it is too early to try again."""
        self.retry()
        if self.outage.waits:
            return
        try:
            self.sink.flush()
        except Exception as error:
            self._fail("flush", error)
        else:
            self._succeed("flush")

    def close(self) -> None:
        """Try a last time, and close the sink; what is lost is said."""
        self.retry(at_once=True)
        while self._waiting:
            self._lose()
        try:
            self.sink.close()
        except Exception as error:
            self.outage.close(error)
        else:
            self.outage.close()

    def _fail(self, what: str, error: Exception) -> None:
        self._failed = what
        self.outage.fail(error)

    def _succeed(self, what: str) -> None:
        if self._failed == what:
            self.outage.end()

    def _lose(self) -> None:
        item = self._waiting[0]
        if not isinstance(item, HostBlock):
            self.outage.lose(item.step, item.step, 1)
        elif len(item):
            self.outage.lose(int(item.steps[0]), int(item.steps[-1]), len(item))
        self._take_out(0)

    def _take_out(self, place: int) -> None:
        self._size -= _size(self._waiting[place])
        del self._waiting[place]
        if not place:
            self._tries = 0


class Deliveries:
    """Hands the same steps to several sinks. A sink that fails costs only itself.

    Args:
        sinks: Get the steps, in this order.
        beside: As in `Outage`.
    """

    def __init__(self, sinks: Sequence[Sink], beside: object = None) -> None:
        self._main = [Delivery(sink, beside) for sink in sinks]
        self._added: tuple[Delivery, ...] = ()  # replaced, never changed: another thread reads it

    def __repr__(self) -> str:
        return ", ".join(_name(delivery.sink) for delivery in self._main)

    def __iter__(self) -> Iterator[Delivery]:
        yield from self._added
        yield from self._main

    @property
    def failing(self) -> BaseException | None:
        """What keeps one of the sinks from writing now."""
        found = (delivery.failing for delivery in self)
        return next((error for error in found if error is not None), None)

    @property
    def failures(self) -> dict[str, BaseException]:
        """What keeps each of the sinks that fail from writing now, by the sink's name."""
        found = {_name(delivery.sink): delivery.failing for delivery in self}
        return {name: error for name, error in found.items() if error is not None}

    @property
    def all_fail(self) -> bool:
        """Whether none of the sinks that it began with takes steps now."""
        return all(delivery.outage for delivery in self._main)

    def add(self, sink: Sink) -> None:
        """Hand everything from now on to one more sink."""
        self._added = (*self._added, Delivery(sink))

    def remove(self, sink: Sink) -> None:
        """Hand nothing more to a sink that was added; it is not closed."""
        self._added = tuple(delivery for delivery in self._added if delivery.sink is not sink)

    def write(self, steps: Sequence[Step]) -> None:
        """Write these to every sink."""
        for delivery in self:
            delivery.write(steps)

    def lose(self, step: int) -> None:
        """Take note of a step that no sink will get."""
        for delivery in self._main:
            delivery.outage.lose(step, step, 1)

    def flush(self) -> None:
        """Write what waits, and flush every sink."""
        for delivery in self:
            delivery.flush()

    def close(self) -> None:
        """Try a last time, and close every sink."""
        for delivery in self:
            delivery.close()

    def sub_sinks(self, name: str) -> list[Sink]:
        """The sub-run of each of the sinks that it began with."""
        return [sub_sink(delivery.sink, name) for delivery in self._main]


def _name(sink: Sink) -> str:
    if type(sink).__repr__ is object.__repr__:
        return type(sink).__name__
    try:
        return repr(sink)
    except Exception:  # it is asked for the log
        return f"a {type(sink).__name__}"


def _size(item: HostItem) -> int:
    """The size of a step in memory, in numbers of eight bytes or so."""
    if isinstance(item, HostBlock):
        return 1 + int(item.values.size)
    scalars = sum(len(chunk.values) for chunk in item.chunks)
    histograms = sum(2 * len(h.counts) for h in item.histograms.values())
    images = sum(image.size // 8 for image in item.images.values())
    curves = sum(curve.size // 2 for curve in item.pr_curves.values())
    texts = sum(len(text) // 8 for text in item.texts.values())
    return _STEP_SIZE + scalars + histograms + images + curves + texts
