"""Run the command that was asked for, and return its exit status."""

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from trainkit.nearest import closest
from trainkit.screen.streams import guarded_streams, open_closed_streams, settle_streams

__all__ = ["main"]

_COMMANDS = {
    "run": "train an experiment: trainkit run +experiment=NAME [overrides]",
    "resume": "go on with a run that was interrupted: trainkit resume RUN_DIR [overrides]",
    "rerun": "repeat a run, say what differs now, and compare the curves: trainkit rerun RUN_DIR",
    "replay": "make the step of the first NaN again: trainkit replay RUN_DIR/non_finite/bundle.pt",
    "list": "the menu: experiments, and every group with its options",
    "help": "what a key of the config means: trainkit help optimizer.lr",
    "board": "the dashboard: TensorBoard on 127.0.0.1 over a folder of runs",
    "completion": 'shell completion: eval "$(trainkit completion bash)"',
}

_HELP = """\
trainkit: training monitoring for PyTorch

usage: trainkit COMMAND ...

{commands}

trainkit COMMAND --help says more; trainkit --version says which version it is.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Without the program's name; by default those of this process.

    Returns:
        The exit status: 0 done; 1 training failed; 2 the user can mend it (one line on standard
        error); 130, 143, 129, 138 and 140 interrupted by INT, TERM, HUP, USR1 and USR2, after
        saving.
    """
    open_closed_streams()
    given = list(sys.argv[1:] if arguments is None else arguments)
    with guarded_streams() as (output, _):
        try:
            status = _main(given)
        finally:
            settle_streams()
        # For a run its output is secondary; for other commands it is the result.
        lost = output is not None and output.lost and given[:1] not in (["run"], ["resume"])
        return 1 if lost and status == 0 else status


def _main(given: list[str]) -> int:
    # A console script does not put the working folder on the path; `_target_: mine.Model` needs it.
    # At the end: a file `random.py` there must not take the place of Python's.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    if given[:1] == ["help"] and len(given) > 1 and given[1] in _COMMANDS:
        given = [given[1], "--help"]  # `trainkit help run`
    if not given or given[0] in ("-h", "--help") or given == ["help"]:
        rows = "\n".join(f"  {name:<11} {about}" for name, about in _COMMANDS.items())
        print(_HELP.format(commands=rows))
        return 0 if given else 2
    command, *rest = given
    if command in ("--version", "-V", "version"):
        from importlib.metadata import version

        print(f"trainkit {version('trainkit')}")
        return 0
    if command not in _COMMANDS:
        return _refuse(_unknown(command))
    function: Callable[[list[str]], int] = import_module(f"trainkit.cli.{command}").main
    return guarded(lambda: function(rest))


def guarded(function: Callable[[], int]) -> int:
    """The exit status of a function, also of one that ends with an exception, which is told."""
    try:
        return function()
    except SystemExit as leaving:  # after a --help
        return leaving.code if isinstance(leaving.code, int) else int(bool(leaving.code))
    except KeyboardInterrupt as interrupt:
        return int(getattr(interrupt, "exit_status", 130))
    except Exception as error:
        from trainkit.cli.failure import status_of

        return status_of(error)


def _refuse(text: str) -> int:
    print(f"trainkit: {text}", file=sys.stderr)
    return 2


def _unknown(command: str) -> str:
    close = closest(command, _COMMANDS, 1, 0.6)
    if close:
        return f"there is no command {command!r}; did you mean {close[0]}?"
    if "=" in command or command.startswith("+"):
        return f"there is no command {command!r}; did you mean trainkit run {command}?"
    return f"there is no command {command!r}; there is {', '.join(_COMMANDS)}"
