"""What a run has come to, as one hash: `python -m tests.torture.digest RUN_DIR`."""

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainkit.rundir import load_checkpoint

# Everything that the rest of a training depends on.
KEYS = ("models", "optimizers", "schedules", "scaler", "gradients", "random", "iteration", "epoch")


def digest(run: Path) -> str:
    """SHA-256 of the weights, the optimizers and the random state of the last checkpoint."""
    state = load_checkpoint(run / "checkpoints" / "last.pt")
    found = hashlib.sha256()
    _feed(found, {key: state[key] for key in KEYS})
    return found.hexdigest()


def _feed(found: Any, value: Any) -> None:
    if isinstance(value, Mapping):
        for key in sorted(value, key=str):
            found.update(str(key).encode())
            _feed(found, value[key])
    elif isinstance(value, list | tuple):
        for item in value:
            _feed(found, item)
    elif isinstance(value, Tensor):
        found.update(value.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    else:
        found.update(repr(value).encode())


if __name__ == "__main__":
    print(digest(Path(sys.argv[1])))
