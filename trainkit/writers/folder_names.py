"""Check names that become folders: they must not lead out of their parent folder."""

import os
import re
from pathlib import Path
from typing import Any

__all__ = ["check_name", "folder_inside"]

_LONGEST = 255  # maximum bytes of a name on most file systems
_FORBIDDEN = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # on Windows


def check_name(name: Any, what: str = "a sub-run") -> str:
    """Return the name if a folder can have it on every system.

    Args:
        name: Of the folder.
        what: What is called so, for the message.

    Raises:
        TypeError: It is no str.
        ValueError: It would lead out of its folder, or is no name on some system.

    Example:
        >>> check_name("validation")
        'validation'
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of {what} must be a str, got {type(name).__name__} {name!r:.80}")
    why = _fault(name)
    if why:
        raise ValueError(
            f"the name of {what} {why}, got {name!r:.80}; use letters, digits, _ and -"
        )
    return name


def folder_inside(folder: str | os.PathLike[str], name: Any, what: str = "a sub-run") -> Path:
    """The folder of this name in `folder`.

    Raises:
        TypeError, ValueError: The name is none, or a symbolic link that leads elsewhere.
    """
    found = Path(folder) / check_name(name, what)
    if found.is_symlink():
        raise ValueError(
            f"the folder of {what} must be in {str(folder)!r}, and {str(found)!r} is a symbolic "
            "link; remove it, or choose another name"
        )
    return found


def _fault(name: str) -> str:
    if not name.strip() or name in (".", ".."):
        return "must be more than dots and spaces"
    found = _FORBIDDEN.search(name)
    if found:
        return f"must not hold {found.group()!r}"
    if name[-1] in ". " or name[0] == " ":
        return "must not begin or end with a space, or end with a dot"
    if _RESERVED.fullmatch(name):
        return "must not be one that Windows reserves"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "must be valid text"
    return "" if size <= _LONGEST else f"must have at most {_LONGEST} bytes"
