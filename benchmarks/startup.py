"""How long `trainkit run +experiment=digits` takes to its first iteration, beside a bare script.

The bare script imports torch and ignite and builds the same data, model, optimizer and engines.
Both processes end where the model is first called in training; the time is counted from before
Python starts, as a user waits for it.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

REPETITIONS = int(os.environ.get("REPETITIONS", "9"))
GOAL = 1.3

# The model of the experiment; the first training step is the end of what is timed.
PROBE = """
import os
import torch
from trainkit.models import CNN

class Probe(CNN):
    def forward(self, x):
        if self.training and torch.is_grad_enabled():
            os.write(1, b"first iteration\\n")
            os._exit(0)
        return super().forward(x)
"""

BARE = """
import numpy as np
import torch
from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
from ignite.metrics import Accuracy, Loss
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

from probe import Probe

torch.manual_seed(0)
digits = load_digits()
x = torch.from_numpy(digits.images.astype(np.float32)).unsqueeze(1)
y = torch.from_numpy(digits.target.astype(np.int64))
order = torch.randperm(len(x))
train, validation = order[360:], order[:360]
mean, std = x[train].mean(), x[train].std()
x = (x - mean) / std
batches = DataLoader(TensorDataset(x[train], y[train]), batch_size=32, shuffle=True)
held_out = DataLoader(TensorDataset(x[validation], y[validation]), batch_size=32)
model = Probe(classes=10, image_size=8, in_channels=1, channels=[32, 64], hidden=128, dropout=0.5)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
loss_fn = torch.nn.CrossEntropyLoss()
trainer = create_supervised_trainer(model, optimizer, loss_fn)
metrics = {"accuracy": Accuracy(), "loss": Loss(loss_fn)}
evaluator = create_supervised_evaluator(model, metrics=metrics)
trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(held_out))
trainer.run(batches, max_epochs=30)
"""

COMMANDS = {
    "bare torch and ignite": [sys.executable, "bare.py"],
    "trainkit run": [
        sys.executable, "-m", "trainkit", "run", "+experiment=digits",
        "model._target_=probe.Probe", "hydra.run.dir=run",
    ],
}  # fmt: skip


def seconds_to_first_iteration(command: list[str], folder: Path) -> float:
    """From before the process starts to the model's first call in training."""
    begun = perf_counter()
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if line == b"first iteration\n":
                return perf_counter() - begun
        raise RuntimeError(f"{command} ended early: {process.stderr.read().decode()}")


def main() -> None:
    """Interleave both, and print medians and their ratio."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for repetition in range(REPETITIONS + 1):
        for name, command in COMMANDS.items():
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, "probe.py").write_text(PROBE)
                Path(folder, "bare.py").write_text(BARE)
                taken = seconds_to_first_iteration(command, Path(folder))
            if repetition:  # the first round fills the file cache
                seconds[name].append(taken)
    print(f"start to the first iteration, median of {REPETITIONS} interleaved, and the fastest")
    for name, times in seconds.items():
        print(f"  {name:<22} {statistics.median(times):6.2f} s   {min(times):6.2f} s")
    bare, ours = (statistics.median(times) for times in seconds.values())
    print(f"  ratio {ours / bare:.2f} (goal: at most {GOAL})")


if __name__ == "__main__":
    main()
