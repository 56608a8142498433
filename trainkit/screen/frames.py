"""The lines of a traceback that are the user's own."""

import sysconfig
import traceback
from pathlib import Path

from trainkit.screen.commands import shown_path

__all__ = ["own_frames"]

_PACKAGE = Path(__file__).parents[1]


def own_frames(error: BaseException, limit: int = 6) -> list[str]:
    """Where in the user's own files an exception passed, the innermost last.

    Left out are Python's library, installed packages and trainkit itself. A cause (`raise ...
    from error`) that has frames of the user's comes before what it led to.

    Args:
        error: It was raised.
        limit: At most so many frames, the innermost.

    Example:
        >>> own_frames(ValueError("never raised"))
        []
    """
    paths = sysconfig.get_paths()
    foreign = [Path(paths[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.insert(0, error)
        cause = error.__cause__
        if cause is None:
            break
        error = cause
    frames = [
        frame
        for each in chain
        for frame in traceback.extract_tb(each.__traceback__)
        if not frame.filename.startswith("<") and not _is_foreign(Path(frame.filename), foreign)
    ]
    return [
        f"{shown_path(Path(frame.filename))}:{frame.lineno}, in {frame.name}: {frame.line}"
        for frame in frames[-limit:]
    ]


def _is_foreign(path: Path, foreign: list[Path]) -> bool:
    inside = {"site-packages", "dist-packages"} & set(path.parts)
    return bool(inside) or any(path.is_relative_to(each) for each in (_PACKAGE, *foreign))
