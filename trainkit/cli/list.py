"""`trainkit list`: the available experiments and options."""

import sys
import textwrap
from collections.abc import Sequence

from trainkit.cli.failure import UsageError
from trainkit.config.errors import ConfigError, nearest
from trainkit.config.sources import Source, experiments, first_line, groups, never_used
from trainkit.screen.terminal import width_of

__all__ = ["main"]

_HELP = """\
usage: trainkit list
       trainkit list GROUP
       trainkit list GROUP=OPTION
       trainkit list experiment=NAME

Experiments with what each shows, and every group with its options, trainkit's and your own
(./experiments/<name>.yaml, ./configs/<group>/<option>.yaml); of one option its keys, what they
hold and what they mean.
"""

# A longer name has its text on the next line.
_WIDEST = 24


def main(arguments: Sequence[str]) -> int:
    """Print experiments and groups, or the keys of an option.

    Raises:
        UsageError: There is more than one argument.
        ConfigError: There is no such group or option.
    """
    if arguments and arguments[0] in ("-h", "--help"):
        print(_HELP)
        return 0
    if len(arguments) > 1:
        raise UsageError(f"list takes one group or option, got {' '.join(arguments)}")
    if arguments:
        group, equals, option = arguments[0].lstrip("+").partition("=")
        _one(group.removesuffix("s") if group == "experiments" else group, option if equals else "")
        return 0
    print("experiments (trainkit run +experiment=NAME)")
    _rows(experiments())
    for group, options in groups().items():
        print(f"\n{group} (trainkit run {group}=OPTION)")
        _rows(options)
    lost = never_used()
    if lost:
        print("", *lost.values(), sep="\n")
    return 0


def _one(group: str, option: str) -> None:
    members = {"experiment": experiments(), **groups()}
    if group not in members:
        names = [source.name for source in members["experiment"]]
        if group in names and not option:
            group, option = "experiment", group
        else:
            raise ConfigError(f"there is no group {group!r}{nearest(group, members)}")
    sources = members[group]
    if not option:
        plus = "+" if group == "experiment" else ""
        print(f"{group} (trainkit run {plus}{group}=OPTION)")
        _rows(sources)
        return
    source = next((source for source in sources if source.name == option), None)
    if source is None:
        what = "experiment" if group == "experiment" else f"option of {group}"
        near = nearest(option, [each.name for each in sources])
        raise ConfigError(f"there is no {what} {option!r}{near}")
    print(f"{group}={option}  {first_line(source.path)}".rstrip())
    print(f"  in {source.shown}\n")
    if group == "experiment":
        print(source.path.read_text(encoding="utf-8", errors="replace").rstrip())
        return
    from trainkit.cli.help import rows
    from trainkit.config.preview import look_up

    lines = rows(group.replace("/", "."), look_up([f"{group}={option}"]))
    print("\n".join(lines) if lines else "  it holds no key")


def _rows(sources: Sequence[Source]) -> None:
    names = [len(source.name) for source in sources if len(source.name) <= _WIDEST]
    width = max(names, default=0)
    for source in sources:
        text = first_line(source.path) + ("  (yours)" if source.own else "")
        if len(source.name) > _WIDEST:
            print(f"  {source.name}")
            name = ""
        else:
            name = source.name
        indent = " " * (width + 4)
        # In a pipe: one option per line, of any length, for grep.
        room = max(width_of(sys.stdout) or 100_000, width + 34)
        lines = textwrap.wrap(text, room - len(indent)) or [""]
        print(f"  {name:<{width}}  {lines[0]}".rstrip())
        for line in lines[1:]:
            print(f"{indent}{line}")
