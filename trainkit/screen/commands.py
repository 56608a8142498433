"""Commands that can be copied from the screen."""

import os
import shlex
import shutil
import sys
from pathlib import Path

__all__ = [
    "again_command",
    "board_command",
    "is_of_sweep",
    "program",
    "replay_command",
    "resume_command",
    "shown_path",
]


def board_command(directory: Path) -> str:
    """What shows this folder in TensorBoard."""
    return f"{program()} board {shlex.quote(shown_path(directory))}"


def again_command(directory: Path) -> str:
    """What trains again from this run's config."""
    return f"{program()} run --from {shlex.quote(shown_path(directory))}"


def resume_command(directory: Path) -> str:
    """What goes on with this run."""
    return f"{program()} resume {shlex.quote(shown_path(directory))}"


def replay_command(bundle: Path) -> str:
    """What makes the step of this bundle again."""
    return f"{program()} replay {shlex.quote(shown_path(bundle))}"


def program() -> str:
    """How this shell can call trainkit: a newcomer's environment is not on its path."""
    own = Path(sys.executable).with_name("trainkit")
    found = shutil.which("trainkit")
    if found and Path(found).resolve() == own.resolve():
        return "trainkit"
    if own.exists():
        return shlex.quote(shown_path(own))
    return f"{shlex.quote(sys.executable)} -m trainkit"


def is_of_sweep(directory: Path) -> bool:
    """Whether this run is one of a sweep: the sweep says once what shows all of them."""
    return (directory.parent / "multirun.yaml").is_file()


def shown_path(path: Path) -> str:
    """As seen from the working folder, where it is inside of it."""
    try:
        here = Path(os.getcwd())
    except OSError:  # the working folder was removed
        return str(path)
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
