"""`trainkit run`: compose a config and train."""

from typing import TYPE_CHECKING

from trainkit.cli import completion
from trainkit.cli.failure import status_of, tell

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

    if not completion.is_asked(arguments):
        _tell_shadowed()
    ends: list[int] = []
    compose_and_run(arguments, lambda composed: ends.append(_one(composed)))
    return max(ends, default=0)


def _one(composed: "Composed") -> int:
    """Run one config; its folder is the last line, unless nothing was begun."""
    from dataclasses import replace

    from trainkit.config.directories import give_back, reserve
    from trainkit.config.errors import ConfigError
    from trainkit.config.running import run_config

    if not composed.chosen:
        composed = replace(composed, directory=reserve(composed.directory))
    directory, begun, end = composed.directory, True, 0
    try:
        run_config(composed, tell)
    except ConfigError as error:
        begun, end = False, status_of(error)
    except Exception as error:
        begun, end = _note(error), status_of(error)
    except KeyboardInterrupt as interrupt:
        begun = _note(interrupt)
        raise
    finally:
        if begun:
            print(f"run: {directory}", flush=True)
        else:
            give_back(directory, reserved=not composed.chosen)
    return end


def _note(error: BaseException) -> bool:
    """Whether the run had begun: what is raised by then says where it is."""
    return any(note.startswith("run: ") for note in getattr(error, "__notes__", ()))


def _tell_shadowed() -> None:
    from trainkit.config.sources import shadowed

    files = shadowed()
    if files:
        some = ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
        tell(f"never used, because trainkit has one of the same name: {some}; rename yours")
