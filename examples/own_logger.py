"""A logger of Ignite's as the writer: here its TensorboardLogger, or MLflow's or W&B's likewise.

python examples/own_logger.py [FOLDER]
tensorboard --logdir FOLDER
"""

import sys

import torch
from ignite.engine import create_supervised_trainer
from ignite.handlers import TensorboardLogger
from sklearn.datasets import load_diabetes
from torch import nn

from trainkit.handlers import attach_monitors
from trainkit.writers import BackgroundWriter, IgniteLoggerWriter


def main(folder: str) -> None:
    """Predict how diabetes progresses."""
    torch.manual_seed(0)
    data = load_diabetes()
    x = torch.tensor(data.data, dtype=torch.float32) * 20
    y = torch.tensor(data.target, dtype=torch.float32)[:, None]
    y = (y - y.mean()) / y.std()

    model = nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    loss_fn = nn.MSELoss()
    trainer = create_supervised_trainer(
        model,
        optimizer,
        loss_fn,
        output_transform=lambda x, y, y_pred, loss: {"loss": loss, "y_pred": y_pred, "y": y},
    )

    # Also MLflowLogger(...), WandBLogger(mode="offline"), ClearMLLogger(...).
    with TensorboardLogger(log_dir=folder) as logger:
        # In the background: the service's pace is not the training's.
        writer = BackgroundWriter(IgniteLoggerWriter(logger))
        with attach_monitors(
            trainer, model=model, optimizers=optimizer, loss_fn=loss_fn, writer=writer, every=5
        ):
            trainer.run(list(zip(x.split(32), y.split(32), strict=True)), max_epochs=10)
        writer.close()
    print(f"loss {trainer.state.output['loss'].item():.4f}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/own_logger")
