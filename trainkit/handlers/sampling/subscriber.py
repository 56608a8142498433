"""What a sampler knows of a monitor: which function to call at which moment."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch.optim import Optimizer

from trainkit.handlers.sampling.guard import Guard
from trainkit.handlers.sampling.moment import Moment
from trainkit.writers.guarded import GuardedWriter

__all__ = ["Call", "Measures", "Subscriber", "checked_moments"]

#: A function of a monitor, and the guard that gets its exception.
Call = tuple[Callable[..., Any], Guard]


class Measures(Protocol):
    """What a sampler asks of a monitor."""

    writer: GuardedWriter
    optimizers: Mapping[str, Optimizer]
    waits_through_skips: bool

    def remove_handles(self) -> None:
        """Remove the event handlers that the monitor added by itself."""


@dataclass(eq=False, frozen=True, slots=True)
class Subscriber:
    """One monitor, attached.

    Args:
        moments: Its functions.
        guard: Catches what they raise.
        optimizers: Whose steps it observes; key → optimizer.
        waits_through_skips: Whether it waits for the next step after the loss scaler skipped one.
        remove_handles: Removes the monitor's own event handlers.
    """

    moments: Mapping[Moment, Callable[..., Any]]
    guard: Guard
    optimizers: Mapping[str, Optimizer]
    waits_through_skips: bool
    remove_handles: Callable[[], None]

    def call(self, moment: Moment, *args: Any) -> None:
        """Call the function of a moment, if there is one, guarded."""
        function = self.moments.get(moment)
        if function is not None:
            try:
                function(*args)
            except Exception as error:
                self.guard.fail(error)


def checked_moments(name: str, found: Any) -> Mapping[Moment, Callable[..., Any]]:
    """What `moments()` of a monitor returned, as a mapping of its own.

    Args:
        name: Of the monitor's class.
        found: The result.

    Raises:
        TypeError: It is no mapping from `Moment` to function.
    """
    if not isinstance(found, Mapping):
        raise TypeError(f"{name}.moments() must return a mapping, got {type(found).__name__}")
    for moment, function in found.items():
        if not isinstance(moment, Moment) or not callable(function):
            raise TypeError(
                f"{name}.moments() must map moments to functions, e.g. "
                f"{{Moment.ITERATION_COMPLETED: self.end}}, got {{{moment!r}: {function!r:.80}}}"
            )
    return dict(found)
