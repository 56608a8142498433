"""The page GRAPHS: the modules of a model and what flows between them."""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

__all__ = ["write_graph"]


def write_graph(folder: Path, model: nn.Module, x: Any) -> None:
    """Trace a model on one batch and write its graph into a folder of event files.

    The model is called. Put back afterwards what that changes: random state, buffers, mode.

    Args:
        folder: One that has series anyhow, `train/`.
        model: Called as `model(x)`.
        x: A batch on the model's device.

    Raises:
        Exception: Whatever tracing raises: not every model can be traced.
    """
    from torch.utils.tensorboard import SummaryWriter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns about every branch in a model
        writer = SummaryWriter(str(folder))
        try:
            with torch.no_grad():
                writer.add_graph(model, x, use_strict_trace=False)
        finally:
            writer.close()
