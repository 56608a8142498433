"""Report a failure: one line for what the user can fix, a traceback for everything else."""

import os
import sys
import traceback
from pathlib import Path

from trainkit.config.errors import ConfigError
from trainkit.masking import masked
from trainkit.processes.errors import OtherProcessError
from trainkit.screen.commands import shown_path
from trainkit.screen.frames import own_frames

__all__ = ["UsageError", "shows_traces", "status_of", "tell"]

# Hydra's own variable. It is read here because it is set later, to make Hydra raise.
_FULL = os.environ.get("HYDRA_FULL_ERROR") == "1"


class UsageError(Exception):
    """The command cannot be carried out as it was given; its text is one line."""


def shows_traces() -> bool:
    """Whether the user asked for whole tracebacks."""
    return _FULL


def status_of(error: BaseException) -> int:
    """Print what happened on standard error and return the exit status."""
    if isinstance(error, UsageError | ConfigError):
        if _FULL:
            _trace(error)
        tell(str(error))
        return 2
    folder = next((n for n in getattr(error, "__notes__", ()) if n.startswith("run: ")), "")
    if _FULL or not folder:
        _trace(error)
        tell(f"{type(error).__name__}: {error}")
        return 1
    rank = _rank()
    if rank and isinstance(error, OtherProcessError) and not str(error).startswith("process 0 "):
        return 1  # said by the process that failed, and by the first one
    log = shown_path(
        Path(folder.removeprefix("run: ")) / (f"run.rank{rank}.log" if rank else "run.log")
    )
    for line in own_frames(error):
        print(f"  {masked(line)}", file=sys.stderr)
    tell(f"{type(error).__name__}: {error} (the full traceback is in {log})")
    return 1


def tell(text: str) -> None:
    """One line on standard error, without secrets."""
    rank = _rank()
    who = f"process {rank}: " if rank else ""
    print(f"trainkit: {who}{' '.join(masked(text).split())}", file=sys.stderr, flush=True)


def _rank() -> int:
    """Of several processes, which this is."""
    found = os.environ.get("RANK", "0")
    return int(found) if found.isdigit() else 0


def _trace(error: BaseException) -> None:
    print(masked("".join(traceback.format_exception(error))), end="", file=sys.stderr)
