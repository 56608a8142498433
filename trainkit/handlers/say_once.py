"""Log a line once, no matter how many monitors report it."""

import logging
from collections.abc import Sequence
from weakref import WeakKeyDictionary

__all__ = ["listed", "say_once"]

_log = logging.getLogger("trainkit")
_said: "WeakKeyDictionary[object, set[str]]" = WeakKeyDictionary()

_SHOWN = 5


def say_once(among: object, line: str) -> None:
    """Write a line to the log, unless it was said before.

    Args:
        among: What those share who would say the same: a sampler, say. It is not kept alive.
        line: The text.
    """
    said = _said.setdefault(among, set())
    if line not in said:
        said.add(line)
        _log.warning("%s", line)


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are.

    Example:
        >>> listed(["a", "b"]), listed(list("abcdefgh"))
        ('a, b', 'a, b, c, d, e and 3 more')
    """
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
