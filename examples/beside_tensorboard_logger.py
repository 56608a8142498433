"""Ignite's own TensorboardLogger beside trainkit, in one folder: neither is in the other's way.

python examples/beside_tensorboard_logger.py [FOLDER]
tensorboard --logdir FOLDER
"""

import sys
from pathlib import Path

import torch
from ignite.engine import Engine, Events
from ignite.handlers import TensorboardLogger
from torch import nn

from trainkit.handlers import attach_monitors


def main(folder: str) -> None:
    """Fit a line through noise."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(512, 8, generator=generator)
    y = x @ torch.arange(8.0) + 0.1 * torch.randn(512, generator=generator)
    model = nn.Linear(8, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    loss_fn = nn.MSELoss()

    def step(engine: Engine, batch: tuple[torch.Tensor, torch.Tensor]) -> dict[str, torch.Tensor]:
        inputs, targets = batch
        y_pred = model(inputs).squeeze(1)
        loss = loss_fn(y_pred, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"loss": loss, "y_pred": y_pred, "y": targets}

    trainer = Engine(step)
    attach_monitors(
        trainer, model=model, optimizers=optimizer, loss_fn=loss_fn, writer=folder, every=4
    )

    with TensorboardLogger(log_dir=str(Path(folder) / "ignite")) as logger:
        logger.attach_output_handler(
            trainer,
            event_name=Events.ITERATION_COMPLETED(every=4),
            tag="training",
            output_transform=lambda output: {"loss": output["loss"].item()},
        )
        batches = list(zip(x.split(32), y.split(32), strict=True))
        trainer.run(batches, max_epochs=5)
    print(f"loss {trainer.state.output['loss'].item():.4f}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/beside_tensorboard_logger")
