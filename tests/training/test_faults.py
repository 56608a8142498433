"""What goes wrong around a training: it ends no training, and loses no state."""

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from ignite.metrics import Accuracy
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from tests.cli.project import environment
from tests.training.parts import FULL, go, network, weights
from trainkit.config.directories import reserve
from trainkit.engines import supervised_engines
from trainkit.rundir import (
    Interrupted,
    interruption,
    load_checkpoint,
    read_history,
    read_status,
)
from trainkit.schedules import step
from trainkit.settings import TrainerSettings


class At(nn.Module):
    """A model that does something before some training iterations."""

    def __init__(self, actions: dict[int, Callable[[], object]]) -> None:
        super().__init__()
        self.inner, self.actions, self.calls = network(), actions, 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
            self.actions.get(self.calls, lambda: None)()
        y: Tensor = self.inner(x)
        return y


LONG = TrainerSettings(epochs=6, progress_bar=False)


def remove(folder: Path) -> None:
    """Remove a folder into which a thread of the run may be writing at this moment."""
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=True)


def test_a_disk_that_is_full_for_a_while(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE)
    plain = go(tmp_path / "plain", model=partial(At, {}), trainer=LONG)
    capsys.readouterr()
    caplog.clear()
    actions = {10: partial(limit, (10, hard)), 26: partial(limit, (soft, hard))}
    try:
        result = go(tmp_path / "r", model=partial(At, actions), trainer=LONG, monitor=FULL)
    finally:
        limit((soft, hard))
    assert torch.equal(weights(plain), weights(result))
    status = read_status(tmp_path / "r" / "run.json")
    assert (status["status"], status["iteration"]) == ("completed", 42)
    assert [row["epoch"] for row in read_history(tmp_path / "r" / "history.csv")] == [*range(1, 7)]
    assert load_checkpoint(tmp_path / "r" / "checkpoints" / "last.pt")["iteration"] == 42
    for name in ("run.json", "history.csv", "checkpoints/last.pt"):
        told = [r.getMessage() for r in caplog.records if r.getMessage().startswith(name)]
        assert len(told) == 2, told
        assert "cannot be written (File too large)" in told[0]
        assert "written again" in told[1]
    assert "alarm" not in capsys.readouterr().out, "it is over"
    assert not list((tmp_path / "r").rglob("*.tmp"))


def test_a_disk_that_stays_full(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE)
    try:
        result = go(
            tmp_path, model=partial(At, {10: partial(limit, (10, hard))}), trainer=LONG,
            monitor=FULL,
        )  # fmt: skip
    finally:
        limit((soft, hard))
    assert result.status == "completed"
    told = " ".join(result.alarms)
    for name in ("run.json", "history.csv", "checkpoints/last.pt", "event files of train"):
        assert name in told
    assert result.best_iteration not in (None, 7)
    # What was being written when the disk became full is not there either.
    assert "best.pt cannot be used (" in told
    assert "it holds iteration 7, not" in told or "No such file" in told
    assert result.tested_with == "last"
    out = capsys.readouterr().out
    assert out.index("alarm ") < out.index("ended ")


def test_a_folder_that_is_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "r"
    result = go(place, model=At({10: lambda: remove(place)}), trainer=LONG)
    assert result.status == "completed"
    assert result.iterations == 42
    assert not any(record.exc_info for record in caplog.records)
    assert load_checkpoint(place / "checkpoints" / "last.pt")["iteration"] == 42
    assert read_status(place / "run.json")["status"] == "completed"
    assert len(read_history(place / "history.csv")) == 6


def test_a_best_checkpoint_that_is_damaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = tmp_path / "checkpoints" / "best.pt"
    settings = TrainerSettings(epochs=4, progress_bar=False)
    worse = partial(torch.optim.SGD, lr=0.2)

    def damage() -> None:
        if best.exists():
            best.write_bytes(b"no checkpoint")

    actions = dict.fromkeys(range(9, 29), damage)
    result = go(
        tmp_path, model=At(actions), trainer=settings, optimizer=worse,
        scheduler=partial(step, step_size=1, gamma=20.0),
    )  # fmt: skip
    assert result.best_iteration is not None
    assert result.best_iteration < result.iterations
    assert result.tested_with == "last"
    assert result.test
    assert f"alarm       {best} cannot be used" in capsys.readouterr().out


class Fails(Accuracy):
    """A metric that fails in its `after`-th evaluation."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    def compute(self) -> Any:
        self.left -= 1
        if self.left < 0:
            raise ArithmeticError("no such accuracy")
        return super().compute()


def engine_with(handler: Callable[[Engine], object], event: Events) -> Any:
    def make(model: Any, optimizers: Any, loss_fn: Any, device: Any) -> Any:
        engines = supervised_engines(model, optimizers, loss_fn, device)
        engines.trainer.add_event_handler(event, handler)
        return engines

    return partial(make)


def out_of_memory(engine: Engine) -> None:
    if engine.state.iteration == 10:
        raise torch.OutOfMemoryError("made up")


@pytest.mark.parametrize(
    ("changes", "iteration"),
    [
        ({"metrics": {"accuracy": partial(Fails, 3)}}, 14),
        ({"engine": engine_with(out_of_memory, Events.ITERATION_COMPLETED)}, 10),
        ({"samples": {}, "engine": engine_with(out_of_memory, Events.GET_BATCH_STARTED)}, 10),
    ],
)
def test_an_exception_between_iterations_saves_the_state(
    changes: dict[str, Any], iteration: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises((ArithmeticError, torch.OutOfMemoryError)):
        go(tmp_path, **changes)
    last = load_checkpoint(tmp_path / "checkpoints" / "last.pt")
    assert last["iteration"] == iteration
    assert read_status(tmp_path / "run.json")["status"] == "failed"
    out = capsys.readouterr().out
    assert f"ended       failed at iteration {iteration} of 21 (epoch 2 of 3)" in out
    assert f"last.pt (iteration {iteration})" in out


def test_an_exception_within_an_iteration_does_not(tmp_path: Path) -> None:
    def fail() -> None:
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        go(tmp_path, model=At({10: fail}))
    assert load_checkpoint(tmp_path / "checkpoints" / "last.pt")["iteration"] == 7


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"])
def test_a_signal_that_is_ignored_at_the_start_stays_ignored(name: str) -> None:
    number = signal.Signals[name]
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with interruption() as stop:
            os.kill(os.getpid(), number)
            try:
                stop.check()
            except Interrupted:  # a KeyboardInterrupt: it would end the tests
                pytest.fail(f"{name} was caught")
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize(("name", "status"), [("SIGHUP", 129), ("SIGUSR1", 138), ("SIGUSR2", 140)])
def test_other_signals_stop_after_the_iteration(name: str, status: int, tmp_path: Path) -> None:
    if signal.getsignal(signal.Signals[name]) is signal.SIG_IGN:
        pytest.skip(f"{name} is ignored here (nohup), and a run leaves it so")
    kill = partial(os.kill, os.getpid(), signal.Signals[name])
    with pytest.raises(Interrupted) as stopped:
        go(tmp_path, model=At({10: kill}))
    assert stopped.value.exit_status == status
    assert read_status(tmp_path / "run.json")["reason"] == (
        f"stopped by {name} at iteration 10 of 21 (epoch 2 of 3)"
    )
    assert load_checkpoint(tmp_path / "checkpoints" / "last.pt")["iteration"] == 10


def test_run_log_is_no_program(tmp_path: Path) -> None:
    log = reserve(tmp_path / "r") / "run.log"
    assert log.stat().st_mode & 0o111 == 0


FORKS = """
import os, sys
from tests.training.test_faults import At
from tests.training.parts import go

def fork():
    if os.fork() == 0:
        raise RuntimeError("the child leaves")

go(sys.argv[1], model=At({10: fork}))
os.wait()
"""


@pytest.mark.slow
def test_a_forked_child_that_leaves_by_an_exception(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKS, str(tmp_path / "r")],
        env=environment(), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "the child leaves" not in (tmp_path / "r" / "run.log").read_text()
    status = read_status(tmp_path / "r" / "run.json")
    assert (status["status"], status["iteration"]) == ("completed", 21)


RUN = (
    f'"{sys.executable}" -m trainkit run +experiment=diabetes trainer.epochs=3 monitor=none '
    "hydra.run.dir=r"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        f"{RUN} >&- 2>&- <&-",
        f"{RUN} >/dev/full 2>/dev/full",
        f"set -o pipefail; {RUN} 2>err | head -1",
        f"PYTHONIOENCODING=ascii {RUN} name=caf\N{LATIN SMALL LETTER E WITH ACUTE}",
    ],
)
def test_printing_never_ends_a_training(command: str, tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=tmp_path, env=environment(), capture_output=True, check=False, timeout=120,
    )  # fmt: skip
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    if "name=" in command and done.returncode == 2:
        return  # such a name is refused, in one line that could be printed
    assert done.returncode == 0, done.stderr.decode()
    assert read_status(tmp_path / "r" / "run.json")["status"] == "completed"


@pytest.mark.slow
def test_a_signal_writes_into_no_event_file(tmp_path: Path) -> None:
    """With standard error closed the next file that is opened would get its number."""
    command = (
        f'exec "{sys.executable}" -m trainkit run +experiment=diabetes trainer.epochs=100000 '
        "hydra.run.dir=r monitor.every=1 2>&-"
    )
    with subprocess.Popen(
        ["bash", "-c", command], cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        try:
            assert any(" 2/100000" in line for line in running.stdout)
        finally:
            running.terminate()
        running.communicate(timeout=60)
    assert running.returncode == 143
    for part in ("train", "validation"):
        for file in (tmp_path / "r" / part).glob("*tfevents*"):
            assert b"stopping after" not in file.read_bytes()
        found = EventAccumulator(str(tmp_path / "r" / part), size_guidance={"scalars": 0}).Reload()
        assert len(found.Scalars("loss/total")) >= 2
