"""Accumulation, loss scaling and clipping by hand: what is charted is what the optimizer saw.

Four micro-batches make one step. `gradients/global_norm_raw` is that of the whole batch, without
the scale; `gradients/global_norm` is behind the clip.

    python examples/accumulation_and_amp.py [FOLDER]
    tensorboard --logdir FOLDER
"""

import sys

import torch
from ignite.engine import Engine
from sklearn.datasets import load_breast_cancer
from torch import nn

from trainkit.handlers import attach_monitors

MICRO_BATCHES = 4


def main(folder: str) -> None:
    """Tell benign from malignant tumours."""
    torch.manual_seed(0)
    data = load_breast_cancer()
    x = torch.tensor(data.data, dtype=torch.float32)
    x = (x - x.mean(0)) / x.std(0)
    y = torch.tensor(data.target, dtype=torch.float32)

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.float16 if device == "cuda" else torch.bfloat16
    model = nn.Sequential(nn.Linear(30, 32), nn.ReLU(), nn.Linear(32, 1)).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scaler = torch.amp.GradScaler(device)
    loss_fn = nn.BCEWithLogitsLoss()

    def step(engine: Engine, batch: tuple[torch.Tensor, torch.Tensor]) -> dict[str, torch.Tensor]:
        inputs, targets = (part.to(device) for part in batch)
        with torch.autocast(device, dtype=dtype):
            y_pred = model(inputs).squeeze(1)
        loss = loss_fn(y_pred.float(), targets)
        scaler.scale(loss / MICRO_BATCHES).backward()
        if engine.state.iteration % MICRO_BATCHES == 0:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), max_norm=0.5)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
        return {"loss": loss, "y_pred": y_pred, "y": targets}

    trainer = Engine(step)
    attach_monitors(
        trainer,
        model=model,
        optimizers=optimizer,
        loss_fn=loss_fn,
        scaler=scaler,
        writer=folder,
        every=8,
    )
    batches = list(zip(x.split(16), y.split(16), strict=True))[: 8 * MICRO_BATCHES]
    trainer.run(batches, max_epochs=10)
    print(f"loss {trainer.state.output['loss'].item():.4f}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/accumulation_and_amp")
