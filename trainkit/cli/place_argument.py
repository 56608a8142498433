"""Take the one path out of the arguments of a command; the others are overrides."""

from collections.abc import Callable
from pathlib import Path

from trainkit.cli.failure import UsageError

__all__ = ["place_argument"]


def place_argument(
    command: str, arguments: list[str], exists: Callable[[Path], bool], usage: str
) -> tuple[Path, list[str]]:
    """The path, absolute, and the other arguments.

    Args:
        command: As the user calls it.
        arguments: A path among them may contain `=`, as an override does.
        exists: Whether a path is of the kind that is asked for.
        usage: What to write instead.

    Raises:
        UsageError: There is no such path, or there are several, or there is a flag.
    """
    flag = next((each for each in arguments if each.startswith("-")), None)
    if flag is not None:
        raise UsageError(f"{command}: there is no flag {flag}; trainkit {command} --help")
    places = [each for each in arguments if exists(Path(each))]
    if len(places) != 1:
        given = next((each for each in arguments if "=" not in each), "")
        missing = f"there is no {given!r}; " if given and not places else ""
        raise UsageError(f"{command}: {missing}{usage}")
    return Path(places[0]).resolve(), [each for each in arguments if each != places[0]]
