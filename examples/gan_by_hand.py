"""A GAN written by hand: two networks, two optimizers, each with its own section of the charts.

python examples/gan_by_hand.py [FOLDER]
tensorboard --logdir FOLDER
"""

import sys

import torch
from ignite.engine import Engine
from torch import Tensor, nn

from trainkit.handlers import attach_monitors


def main(folder: str) -> None:
    """Learn a ring of points in the plane."""
    torch.manual_seed(0)
    generator = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
    discriminator = nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
    of_generator = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.999))
    of_discriminator = torch.optim.Adam(discriminator.parameters(), lr=1e-3, betas=(0.5, 0.999))
    bce = nn.BCEWithLogitsLoss()

    def step(engine: Engine, real: Tensor) -> dict[str, object]:
        ones, zeros = torch.ones(len(real), 1), torch.zeros(len(real), 1)
        fake = generator(torch.randn(len(real), 4))

        on_real, on_fake = discriminator(real), discriminator(fake.detach())
        losses = {"real": bce(on_real, ones), "fake": bce(on_fake, zeros)}
        of_discriminator.zero_grad()
        sum(losses.values()).backward()
        of_discriminator.step()

        losses["generator"] = bce(discriminator(fake), ones)
        of_generator.zero_grad()
        losses["generator"].backward()  # reaches the discriminator, too: its charts do not show it
        of_generator.step()
        return {
            "loss": sum(losses.values()),
            "losses": losses,
            "y_pred": torch.cat([on_real, on_fake]),
            "y": torch.cat([ones, zeros]),
        }

    trainer = Engine(step)
    attach_monitors(
        trainer,
        model={"generator": generator, "discriminator": discriminator},
        optimizers={"generator": of_generator, "discriminator": of_discriminator},
        predictions="binary_logits",
        writer=folder,
        every=10,
    )

    angles = torch.rand(1000, 64) * 2 * torch.pi
    rings = torch.stack([angles.cos(), angles.sin()], dim=2)
    trainer.run(rings, max_epochs=1)
    with torch.no_grad():
        radius = generator(torch.randn(256, 4)).norm(dim=1).mean()
    print(f"mean radius of samples {radius.item():.2f}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/gan_by_hand")
