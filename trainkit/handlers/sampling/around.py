"""Call functions just before and just after an engine's process function, however it ends."""

from collections.abc import Callable
from typing import Any

from ignite.engine import Engine

__all__ = ["Around", "process_function"]


class Around:
    """Takes the place of an engine's process function for one call.

    Ignite has no event that comes whatever becomes of the process function: an exception may be
    swallowed by somebody else's handler, and after `KeyboardInterrupt` nothing is told. So what
    must not outlive the process function (hooks) is made and taken away here.

    Args:
        before: Called with the engine, just before the process function.
        after: Called just after it, with the engine and whether it returned. Neither may raise.
    """

    def __init__(
        self, before: Callable[[Engine], None], after: Callable[[Engine, bool], None]
    ) -> None:
        self.before, self.after = before, after
        self.place: _Place | None = None

    def put(self, engine: Engine) -> None:
        """Be called in place of the process function, the next time."""
        if self.place is not None:  # it was not called: a handler raised, or terminated
            self.take_away(engine)
        # In this order an interrupt after any of these lines does no harm.
        self.place = place = _Place(self, engine._process_function)
        engine._process_function = place

    def take_away(self, engine: Engine) -> None:
        """Give the engine its process function back; harmless when that is done."""
        place = self.place
        if place is None:
            return
        found: Any = engine._process_function
        if found is place:
            engine._process_function = place.function
            found = None
        while isinstance(found, _Place):  # others were put around it
            if found.function is place:
                found.function = place.function
                break
            found = found.function
        place.around = self.place = None  # the last: an interrupt before it is made good later


class _Place:
    """What stands in for the process function of one call, and is never used for another.

    Somebody may put a function of their own around it, which stays. From then on it does nothing
    but call what it stood in for.
    """

    __slots__ = ("around", "function")

    def __init__(self, around: Around, function: Any) -> None:
        self.around: Around | None = around
        self.function = function

    def __call__(self, engine: Engine, batch: Any) -> Any:
        """Call the process function between the two others."""
        function, around = self.function, self.around
        if around is None:
            return function(engine, batch)
        if engine._process_function is self:  # so it is nearly always
            engine._process_function = function
            self.around = around.place = None
        else:
            around.take_away(engine)
        returned = False
        try:
            around.before(engine)
            output = function(engine, batch)
            returned = True
            return output
        finally:
            try:
                around.after(engine, returned)
            except BaseException:  # Ctrl-C in the very moment in which hooks are taken away
                around.after(engine, False)
                raise


def process_function(engine: Engine) -> Any:
    """The engine's own process function, whatever is put around it now."""
    found: Any = engine._process_function
    while isinstance(found, _Place):
        found = found.function
    return found
