"""What happens just before and just after an engine's process function, however that ends."""

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
        self._before, self._after = before, after
        self._function: Any = None
        self._placed = False

    def put(self, engine: Engine) -> None:
        """Be called in place of the process function, the next time."""
        if self._placed:  # the process function was not called: a handler raised, or terminated
            self.take_away(engine)
        # In this order an interrupt after any of these lines does no harm.
        self._function = engine._process_function
        self._placed = True
        engine._process_function = self

    def take_away(self, engine: Engine) -> None:
        """Give the engine its process function back; harmless when that is done."""
        if not self._placed:
            return
        found: Any = engine._process_function
        if found is self:
            engine._process_function = self._function
            found = None
        while isinstance(found, Around):  # others were put around it
            if found._function is self:
                found._function = self._function
                break
            found = found._function
        self._placed = False

    def __call__(self, engine: Engine, batch: Any) -> Any:
        """Call the process function between the two others."""
        function = self._function
        if not self._placed:  # somebody kept it
            return function(engine, batch)
        if engine._process_function is self:  # so it is nearly always
            engine._process_function = function
            self._placed = False
        else:
            self.take_away(engine)
        returned = False
        try:
            self._before(engine)
            output = function(engine, batch)
            returned = True
            return output
        finally:
            try:
                self._after(engine, returned)
            except BaseException:  # Ctrl-C in the very moment in which hooks are taken away
                self._after(engine, False)
                raise


def process_function(engine: Engine) -> Any:
    """The engine's own process function, whatever is put around it now."""
    found: Any = engine._process_function
    while isinstance(found, Around):
        found = found._function
    return found
