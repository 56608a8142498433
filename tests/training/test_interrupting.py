"""Real processes, real signals."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from trainkit.rundir import load_checkpoint, read_status

PROGRAM = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job begins with it ignored
import torch
from functools import partial
from torch import nn
from tests.training.parts import go
from trainkit.rundir import Interrupted
from trainkit.settings import TrainerSettings

class Slow(nn.Linear):
    def forward(self, x):
        if self.training:
            print("forward", flush=True)
            time.sleep({pause})
        return super().forward(x)

{more}
try:
    settings = TrainerSettings(epochs=1000, progress_bar=False)
    go(sys.argv[1], model=Slow(4, 3), trainer=settings, **changes)
except Interrupted as stopped:
    sys.exit(stopped.exit_status)
"""


@contextmanager
def started(
    directory: Path, pause: float = 0.005, more: str = "changes = {}"
) -> "Iterator[subprocess.Popen[str]]":
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(pause=pause, more=more), str(directory)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(process: "subprocess.Popen[str]", text: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(process.stderr.read() if process.stderr else "")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "exit_status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stops_after_the_iteration_and_saves(
    tmp_path: Path, number: signal.Signals, exit_status: int
) -> None:
    more = "from tests.training.parts import FULL; changes = {'monitor': FULL}"
    with started(tmp_path, more=more) as process:
        wait_for(process, " 3/1000")
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == exit_status, errors
        assert f"{number.name}: stopping after this iteration" in errors
        assert "Traceback" not in errors
        status = read_status(tmp_path / "run.json")
        assert status["status"] == "interrupted"
        assert number.name in status["reason"]
        last = load_checkpoint(tmp_path / "checkpoints" / "last.pt")
        assert last["iteration"] == status["iteration"] >= 21
        assert "stopped by" in (tmp_path / "run.log").read_text()
        events = EventAccumulator(str(tmp_path / "train"), size_guidance={"scalars": 0}).Reload()
        written = [event.step for event in events.Scalars("loss/total")]
        assert written == list(range(1, last["iteration"] + 1)), "the event file is complete"


@pytest.mark.slow
def test_the_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    with started(tmp_path, pause=60) as process:
        wait_for(process, "forward")
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        while "once more stops at once" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=50)
        assert process.returncode == 130
        assert time.monotonic() - begun < 50, "it waited for the iteration"
        assert read_status(tmp_path / "run.json")["status"] == "interrupted"
        last = load_checkpoint(tmp_path / "checkpoints" / "last.pt")
        assert last["iteration"] == 0, "as it was when the run began"


@pytest.mark.slow
def test_a_killed_run_leaves_readable_files(tmp_path: Path) -> None:
    with started(tmp_path, pause=0.0) as process:
        wait_for(process, " 5/1000")
        process.kill()
        process.communicate(timeout=60)
        status = read_status(tmp_path / "run.json")
        assert status["status"] == "running"
        assert status["process"] == process.pid
        last = load_checkpoint(tmp_path / "checkpoints" / "last.pt")
        assert last["iteration"] >= 28
        best = load_checkpoint(tmp_path / "checkpoints" / "best.pt")
        assert best["best"]["iteration"] == best["iteration"]


LOADER = """
from torch.utils.data import DataLoader, TensorDataset
from tests.training.parts import cases
from trainkit.data import Data

class Waiting(TensorDataset):
    def __getitem__(self, i):
        time.sleep(0.002)  # so that the run is waiting for a batch when it is stopped
        return super().__getitem__(i)

def load():
    loader = DataLoader(
        Waiting(*cases(104, 1)), batch_size=16, num_workers=2, multiprocessing_context="{method}"
    )
    return Data(loader, DataLoader(TensorDataset(*cases(50, 2)), batch_size=50))

changes = {{"data": load()}}
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", pytest.param("forkserver", marks=pytest.mark.long)])
def test_ctrl_c_in_a_terminal_reaches_the_workers_of_a_loader_too(
    tmp_path: Path, method: str
) -> None:
    more = LOADER.format(method=method)
    module = tmp_path / "loading.py"
    module.write_text("import time\n" + more)  # importable by the workers
    more = f"sys.path.insert(0, {str(tmp_path)!r})\nfrom loading import changes"
    with started(tmp_path / "r", pause=0.0, more=more) as process:
        wait_for(process, " 2/1000")
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130, errors
        assert errors.count("stopping after this iteration") == 1
        assert read_status(tmp_path / "r" / "run.json")["status"] == "interrupted"
        last = load_checkpoint(tmp_path / "r" / "checkpoints" / "last.pt")
        assert last["iteration"] >= 14
