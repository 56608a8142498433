import json
import os
import random
import resource
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from trainkit.rundir import (
    Best,
    Interrupted,
    Interruption,
    RunDirectory,
    Status,
    capture,
    interruption,
    load_checkpoint,
    logged_to,
    preserved_random_state,
    random_state,
    read_status,
    replace_atomically,
    save_checkpoint,
    seed_everything,
    set_random_state,
)
from trainkit.settings import CheckpointSettings


def draws() -> list[float]:
    return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(),
            torch.rand(1).item()]  # fmt: skip


def test_a_folder_is_claimed_once(tmp_path: Path) -> None:
    place = RunDirectory(tmp_path / "a" / "b").create()
    assert place.checkpoints.is_dir()
    with pytest.raises(ValueError, match="already holds a run"):
        RunDirectory(tmp_path / "a" / "b").create()


@pytest.mark.parametrize(
    "trace", ["run.json", "train/events.out.tfevents.1", "test/x.tfevents.2", "checkpoints/last.pt"]
)
def test_a_folder_with_traces_of_a_run_is_refused(tmp_path: Path, trace: str) -> None:
    (tmp_path / trace).parent.mkdir(exist_ok=True)
    (tmp_path / trace).touch()
    with pytest.raises(ValueError, match="already holds a run"):
        RunDirectory(tmp_path).create()


def test_other_files_do_not_matter_but_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / "notes.txt").touch()
    RunDirectory(tmp_path).create()
    with pytest.raises(ValueError, match="is a file"):
        RunDirectory(tmp_path / "notes.txt").create()


def test_replacing_leaves_the_old_file_when_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_atomically(path, lambda file: file.write(b"old"))
    with pytest.raises(ZeroDivisionError):
        replace_atomically(path, lambda file: (file.write(b"half of the new"), 1 / 0))
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_reader_never_sees_half_of_a_file(tmp_path: Path) -> None:
    path, big = tmp_path / "file", 200_000
    replace_atomically(path, lambda file: file.write(b"0" * big))
    seen: set[bytes] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            content = path.read_bytes()
            assert len(content) == big
            seen.add(content[:1] + content[-1:])

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(60):
        digit = str(i % 10).encode()
        replace_atomically(path, lambda file, digit=digit: file.write(digit * big))
    stop.set()
    reader.join()
    assert all(pair[:1] == pair[1:] for pair in seen)


def test_status_is_json_that_every_parser_takes(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    status = Status(path, seed=3)
    first = read_status(path)
    assert (first["status"], first["reason"], first["ended"]) == ("running", None, None)
    assert (first["seed"], first["process"]) == (3, os.getpid())
    values = {"loss": float("nan"), "big": float("inf"), "ok": 0.5}
    status.update(last={"train": values}, path=tmp_path)
    assert read_status(path)["last"]["train"] == {"loss": "nan", "big": "inf", "ok": 0.5}
    status.end("failed", "ValueError: no")
    ended = json.loads(path.read_text(), parse_constant=lambda c: pytest.fail(c))
    assert (ended["status"], ended["reason"]) == ("failed", "ValueError: no")
    assert ended["ended"] is not None
    path.write_text("[]")
    with pytest.raises(ValueError, match="not the status"):
        read_status(path)


def test_random_state_round_trip(tmp_path: Path) -> None:
    seed_everything(5)
    draws()
    random.gauss(0, 1)  # Python keeps every second one back
    np.random.randn()
    save_checkpoint(tmp_path / "s.pt", {"models": {}, "random": random_state()})
    expected = draws()
    draws()
    set_random_state(load_checkpoint(tmp_path / "s.pt")["random"])
    assert draws() == expected


def test_preserved_random_state_also_after_an_error() -> None:
    seed_everything(5)
    expected = draws()
    seed_everything(5)
    with pytest.raises(ZeroDivisionError), preserved_random_state():
        draws().append(1 / 0)
    assert draws() == expected
    seed_everything(5)
    assert draws() == expected


def test_a_checkpoint_that_cannot_be_saved_does_not_cost_the_older_one(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"models": {"model": {"w": torch.ones(2)}}})
    with pytest.raises((TypeError, AttributeError, RuntimeError)):
        save_checkpoint(path, {"models": {}, "lock": threading.Lock()})
    assert torch.equal(load_checkpoint(path)["models"]["model"]["w"], torch.ones(2))
    assert os.listdir(tmp_path) == ["last.pt"]


def test_something_else_is_no_checkpoint(tmp_path: Path) -> None:
    torch.save([1], tmp_path / "x.pt")
    with pytest.raises(ValueError, match="not a checkpoint"):
        load_checkpoint(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("metric", "mode", "values", "best"),
    [
        ("loss", "auto", [3.0, 1.0, 2.0], 2),
        ("rmse", "auto", [3.0, 1.0, 2.0], 2),
        ("accuracy", "auto", [0.1, 0.9, 0.9], 2),
        ("loss", "max", [3.0, 1.0, 2.0], 1),
        ("loss", "auto", [float("nan"), 5.0, float("-inf"), float("nan")], 2),
        ("loss", "auto", [float("nan")], 0),
    ],
)
def test_best(metric: str, mode: str, values: list[float], best: int) -> None:
    tracked = Best.of(CheckpointSettings(metric=metric, mode=mode))
    for i, value in enumerate(values, 1):
        tracked.improve(value, i)
    assert tracked.iteration == best


def test_the_second_request_stops_at_once_and_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with interruption() as stop:
        stop.check()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted) as first:
            stop.check()
        assert (first.value.exit_status, first.value.at_once) == (143, False)
        with pytest.raises(Interrupted) as second:
            signal.raise_signal(signal.SIGINT)
        assert (second.value.exit_status, second.value.at_once) == (130, True)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_outside_of_the_main_thread_signals_are_left_alone() -> None:
    found: list[Interruption] = []

    def work() -> None:
        with interruption() as stop:
            found.append(stop)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    found[0].check()


def test_log_goes_to_the_file_with_the_traceback(tmp_path: Path) -> None:
    import logging

    log = logging.getLogger("trainkit.training")
    with logged_to(tmp_path / "run.log"):
        log.info("begun")
        try:
            raise KeyError("lost")
        except KeyError:
            log.exception("failed")
    log.error("afterwards")
    text = (tmp_path / "run.log").read_text()
    assert "begun" in text
    assert "Traceback" in text
    assert "KeyError: 'lost'" in text
    assert "afterwards" not in text


def test_a_log_that_is_deleted_is_begun_again(tmp_path: Path) -> None:
    import logging

    log = logging.getLogger("trainkit.training")
    path = tmp_path / "run" / "run.log"
    path.parent.mkdir()
    with logged_to(path):
        log.info("before")
        shutil.rmtree(path.parent)
        log.info("after")
        shutil.rmtree(path.parent)
        path.parent.write_text("a file now: the log cannot be there")
        log.info("nowhere")
        path.parent.unlink()
        log.info("at the end")
    assert "at the end" in path.read_text()


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip


def test_capture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "hunter2")
    monkeypatch.setattr("sys.argv", ["train", "logger.api_key=hunter2", "optimizer.lr=0.1"])
    project, run = tmp_path / "project", tmp_path / "run"
    project.mkdir()
    run.mkdir()
    git(project, "init", "-b", "trunk")
    (project / "model.py").write_text("depth = 1\n")
    git(project, "add", ".")
    git(project, "commit", "-m", "x")
    (project / "model.py").write_text("depth = 2\n")
    (project / "new.py").touch()
    capture(run, "a: 1\n", ["optimizer.lr=0.1", "model=mlp"], project)
    assert (run / "config.yaml").read_text() == "a: 1\n"
    assert (run / "overrides.txt").read_text() == "optimizer.lr=0.1\nmodel=mlp\n"
    state = (run / "git.txt").read_text()
    assert state.startswith("commit ")
    assert "branch trunk" in state
    assert "?? new.py" in state
    assert "-depth = 1\n+depth = 2" in (run / "git.diff").read_text()
    environment = json.loads((run / "environment.json").read_text())
    assert environment["packages"]["torch"] == torch.__version__
    assert environment["command"] == ["train", "logger.api_key=***", "optimizer.lr=0.1"]
    everything = "".join(f.read_text() for f in run.iterdir())
    assert "hunter2" not in everything


def test_a_capture_that_is_broken_off_leaves_no_half_file(tmp_path: Path) -> None:
    """A run that was killed here is resumed with the config that stands there."""
    capture(tmp_path, "a: 1\n", ["a=1"], tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        with pytest.raises(OSError, match="File too large"):
            capture(tmp_path, "a: 2\n" * 100, ["a=2"], tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "config.yaml").read_text() == "a: 1\n"
    assert (tmp_path / "overrides.txt").read_text() == "a=1\n"
    assert not list(tmp_path.glob(".*"))


def test_capture_without_a_repository(tmp_path: Path) -> None:
    capture(tmp_path, project=tmp_path)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["environment.json", "overrides.txt"]
