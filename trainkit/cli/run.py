"""`trainkit run`: compose a config and train."""

from dataclasses import replace
from typing import TYPE_CHECKING

from trainkit.cli import completion
from trainkit.cli.failure import status_of
from trainkit.config.directories import give_back, reserve
from trainkit.config.errors import ConfigError
from trainkit.config.sources import never_used

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
        ends.append(_refused(error))
    return max(ends, default=0)


def _one(composed: "Composed") -> int:
    """Run one config; its folder is the last line, unless nothing was begun."""
    from trainkit.config.running import run_config

    if not composed.chosen:
        composed = replace(composed, directory=reserve(composed.directory))
    directory, begun, end = composed.directory, True, 0
    try:
        run_config(composed)
    except ConfigError as error:
        begun, end = False, _refused(error)
    except Exception as error:
        begun, end = _has_begun(error), status_of(error)
    except KeyboardInterrupt as interrupt:
        begun = _has_begun(interrupt)
        raise
    finally:
        if begun:
            print(f"run: {directory}", flush=True)
        else:
            give_back(directory, reserved=not composed.chosen)
    return end


def _refused(error: ConfigError) -> int:
    """A file of the user's that is never used may be what the mistake comes from."""
    notes = "".join(f" ({note})" for note in never_used())
    told = ConfigError(f"{error}{notes}")
    told.__cause__ = error
    return status_of(told)


def _has_begun(error: BaseException) -> bool:
    """Whether the run had begun: what is raised by then says where it is."""
    return any(note.startswith("run: ") for note in getattr(error, "__notes__", ()))
