"""`trainkit list`: the menu."""

from collections.abc import Sequence

from trainkit.cli.failure import UsageError
from trainkit.config.sources import Source, experiments, first_line, groups, never_used

__all__ = ["main"]

_HELP = """\
usage: trainkit list

Experiments with what each shows, and every group with its options, trainkit's and your own
(./experiments/<name>.yaml, ./configs/<group>/<option>.yaml).
"""


def main(arguments: Sequence[str]) -> int:
    """Print experiments and groups.

    Raises:
        UsageError: There are arguments.
    """
    if arguments and arguments[0] in ("-h", "--help"):
        print(_HELP)
        return 0
    if arguments:
        raise UsageError(f"list takes no arguments, got {' '.join(arguments)}")
    print("experiments (trainkit run +experiment=NAME)")
    _rows(experiments())
    for group, options in groups().items():
        print(f"\n{group} (trainkit run {group}=OPTION)")
        _rows(options)
    lost = never_used()
    if lost:
        print("", *lost.values(), sep="\n")
    return 0


def _rows(sources: Sequence[Source]) -> None:
    width = max((len(source.name) for source in sources), default=0)
    for source in sources:
        own = "  (yours)" if source.own else ""
        print(f"  {source.name:<{width}}  {first_line(source.path)}{own}".rstrip())
