"""`trainkit resume`: the shipped experiments, interrupted and resumed."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.project import environment
from tests.training.resuming import check_same
from trainkit.rundir import load_checkpoint

SHORT = {
    "digits": ["trainer.epochs=3"],
    "gan_digits": ["trainer.max_iterations=40", "trainer.evaluate_every=15"],
    "cartpole": ["trainer.epochs=2", "data.updates=12", "handlers=none"],
    "charlm": ["trainer.max_iterations=24", "trainer.evaluate_every=10", "data.length=16",
               "model.layers=1", "data.stride=64", "scheduler.warmup_iterations=5"],
    "diabetes": ["trainer.epochs=6"],
}  # fmt: skip
COMMON = ["trainer.progress_bar=false", "trainer.device=cpu", "monitor.every=3"]


def trainkit(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "trainkit", *arguments],
        cwd=folder, env=environment(), capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("experiment", SHORT)
def test_experiments(tmp_path: Path, experiment: str) -> None:
    run = ["run", f"+experiment={experiment}", *SHORT[experiment], *COMMON]
    whole = trainkit(tmp_path, *run, "hydra.run.dir=whole")
    assert whole.returncode == 0, whole.stderr
    half = load_checkpoint(tmp_path / "whole" / "checkpoints" / "last.pt")["iteration"] // 2
    parts = trainkit(tmp_path, *run, "hydra.run.dir=parts", f"checkpoint.every={half}",
                     "+handlers.kill._target_=tests.cli.test_resume.Kill",
                     f"+handlers.kill.at={half + 1}")  # fmt: skip
    assert parts.returncode == -signal.SIGKILL, parts.stderr
    resumed = trainkit(tmp_path, "resume", "parts", "handlers.kill=null")
    assert resumed.returncode == 0, resumed.stderr
    assert f"resumed at iteration {half} of" in resumed.stderr
    assert resumed.stdout.splitlines()[-1] == f"run: {tmp_path / 'parts'}"
    check_same(tmp_path / "whole", tmp_path / "parts")


class Kill:
    """Ends its process without a word, as the system does when memory is short."""

    def __init__(self, at: int) -> None:
        self.at = at

    def attach(self, trainer: object) -> None:
        import os

        from ignite.engine import Engine, Events

        assert isinstance(trainer, Engine)

        @trainer.on(Events.ITERATION_COMPLETED(once=self.at))
        def kill() -> None:
            time.sleep(0.5)  # the checkpoint is written beside the training
            os.kill(os.getpid(), signal.SIGKILL)
