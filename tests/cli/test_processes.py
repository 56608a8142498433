"""Several processes from the command line: torchrun, trainer.processes, kills, restarts."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events

from tests.cli.project import environment
from tests.training.resuming import check_same
from trainkit.rundir import load_checkpoint, read_history, read_status

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
DIGITS = ["+experiment=digits", "trainer.epochs=3", "trainer.progress_bar=false",
          "monitor.every=3", "trainer.device=cpu"]  # fmt: skip
# Without dropout, whose random numbers differ between processes.
DIABETES = ["+experiment=diabetes", "trainer.epochs=4", "trainer.progress_bar=false",
            "trainer.device=cpu"]  # fmt: skip


def command(folder: Path, *arguments: str, timeout: float = 200) -> Any:
    return subprocess.run(
        arguments, cwd=folder, env=environment(), capture_output=True, text=True, timeout=timeout
    )


def trainkit(folder: Path, *arguments: str) -> Any:
    return command(folder, sys.executable, "-m", "trainkit", *arguments)


class At:
    """Does something in one process behind an iteration, once per folder."""

    def __init__(self, what: str, rank: int, iteration: int, mark: str) -> None:
        self.what, self.rank, self.iteration, self.mark = what, rank, iteration, Path(mark)

    def attach(self, trainer: Engine) -> None:
        trainer.add_event_handler(Events.ITERATION_COMPLETED(once=self.iteration), self.act)

    def act(self) -> None:
        if os.environ.get("RANK", "0") != str(self.rank) or self.mark.exists():
            return
        self.mark.touch()
        if self.what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.what == "term":
            os.kill(os.getpid(), signal.SIGTERM)
        if self.what == "usr1":
            os.kill(os.getpid(), signal.SIGUSR1)
        if self.what == "hang":
            time.sleep(1000)
        if self.what == "raise":
            raise ValueError("something is wrong here")


def at(folder: Path, what: str, rank: int, iteration: int) -> list[str]:
    given = {"what": what, "rank": rank, "iteration": iteration, "mark": folder / "mark"}
    target = "+handlers.at._target_=tests.cli.test_processes.At"
    return [target, *(f"+handlers.at.{key}={value}" for key, value in given.items())]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two processes that nothing disturbs, with dropout."""
    folder = tmp_path_factory.mktemp("whole")
    done = trainkit(
        folder, "run", *DIGITS, "trainer.processes=2", "hydra.run.dir=r", *at(folder, "kill", 9, 1)
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder / "r"


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """With the same batches over all: the same curve, one terminal, one folder, a log for each."""
    one = trainkit(tmp_path, "run", *DIABETES, "data.batch_size=32", "hydra.run.dir=one")
    two = trainkit(
        tmp_path, "run", *DIABETES, "data.batch_size=16", "trainer.processes=2", "hydra.run.dir=two"
    )
    assert (one.returncode, two.returncode) == (0, 0), two.stderr
    assert len(re.findall(r"^ *1/4 ", two.stdout, re.M)) == 1
    rows = [read_history(tmp_path / name / "history.csv") for name in ("one", "two")]
    for a, b in zip(*rows, strict=True):
        for key in a.keys() - {"seconds"}:
            assert b[key] == pytest.approx(a[key], rel=1e-5), key
    states = [load_checkpoint(tmp_path / n / "checkpoints" / "last.pt") for n in ("one", "two")]
    for name, value in states[0]["models"]["model"].items():
        torch.testing.assert_close(states[1]["models"]["model"][name], value, rtol=1e-5, atol=1e-6)
    assert "epoch 4/4" in (tmp_path / "two" / "run.rank1.log").read_text()
    files = [len(list((tmp_path / n).rglob("*tfevents*"))) for n in ("one", "two")]
    assert files[0] == files[1]


@pytest.mark.long
def test_torchrun_is_the_same(whole: Path, tmp_path: Path) -> None:
    done = command(tmp_path, *TORCHRUN, "-m", "trainkit", "run", *DIGITS, "hydra.run.dir=r",
                   *at(tmp_path, "kill", 9, 1))  # fmt: skip
    assert done.returncode == 0, done.stderr
    check_same(whole, tmp_path / "r")
    assert len(re.findall(r"^run: ", done.stdout, re.M)) == 1


@pytest.mark.long
@pytest.mark.parametrize("iteration", [23, 34])  # within an epoch, and at its end, saved already
def test_a_signal_to_one_process_stops_all_and_the_run_goes_on_exactly(
    whole: Path, tmp_path: Path, iteration: int
) -> None:
    run = ["run", *DIGITS, "trainer.processes=2", "hydra.run.dir=r"]
    done = trainkit(tmp_path, *run, *at(tmp_path, "term", 1, iteration))
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    state = load_checkpoint(tmp_path / "r" / "checkpoints" / "last.pt")
    assert iteration <= state["iteration"] < iteration + 15
    assert len(state["processes"]) == 2
    assert not torch.equal(*(each["random"]["torch"] for each in state["processes"]))
    assert read_status(tmp_path / "r" / "run.json")["status"] == "interrupted"
    alone = trainkit(tmp_path, "resume", "r", "trainer.processes=1")
    assert alone.returncode == 2
    assert "trained by 2 processes, and would go on with 1" in alone.stderr
    again = trainkit(tmp_path, "resume", "r")
    assert again.returncode == 0, again.stderr
    check_same(whole, tmp_path / "r")


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.long),
                                  pytest.param(1, marks=pytest.mark.slow)])  # fmt: skip
def test_a_killed_process_ends_the_run(tmp_path: Path, rank: int) -> None:
    begun = time.monotonic()
    done = trainkit(tmp_path, "run", *DIGITS, "trainer.processes=2", "hydra.run.dir=r",
                    *at(tmp_path, "kill", rank, 20))  # fmt: skip
    assert time.monotonic() - begun < 60
    assert done.returncode == (1 if rank else 137), done.stderr
    told = f"process {rank} was lost: it was killed"
    assert len(re.findall(told, done.stderr)) == 1
    assert "Traceback" not in done.stderr
    status = read_status(tmp_path / "r" / "run.json")
    assert status["status"] == "failed"
    assert told in status["reason"]


@pytest.mark.long
@pytest.mark.parametrize("rank", [0, 1])
def test_torchrun_starts_them_again_and_the_run_goes_on(
    whole: Path, tmp_path: Path, rank: int
) -> None:
    done = command(
        tmp_path, *TORCHRUN, "--max-restarts=1", "-m", "trainkit", "run", *DIGITS,
        "checkpoint.every=5", *at(tmp_path, "kill", rank, 28),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mark").exists()
    (folder,) = (tmp_path / "runs" / "digits").iterdir()  # one run, in one folder
    assert re.search(r"resumed at iteration 2\d of 51", done.stderr)
    check_same(whole, folder)


@pytest.mark.long
def test_a_failure_is_told_with_its_process(tmp_path: Path) -> None:
    done = trainkit(tmp_path, "run", *DIGITS, "trainer.processes=2", "hydra.run.dir=r",
                    *at(tmp_path, "raise", 1, 20))  # fmt: skip
    assert done.returncode == 1
    assert "process 1: ValueError: something is wrong here" in done.stderr
    status = read_status(tmp_path / "r" / "run.json")
    assert status["status"] == "failed"
    assert "process 1 failed: ValueError: something is wrong here" in status["reason"]
    assert "something is wrong here" in (tmp_path / "r" / "run.rank1.log").read_text()


@pytest.mark.long
def test_a_process_that_hangs_ends_the_run_at_the_time_out(tmp_path: Path) -> None:
    begun = time.monotonic()
    done = trainkit(tmp_path, "run", *DIGITS, "trainer.processes=2", "hydra.run.dir=r",
                    "trainer.timeout_minutes=0.1", *at(tmp_path, "hang", 1, 20))  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert time.monotonic() - begun < 90
    assert read_status(tmp_path / "r" / "run.json")["status"] == "failed"


@pytest.mark.long
def test_processes_without_the_one_that_started_them_end(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-m", "trainkit", "run", *DIGITS, "trainer.processes=2",
         "trainer.epochs=100000", "hydra.run.dir=r"],
        cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    table = tmp_path / "r" / "history.csv"
    deadline = time.monotonic() + 60
    while not table.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    parent.kill()
    parent.wait()
    while read_status(tmp_path / "r" / "run.json")["status"] == "running":
        assert time.monotonic() < deadline + 60
        time.sleep(0.2)
    assert "has started this one" in str(read_status(tmp_path / "r" / "run.json")["reason"])


def test_a_port_that_is_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1",
                 "MASTER_PORT": str(taken.getsockname()[1])}  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "trainkit", "run", *DIABETES], cwd=tmp_path,
            env={**environment(), **place}, capture_output=True, text=True, timeout=100,
        )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "cannot meet the others" in line
    assert "MASTER_PORT chooses another port" in line


@pytest.mark.long
def test_configs_that_differ_are_refused(tmp_path: Path) -> None:
    done = command(tmp_path, *TORCHRUN, "-m", "trainkit", "run", *DIGITS,
                   "trainer.seed=${oc.env:RANK}")  # fmt: skip
    assert done.returncode != 0
    assert "trainer.seed is '0' in process 0 and '1' in process 1" in done.stderr
    assert not list(tmp_path.rglob("run.json"))


@pytest.mark.long
def test_a_sweep_of_several_processes(tmp_path: Path) -> None:
    sweep = ["--multirun", *DIABETES, "trainer.epochs=2", "optimizer.lr=0.0001,0.01"]
    done = trainkit(tmp_path, "run", *sweep, "trainer.processes=2", "hydra.sweep.dir=s")
    assert done.returncode == 0, done.stderr
    assert "2 of 2 jobs done; best first, by validation loss" in done.stdout
    torchrun = command(tmp_path, *TORCHRUN, "-m", "trainkit", "run", *sweep, "hydra.sweep.dir=t")
    assert torchrun.returncode == 0, torchrun.stderr
    assert torchrun.stdout.count("2 of 2 jobs done") == 1
    for one, other in zip(sorted((tmp_path / "s").glob("*/")), sorted((tmp_path / "t").glob("*/")),
                          strict=True):  # fmt: skip
        check_same(one, other)


@pytest.mark.long
def test_a_sweep_under_srun(tmp_path: Path) -> None:
    """The environment of each run of a sweep is the one that Slurm has set, not torch's."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = str(s.getsockname()[1])
    slurm = {
        "SLURM_JOB_ID": "1", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NODELIST": "localhost",
        "MASTER_PORT": port,
    }  # fmt: skip
    tasks = [
        subprocess.Popen(
            [sys.executable, "-m", "trainkit", "run", "--multirun", *DIABETES,
             "trainer.epochs=1", "optimizer.lr=0.0001,0.01", "hydra.sweep.dir=s"],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**environment(), **slurm, "SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)},
        )
        for i in range(2)
    ]  # fmt: skip
    ends = [task.communicate(timeout=150) for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], ends
    assert "2 of 2 jobs done" in ends[0][0]


@pytest.mark.parametrize(
    ("environ", "arguments", "said"),
    [
        ({"RANK": "0"}, [], "has RANK but not WORLD_SIZE"),
        (
            {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1",
             "MASTER_PORT": "1"},
            ["trainer.processes=3"], "trainer.processes=3, but RANK and WORLD_SIZE has started 2",
        ),
        ({}, ["trainer.processes=2", "optimizer.lr=-1"], "optimizer.lr"),
        ({}, ["trainer.processes=2", "trainer.backend=mpii"], "trainer.backend must be one of"),
        ({}, ["trainer.processes=0"], "trainer.processes must be 1 or more, got 0"),
    ],
)  # fmt: skip
def test_what_cannot_start_is_one_line(
    tmp_path: Path, environ: dict[str, str], arguments: list[str], said: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "trainkit", "run", *DIABETES, *arguments],
        cwd=tmp_path, env={**environment(), **environ}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_one_process_of_a_job_of_two_is_told(tmp_path: Path) -> None:
    environ = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_PROCID": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "trainkit", "run", *DIABETES, "hydra.run.dir=r"],
        cwd=tmp_path, env={**environment(), **environ}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0
    assert "srun trainkit run ... starts one per task" in done.stderr
    assert json.loads((tmp_path / "r" / "run.json").read_text())["status"] == "completed"
