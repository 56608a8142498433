"""The lines that are printed before a run begins."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainkit.data import length_of
from trainkit.screen import board_command, counted, is_of_sweep, shown_path, titled, width_of
from trainkit.training.build import Built

__all__ = ["built_lines", "first_lines"]

_MODULES = 8  # shown by name in the header; the rest is summed


def first_lines(directory: Path, device: torch.device) -> list[str]:
    """The lines that need neither data nor model."""
    return [titled("folder", shown_path(directory)), titled("device", _device(device))]


def built_lines(built: Built, directory: Path) -> list[str]:
    """The lines that need data and model."""
    width = width_of(sys.stdout)
    data = built.data
    sizes = [f"train {_size(data.train, batches=True)}"]
    for name, part in (("validation", data.validation), ("test", data.test)):
        if part is not None:
            sizes.append(f"{name} {_size(part)}")
    lines = [titled("data", ", ".join(sizes), width)]
    for name, module in built.models.items():
        called = type(module).__name__ if name == "model" else f"{name} ({type(module).__name__})"
        lines.append(titled("model", f"{called}: {_parameters(module)}", width))
    epochs = -(-built.iterations // max(len(built.source), 1))
    plan = f"{counted(built.iterations, 'iteration')} in {counted(epochs, 'epoch')}"
    lines.append(titled("training", plan))
    if not is_of_sweep(directory):
        # Not wrapped: this line is meant to be copied.
        lines.append(titled("dashboard", board_command(directory)))
    return [*lines, ""]


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device}, {torch.cuda.get_device_name(device)}"
    if device.type == "cpu":
        return f"cpu, {counted(torch.get_num_threads(), 'thread')}"
    return str(device)


def _size(part: Any, *, batches: bool = False) -> str:
    length = length_of(part)
    if length is None:
        return "of no known length"
    samples = getattr(part, "samples", None)
    if not isinstance(samples, int):
        try:
            samples = len(part.dataset)
        except (AttributeError, TypeError):  # no loader, or a stream
            return counted(length, "batch")
    if not batches:
        return f"{samples:,}"
    per_batch = getattr(part, "batch_size", None)
    of = f" of {per_batch}" if isinstance(per_batch, int) else ""
    return f"{counted(samples, 'sample')} ({counted(length, 'batch')}{of})"


def _parameters(module: nn.Module) -> str:
    total = _count(module.parameters())
    trained = _count(p for p in module.parameters() if p.requires_grad)
    if total is None or trained is None:
        return "parameters not known before the first batch"
    share = "all trainable" if trained == total else f"{trained:,} trainable"
    by_module: dict[str, int] = {}
    for name, child in module.named_children():
        n = _count(child.parameters())
        if n:
            by_module[name] = n
    shown = [f"{name} {n:,}" for name, n in list(by_module.items())[:_MODULES]]
    rest = sum(list(by_module.values())[_MODULES:])
    if rest:
        shown.append(f"{len(by_module) - _MODULES} more {rest:,}")
    inside = f": {', '.join(shown)}" if len(by_module) > 1 else ""
    return f"{counted(total, 'parameter')}, {share}{inside}"


def _count(parameters: Iterable[nn.Parameter]) -> int | None:
    try:
        return sum(p.numel() for p in parameters)
    except (ValueError, RuntimeError):  # a lazy module that has not seen a batch
        return None
