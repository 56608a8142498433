"""`trainkit resume`: the shipped experiments, interrupted and resumed."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.cli.project import environment
from tests.torture.digest import digest
from tests.training.resuming import check_same
from trainkit.rundir import load_checkpoint, read_status

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


@pytest.mark.parametrize(
    "experiment",
    [pytest.param(n, marks=[pytest.mark.slow if n == "diabetes" else pytest.mark.long])
     for n in SHORT],
)  # fmt: skip
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


def run_of(folder: Path, name: str = "r", *more: str) -> None:
    done = trainkit(folder, "run", "+experiment=diabetes", "trainer.epochs=2", *COMMON,
                    f"hydra.run.dir={name}", *more)  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.long
def test_what_may_change_and_what_may_not(tmp_path: Path) -> None:
    run_of(tmp_path)
    for changes, message in (
        (["optimizer.lr=0.5"], "optimizer.lr was 0.001, is 0.5"),
        (["trainer.seed=3"], "trainer.seed was 0, is 3"),
        (["data.batch_size=7"], "data.batch_size was 32, is 7"),
        (["trainer.epochs=1"], "behind its new end at"),
        (["trainer.epoch=3"], "epoch"),
    ):
        refused = trainkit(tmp_path, "resume", "r", *changes)
        assert refused.returncode == 2, refused.stderr
        (line,) = refused.stderr.strip().splitlines()
        assert line.startswith("trainkit: ")
        assert message in line
    more = trainkit(tmp_path, "resume", "r", "trainer.epochs=3", "monitor.every=1")
    assert more.returncode == 0, more.stderr
    status = read_status(tmp_path / "r" / "run.json")
    assert status["epoch"] == 3
    (resumed,) = status["resumed"]
    assert resumed["was"] == "completed"
    assert set(resumed["overrides"]) == {"trainer.epochs=3", "monitor.every=1"}
    lines = (tmp_path / "r" / "overrides.txt").read_text().splitlines()
    assert {"trainer.epochs=2", "trainer.epochs=3", "monitor.every=1"} <= set(lines)
    assert "epochs: 3" in (tmp_path / "r" / "config.yaml").read_text()
    events = EventAccumulator(str(tmp_path / "r" / "train"), size_guidance={"tensors": 0}).Reload()
    texts = events.Tensors("about/2_command")
    assert [event.step for event in texts][1:] == [resumed["iteration"]]
    assert b"trainer.epochs=3" in texts[-1].tensor_proto.string_val[0]


@pytest.mark.long
def test_a_job_that_is_put_back_into_its_queue(tmp_path: Path) -> None:
    """The same command in the same folder: it begins, goes on, and finds that it is done."""
    run_of(tmp_path, "job", "trainer.resume=auto", "trainer.max_iterations=7")
    run_of(tmp_path, "job", "trainer.resume=auto")
    status = read_status(tmp_path / "job" / "run.json")
    assert status["iteration"] == status["iterations"] > 7
    run_of(tmp_path, "job", "trainer.resume=auto")
    assert read_status(tmp_path / "job" / "run.json")["iteration"] == status["iteration"]
    without = trainkit(tmp_path, "run", "+experiment=diabetes", *COMMON, "hydra.run.dir=job")
    assert without.returncode == 2
    assert "trainkit resume" in without.stderr
    run_of(tmp_path, "whole", "trainer.resume=auto")
    # Not its curves: it was evaluated at the end of its first part, too.
    assert digest(tmp_path / "job") == digest(tmp_path / "whole")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "resume: it needs the folder of one run"),
        (["nowhere"], "there is no 'nowhere'"),
        (["."], "holds no run"),
        (["--last"], "there is no flag --last"),
    ],
)
def test_what_cannot_be_resumed(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = trainkit(tmp_path, "resume", *arguments)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert message in line


@pytest.mark.long
def test_damaged_checkpoints_are_named(tmp_path: Path) -> None:
    run_of(tmp_path)
    last = tmp_path / "r" / "checkpoints" / "last.pt"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.unlink()  # not in place: it may be another name of the best one
    last.write_bytes(content)
    done = trainkit(tmp_path, "resume", "r")
    assert done.returncode == 0, done.stderr
    assert "last.pt is damaged: the checksum of" in done.stderr
    assert "previous.pt is used instead, of iteration" in done.stderr
    for path in last.parent.glob("*.pt"):
        path.unlink()
        path.write_bytes(b"")
    done = trainkit(tmp_path, "resume", "r")
    assert done.returncode == 2
    assert "no checkpoint can be used" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.long
def test_rerun_repeats_and_compares(tmp_path: Path) -> None:
    run_of(tmp_path)
    same = trainkit(tmp_path, "rerun", "r")
    assert same.returncode == 0, same.stdout + same.stderr
    assert "differs     nothing that was captured" in same.stdout
    assert re.search(r"curves      all [\d,]+ points of \d+ series are the same", same.stdout)
    environment_file = tmp_path / "r" / "environment.json"
    facts = json.loads(environment_file.read_text())
    facts["packages"]["torch"] = "1.0"
    facts["machine"]["cpus"] = 4096
    environment_file.write_text(json.dumps(facts))
    other = trainkit(tmp_path, "rerun", "r", "trainer.seed=1")
    assert other.returncode == 1
    assert "packages: torch 1.0 →" in other.stdout
    assert "machine: cpus was 4096" in other.stdout
    assert re.search(r"curves      \d+ of \d+ series differ", other.stdout)


@pytest.mark.long
def test_replay(tmp_path: Path) -> None:
    failed = trainkit(tmp_path, "run", "+experiment=diabetes", *COMMON, "optimizer=sgd",
                      "optimizer.lr=1e30", "hydra.run.dir=r")  # fmt: skip
    assert failed.returncode == 1
    assert "first non-finite value: iteration" in failed.stdout
    bundle = tmp_path / "r" / "non_finite" / "bundle.pt"
    moved = tmp_path / "elsewhere.pt"
    shutil.move(bundle, moved)  # it needs nothing else of the run
    again = trainkit(tmp_path, "replay", "elsewhere.pt")
    assert again.returncode == 0, again.stderr
    assert "its loss is the same bit by bit" in again.stdout
    assert not (tmp_path / "runs").exists()
    refused = trainkit(tmp_path, "replay", "r/checkpoints/last.pt")
    assert refused.returncode == 2
    assert "is no bundle of a step" in refused.stderr
