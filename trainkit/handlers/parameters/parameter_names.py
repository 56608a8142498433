"""Names of parameters, with what was worked out for them."""

from collections.abc import Callable, Hashable, Sequence
from itertools import compress
from typing import Any, TypeVar

__all__ = ["ParameterNames"]

T = TypeVar("T")

_MOST = 64


class ParameterNames(tuple[str, ...]):
    """A tuple of names that keeps what depends on it: tags, layouts, subsets.

    There may be thousands of names, and a step asks several times for the same; hashing them each
    time is measurable. So whatever depends on them is kept here, and goes when they go.

    Example:
        >>> names = ParameterNames(("a", "b", "c"))
        >>> names.at([0, 2])
        ('a', 'c')
        >>> names.at([0, 2]) is names.at([0, 2])
        True
    """

    _known: dict[Hashable, Any]

    def __new__(cls, names: Sequence[str]) -> "ParameterNames":
        """Nothing is known of the names yet."""
        found = super().__new__(cls, names)
        found._known = {}
        return found

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What was made for this key before, or what is made now.

        Args:
            key: Of what depends on the names.
            make: Called when the key is new.
        """
        found: T | None = self._known.get(key)
        if found is None:
            if len(self._known) >= _MOST:  # of sizes that change for ever
                self._known.clear()
            self._known[key] = found = make()
        return found

    def present(self, which: Sequence[bool]) -> "ParameterNames":
        """Those names for which it is True."""
        if all(which):
            return self
        return self.once(
            ("present", tuple(which)), lambda: ParameterNames(tuple(compress(self, which)))
        )

    def at(self, positions: Sequence[int]) -> "ParameterNames":
        """The names at these positions."""
        return self.once(
            ("at", tuple(positions)), lambda: ParameterNames(tuple(self[i] for i in positions))
        )
