"""Kill one run again and again, resume it each time, and compare it with one that never was.

`python -m tests.torture.kills --kills 50 --seed 1 FOLDER` prints what came of it.
"""

import argparse
import os
import random
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tests.torture.digest import digest
from tests.training.parts import blobs, network, parts
from tests.training.resuming import history_differs, series_differ
from trainkit import schedules
from trainkit.rundir import CheckpointFolder
from trainkit.settings import CheckpointSettings, MonitorSettings, TrainerSettings
from trainkit.training import run

EPOCHS = 120


class Steady(nn.Module):
    """A network whose training takes some time, so that kills come at all of its moments."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            time.sleep(0.004)
        y: torch.Tensor = self.inner(x)
        return y


def train(directory: Path, epochs: int) -> None:
    given = parts(
        model=partial(Steady),
        data=partial(blobs),
        optimizer=partial(torch.optim.Adam, lr=0.01),
        scheduler=partial(schedules.cosine, warmup_iterations=10),
        trainer=TrainerSettings(
            epochs=epochs, progress_bar=False, device="cpu", accumulation_steps=2, resume="auto"
        ),
        monitor=MonitorSettings(every=5, histograms_every=20),
        checkpoint=CheckpointSettings(every=5),
    )
    run(directory=directory, **given)


def in_a_child(directory: Path, epochs: int, seconds: float | None) -> bool:
    """Train in a process of its own; whether it came to its end before it was killed."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            log = os.open(directory.with_suffix(".out"), os.O_CREAT | os.O_APPEND | os.O_WRONLY)
            os.dup2(log, 1)
            os.dup2(log, 2)
            train(directory, epochs)
            status = 0
        finally:
            os._exit(status)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return False
    assert os.WEXITSTATUS(status) == 0, directory.with_suffix(".out").read_text()[-3000:]
    return True


def saved_iteration(directory: Path) -> int:
    states = CheckpointFolder(directory / "checkpoints").sound()
    return max((state["iteration"] for state in states), default=-1)


def torture(folder: Path, kills: int, seed: int, epochs: int = EPOCHS) -> dict[str, Any]:
    """Kill a run so often; what was lost, and how it differs from an undisturbed one.

    Args:
        folder: For both runs.
        kills: At random moments, by the seed.
        seed: Of the moments.
        epochs: Of the run; when it ends before all kills were made, another run is begun.
    """
    draw = random.Random(seed)
    in_a_child(folder / "whole", epochs, None)
    made, lost, runs = 0, 0, 0
    differences: list[str] = []
    while made < kills:
        directory, reached, ended = folder / f"killed_{runs}", -1, False
        runs += 1
        while not ended:
            wait = draw.uniform(0.0, 1.6) if made < kills else None
            ended = in_a_child(directory, epochs, wait)
            made += not ended
            now = saved_iteration(directory)
            lost += now < reached
            reached = now
        if digest(directory) != digest(folder / "whole"):
            differences.append(f"{directory.name}: another state")
        differences += series_differ(folder / "whole", directory)
        if history_differs(folder / "whole", directory):
            differences.append(f"{directory.name}: another history.csv")
    return {"kills": made, "runs": runs, "went back": lost, "differences": differences}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.folder.mkdir(parents=True, exist_ok=True)
    found = torture(given.folder, given.kills, given.seed)
    print(f"seed {given.seed}: {found}")
    return 1 if found["differences"] or found["went back"] else 0


if __name__ == "__main__":
    sys.exit(main())
