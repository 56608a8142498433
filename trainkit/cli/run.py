"""`trainkit run`: compose a config and train."""

import sys
from pathlib import Path
from typing import Any

from trainkit.cli.failure import status_of

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Train what the arguments say; with `--multirun` several times.

    Args:
        arguments: Hydra's overrides and flags.

    Returns:
        The exit status; of several runs the worst.
    """
    if any(word.startswith("install=") for word in arguments) and _asks_for_completion(arguments):
        from trainkit.cli import completion

        shell = next(word for word in arguments if word.startswith("install="))
        return completion.main([shell.removeprefix("install=")])
    from trainkit.config.composing import compose_and_run
    from trainkit.config.sources import shadowed

    for file in shadowed():
        print(
            f"trainkit: {file} is never used: trainkit has an option of that name; rename yours",
            file=sys.stderr,
        )
    ends: list[int] = []

    def job(config: Any, directory: Path, overrides: list[str], choices: dict[str, str]) -> None:
        from trainkit.config.running import run_config

        end = 0
        try:
            run_config(config, directory=directory, overrides=overrides, choices=choices)
        except Exception as error:
            end = status_of(error)
        except KeyboardInterrupt as interrupt:
            if not _is_empty(directory):
                print(f"run: {directory}", flush=True)
            raise interrupt
        ends.append(end)
        if _is_empty(directory):  # refused before anything was written
            _remove(directory)
        else:
            print(f"run: {directory}", flush=True)

    compose_and_run(arguments, job)
    return max(ends, default=0)


def _asks_for_completion(arguments: list[str]) -> bool:
    return "-sc" in arguments or "--shell-completion" in arguments


def _is_empty(directory: Path) -> bool:
    return not (directory / "run.json").exists()


def _remove(directory: Path) -> None:
    """The folder that was reserved for a run that never began, and its parents while empty."""
    (directory / "run.log").unlink(missing_ok=True)
    for folder in (directory, *directory.parents):
        try:
            folder.rmdir()
        except OSError:
            return
