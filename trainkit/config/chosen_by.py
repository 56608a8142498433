"""Find out where an option was chosen: on the command line, or in which line of a file."""

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from trainkit.config.command_line import Arguments
from trainkit.config.origins import COMMAND_LINE, defaults_of
from trainkit.config.sources import Source, experiments, groups

__all__ = ["circle", "may_be_chosen", "who_chose"]


def who_chose(option: str, inside: str, given: Arguments) -> str:
    """Where `group/option` was chosen, as a message begins with it; nothing where it is unclear.

    Args:
        option: As Hydra names it (`model/cnn`); without an option (`model/`) it is any.
        inside: The file in whose defaults list Hydra met it, in Hydra's words.
        given: The command line.
    """
    group, _, name = option.rpartition("/")
    for override in given.choices:
        if re.match(rf"\+*{re.escape(group)}(@[\w.]*)?={re.escape(name)}$", override):
            return f"{COMMAND_LINE}: "
    # `- override /model: cnn`, or beside it `- cnn`
    key = re.escape(group.removeprefix("experiment/"))
    asks = re.compile(
        rf"\W{key}(@[\w.]*)?['\"]?\s*:\s*{re.escape(name)}|[-\[,]\s*{re.escape(name)}\b"
    )
    for source in _asking(inside, given):
        lines = source.path.read_text(encoding="utf-8", errors="replace").splitlines()
        for number, line in enumerate(lines, start=1):
            if asks.search(line):
                return f"{source.shown}:{number}: "
    return ""


def _asking(inside: str, given: Arguments) -> Iterator[Source]:
    for source in experiments():
        asked = any(fnmatchcase(source.name, pattern) for pattern in given.experiments)
        if asked or f"experiment/{source.name}" == inside:
            yield source
    for group, sources in groups(given.config_dir).items():
        yield from (source for source in sources if f"{group}/{source.name}" == inside)


def may_be_chosen(option: str, given: Arguments) -> bool:
    """Whether a run with these arguments may want `group/option` or `experiment/name`."""
    group, _, name = option.rpartition("/")
    if group == "experiment":
        return any(fnmatchcase(name, pattern) for pattern in given.experiments)
    chosen = [c.lstrip("+").split("=", 1) for c in given.choices]
    wanted = [value for key, value in chosen if key.partition("@")[0] == group]
    return not wanted or name in wanted


def circle(members: Mapping[str, Sequence[Source]], given: Arguments) -> str:
    """What to say where defaults lists never come to an end: which of them lead to themselves.

    Args:
        members: The options of each group.
        given: The command line: a circle in what it chooses comes first.
    """
    for wanted in (True, False):
        for group, sources in (("experiment", experiments()), *members.items()):
            by_name = {source.name: source.path for source in sources}
            for source in sources:
                named = [f"{group}={source.name}" in choice for choice in given.choices]
                named += [source.name in given.experiments] if group == "experiment" else []
                if any(named) is not wanted or not _leads_back(source.name, by_name):
                    continue
                return f"{source.shown}: its defaults list leads back to itself"
    return "the defaults list of one of the files leads back to itself"


def _leads_back(start: str, by_name: Mapping[str, Path]) -> bool:
    waiting, seen = [start], set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in by_name:
            continue
        seen.add(name)
        further = [str(item) for item in defaults_of(by_name[name]) if isinstance(item, str)]
        if start in further:
            return True
        waiting += further
    return False
