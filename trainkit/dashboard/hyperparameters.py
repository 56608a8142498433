"""The page HPARAMS: a row per run, with its choices and its results."""

import math
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainkit.dashboard.event_folder import write_events
from trainkit.writers.tensorboard.records import event_files
from trainkit.writers.tensorboard.sessions import session_end, session_start

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

__all__ = ["RunRow", "choices"]

# Parts of a config that concern monitoring, not training.
_WATCHING = ("samples", "handlers", "metrics", "monitor", "checkpoint")
_HYDRA = ("_partial_", "_convert_", "_recursive_", "_args_")

Choice = bool | float | str


def choices(config: Mapping[str, Any]) -> dict[str, Choice]:
    """What a run was started with, as columns of the table.

    A `_target_` is written under the key of its node, without its module: `optimizer: Adam`. What
    is no number, switch or text (None, a list) is written as text, so that a column shows where
    one run has it and another has not.

    Args:
        config: Resolved; nested mappings.

    Example:
        >>> choices({"optimizer": {"_target_": "torch.optim.Adam", "lr": 0.1, "eps": None}})
        {'optimizer': 'Adam', 'optimizer.lr': 0.1, 'optimizer.eps': 'None'}
    """
    found: dict[str, Choice] = {}

    def walk(key: str, value: Any) -> None:
        if isinstance(value, Mapping) and value:
            for name, inner in value.items():
                if name == "_target_":
                    found[key] = str(inner).rpartition(".")[2]
                elif name not in _HYDRA:
                    walk(f"{key}.{name}" if key else str(name), inner)
        elif isinstance(value, bool | int | float | str):
            found[key] = value
        else:
            found[key] = str(value)

    walk("", {name: value for name, value in config.items() if name not in _WATCHING})
    return found


class RunRow:
    """The row of one run, in a folder of its own.

    TensorBoard makes a column of every scalar in the folder that holds the session, and of every
    folder below it; beside the series of a training it takes half a minute to open. In a folder of
    its own the row has what counts: `results/best_<metric>`, `/last_<metric>`, `/test_<metric>`.
    What is not finite is left out: a NaN takes the whole row out of the parallel coordinates. The
    column `outcome` says how the run ended. The file is written whole, every time anew; a reader
    sees the old one or the new one.

    Args:
        folder: Made if need be; it holds nothing else.
        name: Of the row; unique, or TensorBoard makes one row of several runs.
        choices: Column → value: see `choices`.
        began: When the run began, in seconds since the epoch; None: now.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        choices: Mapping[str, Choice],
        began: float | None = None,
    ) -> None:
        self._folder = folder
        self._name = name
        self._choices = dict(choices)
        self._began = time.time() if began is None else began

    def update(
        self,
        step: int,
        best: Mapping[str, float],
        last: Mapping[str, float],
        test: Mapping[str, float] | None = None,
        outcome: str = "running",
    ) -> None:
        """Write what came of the run so far, or at its end.

        Args:
            step: The trainer's iteration.
            best: Metric → value of the validation data where the run was best.
            last: The same of the last evaluation.
            test: The same of the test data.
            outcome: `running`, `completed`, `interrupted`, `failed` or `diverged`.

        Raises:
            OSError: It cannot be written; what was written before stays.
        """
        parts = {"best": best, "last": last, "test": test or {}}
        values = {
            f"results/{part}_{metric}": value
            for part, found in parts.items()
            for metric, value in found.items()
            if "/" not in metric
            and math.isfinite(value)  # the components of the loss are in the charts
        }
        before = [self._folder / name for name in event_files(self._folder)]
        file = write_events(self._folder, [(step, self._summary(values, outcome))])
        for path in before:  # its own, or that of the run before it was interrupted
            if path != file:
                with suppress(OSError):
                    path.unlink()

    def _summary(self, values: Mapping[str, float], outcome: str) -> "Summary":
        from tensorboard.compat.proto.summary_pb2 import Summary

        columns = {**self._choices, "outcome": outcome}
        found = [session_start(self._began, columns, self._name)]
        found += [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        if outcome != "running":
            found.append(session_end(time.time(), outcome))
        return Summary(value=found)
