"""Evaluation of a generator and a discriminator on held-out images."""

from collections.abc import Mapping
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn

from trainkit.engines.adversarial_output import adversarial_loss, adversarial_output, real_images
from trainkit.engines.evaluation import evaluation_mode

__all__ = ["adversarial_evaluator"]


def adversarial_evaluator(
    models: Mapping[str, nn.Module], *, device: torch.device | str, latent: int, seed: int = 0
) -> Engine:
    """An Ignite engine that sets both networks, in evaluation mode, against held-out images.

    The trainer's output, from both losses at once: what the discriminator makes of images that it
    has not seen, against as many made ones. The targets are 1 and 0. Latent vectors come from a
    generator of random numbers of their own, the same in every pass.

    Args:
        models: As for `adversarial_trainer`.
        device: Where the batches go.
        latent: Numbers per latent vector.
        seed: Of the latent vectors.
    """
    device = torch.device(device)
    generator, discriminator = (models[name] for name in ("generator", "discriminator"))
    random = torch.Generator(device).manual_seed(seed)

    def evaluation_step(engine: Engine, batch: Any) -> dict[str, Any]:
        real = real_images(batch, device)
        with torch.no_grad(), evaluation_mode(generator), evaluation_mode(discriminator):
            latents = torch.randn(len(real), latent, device=device, generator=random)
            on_real, on_fake = discriminator(real), discriminator(generator(latents))
            losses = {
                "discriminator_real": adversarial_loss(on_real, 1.0),
                "discriminator_fake": adversarial_loss(on_fake, 0.0),
                "generator": adversarial_loss(on_fake, 1.0),
            }
            return adversarial_output(losses, on_real, on_fake)

    evaluator = Engine(evaluation_step)
    evaluator.add_event_handler(Events.STARTED, lambda: random.manual_seed(seed) and None)
    return evaluator
