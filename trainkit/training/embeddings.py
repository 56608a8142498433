"""What the last layer of a network gets: the embedding of a sample."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["Embeddings", "embeddings_of", "thumbnails_of"]


class Embeddings:
    """Embeddings of samples with what belongs to them.

    Args:
        values: `[N, D]`, float32.
        inputs: The samples, `[N, ...]`, in main memory.
        targets: `[N, ...]`, or None.
    """

    def __init__(self, values: NDArray[np.float32], inputs: Tensor, targets: Tensor | None) -> None:
        self.values, self.inputs, self.targets = values, inputs, targets


def embeddings_of(
    model: nn.Module, batches: Iterable[Any], device: torch.device, limit: int = 1000
) -> Embeddings:
    """The input of the last layer with weights that a model calls, for the first samples.

    The model is called, in the mode that it is in. Put back afterwards what that changes.

    Args:
        model: Called as `model(x)`.
        batches: Of `(x, y)`.
        device: Of the model.
        limit: Samples at most.

    Raises:
        ValueError: No layer with weights is called with a tensor, or a batch is no `(x, y)`.
    """
    seen: list[Tensor] = []

    def note(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        if arguments and isinstance(arguments[0], Tensor):
            seen[:] = [arguments[0]]

    leaves = [m for m in model.modules() if next(m.parameters(recurse=False), None) is not None]
    handles = [module.register_forward_pre_hook(note) for module in leaves]
    values, inputs, targets, count = [], [], [], 0
    try:
        for batch in batches:
            if not isinstance(batch, Sequence) or len(batch) < 2 or not _is_tensor(batch[0]):
                raise ValueError("the projector needs batches (x, y) of tensors")
            x, y = batch[0], batch[1]
            with torch.no_grad():
                seen.clear()
                model(x.to(device))
            if not seen or len(seen[0]) != len(x):
                raise ValueError("no layer with weights is called with one row per sample")
            values.append(seen[0].detach().float().cpu().flatten(1))
            inputs.append(x.detach().cpu())
            targets.append(y.detach().cpu() if _is_tensor(y) else None)
            count += len(x)
            if count >= limit:
                break
    finally:
        for handle in handles:
            handle.remove()
    if not values:
        raise ValueError("the projector needs at least one batch")
    known = [target for target in targets if target is not None]
    return Embeddings(
        torch.cat(values)[:limit].numpy(),
        torch.cat(inputs)[:limit],
        torch.cat(known)[:limit] if len(known) == len(targets) else None,
    )


def thumbnails_of(inputs: Tensor) -> NDArray[np.uint8] | None:
    """Images as uint8, `[N, H, W]` or `[N, H, W, 3]`; None where the samples are no images.

    Args:
        inputs: `[N, C, H, W]` with one or three channels, or `[N, H, W]`.
    """
    if inputs.ndim == 3:
        inputs = inputs[:, None]
    if inputs.ndim != 4 or inputs.shape[1] not in (1, 3):
        return None
    x = inputs.float()
    low, high = x.amin(), x.amax()
    scaled = ((x - low) / (high - low).clamp_min(1e-12) * 255).round().to(torch.uint8)
    found: NDArray[np.uint8] = scaled.permute(0, 2, 3, 1).squeeze(-1).numpy()
    return found


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)
