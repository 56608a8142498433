"""In which iterations to measure."""

from collections.abc import Callable
from inspect import signature
from numbers import Integral
from typing import Any, Protocol

from ignite.engine import Engine
from ignite.engine.events import CallableEventWithFilter, EventsList

__all__ = ["Cadence", "Every", "Filtered", "When", "as_cadence"]

# Ignite's events of iterations; others do not come once in each.
_EVENTS = ("ITERATION_STARTED", "ITERATION_COMPLETED", "GET_BATCH_STARTED", "GET_BATCH_COMPLETED")


class Cadence(Protocol):
    """Says which iterations are sampled.

    More methods are called where there are any: `plan(iteration, last)`, when an epoch begins, with
    the last iteration that is over and the one with which the run will end (None: not known);
    `spend_beside(seconds)`, with the processor
    time that the writer's thread took since the last call, or what the monitors took of a device
    beyond the host's time; `pause(seconds)`, when an epoch begins, with the time since the last
    iteration; and `alarm(iteration)`, when something was not finite in that iteration, by whichever
    thread has seen it.
    """

    def due(self, iteration: int) -> bool:
        """Whether to measure in this iteration (the first is 1)."""

    def spend(self, seconds: float) -> None:
        """Take note of what measuring cost, in seconds of host time."""


class Every:
    """The first iteration, so that there is something to see at once, and then every n-th.

    Args:
        every: In iterations, 1 or more; NumPy's integers too.

    Raises:
        TypeError: `every` is not an integer.
        ValueError: `every` is less than 1.

    Example:
        >>> [i for i in range(1, 10) if Every(4).due(i)]
        [1, 4, 8]
    """

    def __init__(self, every: int) -> None:
        if not _is_integer(every):
            raise TypeError(f"every must be a number of iterations, got {every!r}")
        if every < 1:
            raise ValueError(f"every must be at least 1 iteration, got {every}")
        self.every: int = int(every)

    def due(self, iteration: int) -> bool:
        """Whether to measure in this iteration (the first is 1)."""
        return iteration == 1 or iteration % self.every == 0

    def spend(self, seconds: float) -> None:
        """Do nothing: a fixed cadence costs what it costs."""


class Filtered:
    """The iterations that a function picks, as an event filter of Ignite's does.

    Args:
        function: Called with the engine and the iteration (the first is 1), in every iteration.

    Raises:
        TypeError: It cannot be called so.

    Example:
        >>> [i for i in range(1, 9) if Filtered(lambda engine, i: i in (2, 5)).due(i)]
        [2, 5]
    """

    def __init__(self, function: Callable[[Engine, int], bool]) -> None:
        try:
            signature(function).bind(None, 1)
        except TypeError as error:
            raise TypeError(
                f"every must take the engine and the iteration, (engine, iteration) -> bool, got "
                f"{function!r:.80} ({error})"
            ) from None
        except ValueError:  # a function of C does not tell
            pass
        self._function = function
        self._engine: Any = None

    def serve(self, engine: Engine) -> None:
        """Be asked about the iterations of this engine from now on."""
        self._engine = engine

    def due(self, iteration: int) -> bool:
        """Whether to measure in this iteration (the first is 1)."""
        return bool(self._function(self._engine, iteration))

    def spend(self, seconds: float) -> None:
        """Do nothing: it costs what it costs."""


#: How often to measure: a number of iterations, a function of the engine and the iteration, an
#: event of Ignite's with a filter (`Events.ITERATION_COMPLETED(every=4)`), or a cadence.
When = int | Cadence | Callable[[Engine, int], bool] | CallableEventWithFilter


def as_cadence(every: Any) -> Cadence:
    """The cadence itself, or the one that a number, a function or an event stands for.

    Raises:
        TypeError: It is none of these.
        ValueError: It is a number less than 1.

    Example:
        >>> from ignite.engine import Events
        >>> cadence = as_cadence(Events.ITERATION_COMPLETED(every=4))
        >>> [i for i in range(1, 10) if cadence.due(i)]
        [4, 8]
    """
    if isinstance(every, EventsList):
        raise TypeError(f"every must be one event, got {len(every)} of them joined with |")
    if isinstance(every, CallableEventWithFilter):
        if every.name not in _EVENTS:
            raise TypeError(
                "every must be an event of iterations, such as "
                f"Events.ITERATION_COMPLETED(every=4), got {every!r}"
            )
        return Every(1) if every.filter is None else Filtered(every.filter)
    if not isinstance(every, type):
        if callable(getattr(every, "due", None)):
            found: Cadence = every
            return found
        if callable(every):
            return Filtered(every)
    if not _is_integer(every):
        raise TypeError(
            "every must be a number of iterations, a function (engine, iteration) -> bool, an "
            f"event such as Events.ITERATION_COMPLETED(every=4), or a cadence, got {every!r}"
        )
    return Every(every)


def _is_integer(every: Any) -> bool:
    return isinstance(every, Integral) and not isinstance(every, bool)
