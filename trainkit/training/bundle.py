"""The step of the first value that is not finite, as a file from which it can be made again."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainkit.rundir import DamagedCheckpointError, load_checkpoint, save_checkpoint, snapshot
from trainkit.tracing import StepReport

__all__ = ["MOST_BYTES", "Bundle", "read_bundle", "write_bundle"]

#: A larger bundle is not written: the report is there without it.
MOST_BYTES = 2 << 30

_KIND = "step that was not finite"


@dataclass(frozen=True)
class Bundle:
    """What one step needs, and what it came to.

    Args:
        state: Of the run before the step, as a checkpoint has it.
        batch: On which it is made.
        config: Of the run, YAML, masked; empty for a run made from Python objects.
        report: Of the step.
    """

    state: Mapping[str, Any]
    batch: Any
    config: str
    report: Mapping[str, Any]


def write_bundle(path: Path, bundle: Bundle, report: StepReport) -> None:
    """Write a bundle.

    Raises:
        OSError: The disk refuses it.
        ValueError: It is too large, or the batch is not made of tensors and plain values.
    """
    content = {
        **bundle.state,
        "kind": _KIND,
        "batch": snapshot(bundle.batch),
        "config": bundle.config,
        "report": snapshot(report.as_dict()),
    }
    size = _bytes(content)
    if size > MOST_BYTES:
        raise ValueError(f"it would take {size >> 20} MiB, and may take {MOST_BYTES >> 20}")
    save_checkpoint(path, content)
    try:
        load_checkpoint(path)
    except DamagedCheckpointError as error:
        path.unlink()
        raise ValueError(f"the batch is not made of tensors and plain values: {error}") from error


def read_bundle(path: Path) -> Bundle:
    """Read a bundle; no code in it is executed.

    Raises:
        FileNotFoundError: There is no such file.
        DamagedCheckpointError: It is damaged, or no bundle.
    """
    content = load_checkpoint(path)
    if content.get("kind") != _KIND:
        raise DamagedCheckpointError(f"{path} is no bundle of a step, but a checkpoint")
    own = ("kind", "batch", "config", "report")
    state = {key: value for key, value in content.items() if key not in own}
    return Bundle(state, content["batch"], content["config"], content["report"])


def _bytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.element_size() * value.numel() if value.layout is torch.strided else 0
    if isinstance(value, Mapping):
        return sum(map(_bytes, value.values()))
    return sum(map(_bytes, value)) if isinstance(value, list | tuple) else 0
