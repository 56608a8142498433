"""`trainkit resume`: go on with a run that was interrupted."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from trainkit.cli.failure import status_of
from trainkit.cli.place_argument import place_argument
from trainkit.cli.run import run_one
from trainkit.config.errors import ConfigError
from trainkit.config.resuming import check_resumable
from trainkit.masking import forget_secrets

if TYPE_CHECKING:
    from trainkit.config.compose import Composed

__all__ = ["main"]

_HELP = """\
trainkit resume: go on with a run, from its last state, as if nothing had happened in between

usage: trainkit resume RUN_DIR [KEY=VALUE ...]

The config is that of the run. Overrides on top are allowed where they make sense: more epochs
(trainer.epochs=40), another device (trainer.device=cuda:0), monitor and checkpoint. Model, data,
loss, optimizer, schedule and seed stay what they were; trainkit run --from RUN_DIR begins a new
run.

A run is resumed from checkpoints/last.pt, or from previous.pt where that is damaged. A job that is
put back into a queue goes on by itself with: trainkit run ... hydra.run.dir=DIR trainer.resume=auto
"""


def main(arguments: list[str]) -> int:
    """Resume a run.

    Args:
        arguments: Its folder, and overrides.

    Returns:
        The exit status, as of `trainkit run`.
    """
    if "-h" in arguments or "--help" in arguments:
        print(_HELP, end="")
        return 0
    directory, overrides = place_argument(
        "resume", arguments, Path.is_dir, "it needs the folder of one run: trainkit resume RUN_DIR"
    )
    forget_secrets()
    from trainkit.config.compose import compose_and_run

    status = 0

    def job(composed: "Composed") -> None:
        nonlocal status
        status = run_one(_resumed(composed, directory))[0]

    try:
        check_resumable(directory)
        place = f"hydra.run.dir={_quoted(str(directory))}"
        compose_and_run(["--from", str(directory), place, *overrides], job)
    except ConfigError as error:
        return status_of(error)
    return status


def _resumed(composed: "Composed", directory: Path) -> "Composed":
    """What goes on in its own folder, under its own name."""
    name = OmegaConf.select(OmegaConf.load(directory / "config.yaml"), "name")
    if composed.config.name is None and name is not None:
        composed.config.name = name
    heading = composed.heading.replace("again from", "resumed from", 1)
    return replace(composed, directory=directory, notes=(), heading=heading, resume=True)


def _quoted(path: str) -> str:
    """As Hydra reads it: without commas, equal signs and interpolations of its own."""
    text = path.replace("\\", "\\\\").replace("'", "\\'").replace("${", "\\${")
    return f"'{text}'"
