"""`trainkit run`: compose a config and train."""

from dataclasses import replace
from typing import TYPE_CHECKING

from trainkit.cli import completion
from trainkit.cli.failure import status_of
from trainkit.config.directories import give_back, reserve
from trainkit.config.errors import ConfigError

if TYPE_CHECKING:
    from trainkit.config.composing import Composed

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Train what the arguments say; with `--multirun` several times.

    Args:
        arguments: Hydra's overrides and flags.

    Returns:
        The exit status; of several runs the worst.
    """
    if completion.is_installing(arguments):
        return completion.main(arguments)
    completion.forget_the_command()
    from trainkit.config.composing import compose_and_run

    ends: list[int] = []
    try:
        compose_and_run(arguments, lambda composed: ends.append(_one(composed)))
    except ConfigError as error:
        ends.append(status_of(error))
    return max(ends, default=0)


def _one(composed: "Composed") -> int:
    """Run one config; its folder is the last line, unless nothing was begun."""
    from trainkit.config.running import run_config

    if not composed.chosen:
        composed = replace(composed, directory=reserve(composed.directory))
    directory, begun, end = composed.directory, True, 0
    try:
        run_config(composed)
    except (Exception, SystemExit) as error:  # a model may call sys.exit(): training failed
        begun, end = _has_begun(error), status_of(error)
    except BaseException as interrupt:
        begun = _has_begun(interrupt)
        raise
    finally:
        if begun:
            print(f"run: {directory}", flush=True)
        else:
            give_back(directory, reserved=not composed.chosen)
    return end


def _has_begun(error: BaseException) -> bool:
    """Whether the run had begun: what is raised by then says where it is."""
    return any(note.startswith("run: ") for note in getattr(error, "__notes__", ()))
