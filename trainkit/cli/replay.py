"""`trainkit replay`: make the step again in which a run met its first value that is not finite."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from trainkit.cli.failure import UsageError, status_of
from trainkit.cli.place_argument import place_argument
from trainkit.config.errors import ConfigError
from trainkit.masking import forget_secrets
from trainkit.screen import titled

if TYPE_CHECKING:
    from trainkit.config.compose import Composed

__all__ = ["main"]

_HELP = """\
trainkit replay: make the step again in which a run met its first value that is not finite

usage: trainkit replay BUNDLE [KEY=VALUE ...]

BUNDLE is RUN_DIR/non_finite/bundle.pt. It holds the batch, the weights, the state of the optimizer
and the random state from before that step, and the config; no code in it is executed, but the
config names classes, and these are. Overrides on top: another device, say.

Prints whether the loss is the same bit by bit, what produced the first value that is not finite,
and the modules around it with the extremes of what they returned. Exit status 0 if it is the same.
"""


def main(arguments: list[str]) -> int:
    """Make the step of a bundle again.

    Args:
        arguments: The file, and overrides.

    Returns:
        The exit status: 0 if the step is the same, 1 if it is not.
    """
    if "-h" in arguments or "--help" in arguments:
        print(_HELP, end="")
        return 0
    path, overrides = place_argument(
        "replay", arguments, Path.is_file, "trainkit replay RUN_DIR/non_finite/bundle.pt"
    )
    forget_secrets()
    from trainkit.rundir import DamagedCheckpointError
    from trainkit.training.bundle import read_bundle

    try:
        config = read_bundle(path).config
    except DamagedCheckpointError as error:
        raise UsageError(f"replay: {error}") from error
    if not config:
        raise UsageError(
            "replay: the run was made from Python objects, and the bundle has no config; the same "
            "program can replay it: trainkit.training.replay(bundle, ...)"
        )
    return _replayed(path, config, overrides)


def _replayed(path: Path, config: str, overrides: list[str]) -> int:
    from trainkit.config.compose import compose_and_run

    status = 0

    def job(composed: "Composed") -> None:
        nonlocal status
        from trainkit.config.start_replay import replay_config

        found = replay_config(composed, path)
        same = "is the same bit by bit" if found.reproduced else "is another one"
        print(titled("step", f"iteration {found.iteration} made again: its loss {same}"))
        print("\n".join(found.report.lines()))
        status = 0 if found.reproduced else 1

    with TemporaryDirectory() as directory:
        (Path(directory) / "config.yaml").write_text(config, encoding="utf-8")
        try:
            compose_and_run(["--from", directory, f"hydra.run.dir={directory}", *overrides], job)
        except ConfigError as error:
            return status_of(error)
    return status
