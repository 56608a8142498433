"""Watch a plain Ignite trainer: `create_supervised_trainer`, and one call for the checklist.

python examples/plain_ignite.py [FOLDER]
tensorboard --logdir FOLDER
"""

import sys

import torch
from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
from ignite.metrics import Accuracy
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from trainkit.handlers import attach_monitors


def main(folder: str) -> None:
    """Train on handwritten digits for five epochs."""
    torch.manual_seed(0)
    digits = load_digits()
    x = torch.tensor(digits.data, dtype=torch.float32) / 16
    y = torch.tensor(digits.target)
    train = DataLoader(TensorDataset(x[:1500], y[:1500]), batch_size=64, shuffle=True)
    held_out = DataLoader(TensorDataset(x[1500:], y[1500:]), batch_size=128)

    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    loss_fn = nn.CrossEntropyLoss()
    trainer = create_supervised_trainer(
        model,
        optimizer,
        loss_fn,
        # Without this the step returns the loss alone, and predictions are left out.
        output_transform=lambda x, y, y_pred, loss: {"loss": loss, "y_pred": y_pred, "y": y},
    )
    evaluator = create_supervised_evaluator(model, metrics={"accuracy": Accuracy()})

    attach_monitors(
        trainer,
        model=model,
        optimizers=optimizer,
        loss_fn=loss_fn,
        evaluators={"validation": evaluator},
        writer=folder,
        every=5,
    )

    @trainer.on(Events.EPOCH_COMPLETED)
    def evaluate() -> None:
        evaluator.run(held_out)
        accuracy = evaluator.state.metrics["accuracy"]
        print(f"epoch {trainer.state.epoch}: accuracy {accuracy:.3f}")

    trainer.run(train, max_epochs=5)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/plain_ignite")
