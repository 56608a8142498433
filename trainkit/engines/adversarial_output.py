"""What adversarial training and its evaluation take from a batch, and what they return."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from trainkit.engines.output import step_output

__all__ = ["adversarial_loss", "adversarial_output", "real_images"]


def real_images(batch: Any, device: torch.device) -> Tensor:
    """The images of a batch `x` or `(x, …)`, on the device.

    Raises:
        TypeError: There is no tensor of images.
    """
    images = batch[0] if isinstance(batch, list | tuple) else batch
    if not isinstance(images, Tensor):
        raise TypeError(
            f"a batch must be a tensor of images, or (images, ...), got {type(batch).__name__}"
        )
    return images.to(device, non_blocking=True)


def adversarial_loss(logits: Tensor, target: float) -> Tensor:
    """Mean binary cross entropy of the logits with one target for all."""
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def adversarial_output(
    losses: dict[str, Tensor], on_real: Tensor, on_fake: Tensor
) -> dict[str, Any]:
    """The step output: its loss is the sum of the losses, its predictions are the logits.

    Args:
        losses: Name → 0-d.
        on_real: Logits of the discriminator on real images, first dimension the batch.
        on_fake: The same on made ones.
    """
    y = torch.cat([torch.ones_like(on_real), torch.zeros_like(on_fake)])
    total = torch.stack(list(losses.values())).sum()
    scalars = {"real": on_real, "fake": on_fake}
    return step_output(losses, total, torch.cat([on_real, on_fake]), y) | {
        "scalars": {f"predictions/{name}": on.sigmoid().mean() for name, on in scalars.items()}
    }
