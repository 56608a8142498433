"""`trainkit rerun`: repeat a run from what it captured, and compare."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trainkit.cli.failure import status_of
from trainkit.cli.place_argument import place_argument
from trainkit.cli.run import run_one
from trainkit.config.errors import ConfigError
from trainkit.masking import forget_secrets
from trainkit.screen import titled

if TYPE_CHECKING:
    from trainkit.config.compose import Composed

__all__ = ["main"]

_HELP = """\
trainkit rerun: repeat a run from its own config, say what differs now, and compare the curves

usage: trainkit rerun RUN_DIR [KEY=VALUE ...]

Before: what is otherwise now (packages, commit, uncommitted changes, machine). The new run goes
into a folder of its own. Behind it: every scalar series of the two runs, value by value at the
steps that both have. Exit status 0 if all are the same bit by bit, 1 if not.

On one machine a run repeats itself; trainer.deterministic=true keeps CUDA from drawing lots.
"""
_SHOWN = 5


def main(arguments: list[str]) -> int:
    """Repeat a run.

    Args:
        arguments: Its folder, and overrides.

    Returns:
        The exit status: that of the run, or 1 if a curve differs.
    """
    if "-h" in arguments or "--help" in arguments:
        print(_HELP, end="")
        return 0
    earlier, overrides = place_argument(
        "rerun", arguments, Path.is_dir, "trainkit rerun RUN_DIR [KEY=VALUE]"
    )
    forget_secrets()
    from trainkit.config.compose import compose_and_run

    status, directory = 0, earlier

    def job(composed: "Composed") -> None:
        nonlocal status, directory
        from trainkit.rundir.surroundings import changed_surroundings

        changed = changed_surroundings(earlier)
        for line in changed or ["nothing that was captured"]:
            print(titled("differs", line))
        status, result, _ = run_one(replace(composed, notes=()))
        directory = composed.directory if result is None else result.directory

    try:
        compose_and_run(["--from", str(earlier), *overrides], job)
    except ConfigError as error:
        return status_of(error)
    return status or _compared(earlier, directory)


def _compared(earlier: Path, now: Path) -> int:
    """Print how the curves differ; 0 if they do not."""
    from trainkit.rundir.curves import compare_curves, read_curves

    then, found = read_curves(earlier), read_curves(now)
    points = sum(len({s for s, _ in found[tag]} & {s for s, _ in then[tag]})
                 for tag in found.keys() & then.keys())  # fmt: skip
    differences = compare_curves(then, found)
    if not differences:
        print(titled("curves", f"all {points:,} points of {len(found)} series are the same"))
        return 0
    total = len(then.keys() | found.keys())
    print(titled("curves", f"{len(differences)} of {total} series differ"))
    for each in differences[:_SHOWN]:
        where = f"from step {each.step}, by {each.relative:.3g} at most (relative)"
        print(titled("", f"{each.tag}: {where if each.step is not None else 'only in one run'}"))
    return 1
