"""Two processes with half of every batch each train as one process with all of it."""

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from trainkit.rundir import load_checkpoint, read_status

PROGRAM = """
import sys
from functools import partial
import ignite.distributed as idist
import torch
from torch import nn
from tests.training.parts import FULL, cases
from trainkit.data import Data
from trainkit.losses import L2, Losses
from trainkit.training import run
from trainkit.settings import TrainerSettings

class Shards:
    # Batch i of one process is the union of the batches i of all.
    def __init__(self, n, seed, batch_size):
        x, y = cases(n, seed)
        rank, world = idist.get_rank(), idist.get_world_size()
        self.batches = [
            (xs.chunk(world)[rank], ys.chunk(world)[rank])
            for xs, ys in zip(x.split(batch_size), y.split(batch_size))
        ]
    def __len__(self):
        return len(self.batches)
    def __iter__(self):
        return iter(self.batches)

def train(rank, directory):
    torch.manual_seed(0)
    result = run(
        model=nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)),
        data=Data(Shards(104, 1, 16), Shards(50, 2, 16), Shards(40, 3, 16)),
        loss=partial(Losses, {{
            "ce": {{"loss": nn.CrossEntropyLoss()}}, "l2": {{"weight": 0.01, "loss": partial(L2)}}
        }}),
        optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9),
        directory=directory,
        trainer=TrainerSettings(epochs=3, accumulation_steps=2, clip_grad_norm=0.5, {options}),
        monitor=FULL,
    )
    assert result.test["loss"] > 0

if __name__ == "__main__":
    if int(sys.argv[2]) == 1:
        train(0, sys.argv[1])
    else:
        spawn = {{"nproc_per_node": int(sys.argv[2]), "master_port": int(sys.argv[3])}}
        with idist.Parallel(backend="gloo", **spawn) as parallel:
            parallel.run(train, sys.argv[1])
"""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.mark.slow
def test_two_processes_are_one(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(options="progress_bar=False"))
    found = {}
    for world in (1, 2):
        directory = tmp_path / str(world)
        done = subprocess.run(
            [sys.executable, str(program), str(directory), str(world), str(free_port())],
            capture_output=True, text=True, timeout=200, check=False,
            env={"PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        rows = re.findall(r"^ *1/3 ", done.stdout, re.M)
        assert len(rows) == 1, "only the first process speaks"
        found[world] = (
            load_checkpoint(directory / "checkpoints" / "last.pt"),
            read_status(directory / "run.json"),
        )
        # The chart shows the loss over all processes, though only the first one writes.
        for part in ("train", "validation"):
            folder = str(directory / part)
            events = EventAccumulator(folder, size_guidance={"scalars": 0}).Reload()
            drawn = events.Scalars("metrics/loss")[-1].value
            assert drawn == pytest.approx(found[world][1]["last"][part]["loss"], rel=1e-5)
    one, two = found[1], found[2]
    assert one[0]["iteration"] == two[0]["iteration"] == 21
    for name, value in one[0]["models"]["model"].items():
        torch.testing.assert_close(two[0]["models"]["model"][name], value, atol=1e-6, rtol=1e-5)
    for part in ("train", "validation"):
        for name, value in one[1]["last"][part].items():
            assert two[1]["last"][part][name] == pytest.approx(value, rel=1e-4)
    assert two[1]["test"]["loss"] == pytest.approx(one[1]["test"]["loss"], rel=1e-4)
