"""A hundred thousand iterations with everything: memory, threads and file handles do not grow."""

import os
import threading
from functools import partial
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events

from tests.training.parts import blobs, go
from trainkit.settings import CheckpointSettings, MonitorSettings, TrainerSettings

ITERATIONS = 100_000


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.torture
def test_nothing_grows(tmp_path: Path) -> None:
    seen: list[tuple[int, float, int, int]] = []

    def watch(trainer: Engine) -> None:
        @trainer.on(Events.ITERATION_COMPLETED(every=ITERATIONS // 10))
        def look() -> None:
            handles = len(os.listdir("/proc/self/fd"))
            found = trainer.state.iteration, resident_mib(), threading.active_count(), handles
            seen.append(found)

    result = go(
        tmp_path,
        data=partial(blobs),
        optimizer=partial(torch.optim.Adam, lr=1e-3),
        trainer=TrainerSettings(epochs=None, max_iterations=ITERATIONS, evaluate_every=5000,
                                progress_bar=False, device="cpu"),
        monitor=MonitorSettings(histograms_every=1000),
        checkpoint=CheckpointSettings(every=500, keep_best=3),
        handlers={"watch": watch},
    )  # fmt: skip
    for row in seen:
        print("iteration {}: {:.1f} MiB, {} threads, {} handles".format(*row))
    assert result.iterations == ITERATIONS
    assert seen[-1][1] - seen[1][1] < 10, "MiB between 20,000 and 100,000 iterations"
    assert seen[-1][2] <= seen[0][2] + 1
    assert seen[-1][3] <= seen[0][3] + 4
