"""Checkpoints: `last` and `best`, complete at any moment, safe to load."""

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from math import isfinite
from pathlib import Path
from typing import Any

import torch

from trainkit.rundir.atomic_write import replace_atomically
from trainkit.settings import CheckpointSettings

__all__ = ["Best", "load_checkpoint", "save_checkpoint"]

# Words in the names of metrics for which less is better.
_ERRORS = (
    "loss", "error", "mse", "mae", "rmse", "entropy", "nll", "perplexity", "bits", "nats", "brier",
    "calibration", "distance", "divergence", "deviation",
)  # fmt: skip


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state atomically: a reader finds the new file or the old one, never a part.

    Args:
        path: Of the file.
        state: Tensors, numbers, strings and containers of these.
    """
    # Serialize first: a state that cannot be saved must not destroy the old file.
    buffer = BytesIO()
    torch.save(dict(state), buffer)
    replace_atomically(path, lambda file: file.write(buffer.getbuffer()))


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a state without running any code that the file may contain.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, or not a checkpoint.
    """
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except (FileNotFoundError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # torch raises EOFError, KeyError, OSError, ... for damaged files
        first = str(error).strip().split("\n")[0]
        raise ValueError(
            f"{path} is damaged or no checkpoint: {type(error).__name__}: {first}"
        ) from error
    if not isinstance(state, dict) or "models" not in state:
        raise ValueError(f"{path} is not a checkpoint of a run")
    return state


@dataclass
class Best:
    """The best value so far of the metric that picks the best checkpoint.

    Args:
        metric: A validation metric, or `loss`.
        mode: `min` or `max`.
        value: None: there was no finite value yet.
        iteration: Of the trainer, when it was reached.
    """

    metric: str
    mode: str
    value: float | None = None
    iteration: int = 0

    @classmethod
    def of(cls, settings: CheckpointSettings) -> "Best":
        """As the settings say; with mode `auto`, min for the loss and errors, else max."""
        mode = settings.mode
        if mode == "auto":
            small = any(word in settings.metric.lower() for word in _ERRORS)
            mode = "min" if small else "max"
        return cls(settings.metric, mode)

    def improve(self, value: float, iteration: int) -> bool:
        """Whether `value` is better than all before; NaN and infinity never are."""
        if not isfinite(value):
            return False
        if self.value is not None:
            better = value < self.value if self.mode == "min" else value > self.value
            if not better:
                return False
        self.value, self.iteration = value, iteration
        return True
