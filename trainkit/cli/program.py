"""How the shell that called this command can call it again."""

import shlex
import shutil
import sys
from pathlib import Path

__all__ = ["program", "shown_path"]


def program() -> str:
    """`trainkit`, or where it lies: a newcomer's environment is not on the shell's path."""
    own = Path(sys.executable).with_name("trainkit")
    found = shutil.which("trainkit")
    if found and Path(found).resolve() == own.resolve():
        return "trainkit"
    return shown_path(own) if own.exists() else f"{shlex.quote(sys.executable)} -m trainkit"


def shown_path(path: Path) -> str:
    """A path as a shell takes it, from the working folder on where it is inside of that."""
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))
