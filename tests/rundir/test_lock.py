"""One process per run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trainkit.rundir import RunLock, RunLockedError

HOLD = """
import os, sys, time
from pathlib import Path
from trainkit.rundir import RunLock
lock = RunLock(Path(sys.argv[1]))
lock.acquire()
if sys.argv[2:] == ["fork"] and os.fork():
    print("held", flush=True)
    os._exit(0)  # the child lives on, the owner is dead
if not sys.argv[2:]:
    print("held", flush=True)
time.sleep(60)
"""


def held(path: Path, *more: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), *more], stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_owner_is_named_and_a_dead_owner_is_none(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with held(path) as process:
        lock = RunLock(path)
        with pytest.raises(RunLockedError, match=f"is in use by process {process.pid} on "):
            lock.acquire()
        process.kill()
        process.wait()
        lock.acquire()
        lock.release()


def test_workers_that_outlive_the_owner_do_not_hold_it(tmp_path: Path) -> None:
    with held(tmp_path / ".lock", "fork") as process:
        try:
            process.wait(10)
            lock = RunLock(tmp_path / ".lock")
            lock.acquire()
            lock.release()
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def test_a_second_run_of_the_same_process(tmp_path: Path) -> None:
    one, other = RunLock(tmp_path / ".lock"), RunLock(tmp_path / ".lock")
    one.acquire()
    with pytest.raises(RunLockedError, match="another run of this process"):
        other.acquire()
    one.release()
    one.release()
    other.acquire()
    other.release()


RACE = """
import sys, time
from pathlib import Path
from tests.training.parts import go
from trainkit.settings import TrainerSettings
while time.time() < float(sys.argv[2]):
    pass
try:
    go(Path(sys.argv[1]), trainer=TrainerSettings(epochs=3, progress_bar=False, resume="auto"))
    print("trained", flush=True)
except ValueError as error:
    print("refused", error, flush=True)
"""


@pytest.mark.long
def test_races_for_one_folder(tmp_path: Path) -> None:
    """Twenty times two processes at once: one trains, the other is refused or finds it done."""
    for i in range(20):
        start = str(time.time() + 3)
        racers = [
            subprocess.Popen(
                [sys.executable, "-c", RACE, str(tmp_path / f"r{i}"), start],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            for _ in range(2)
        ]  # fmt: skip
        ends = [racer.communicate(timeout=120) for racer in racers]
        said = [out.strip().splitlines()[-1].split()[0] for out, _ in ends]
        assert said.count("trained") >= 1, ends
        assert set(said) <= {"trained", "refused"}
        refused = [out for out, _ in ends if "refused" in out]
        assert all("is in use by" in out or "already holds a run" in out for out in refused)
