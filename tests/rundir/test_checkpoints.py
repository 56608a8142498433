"""Checkpoints: what is damaged is recognised, and what is kept when a write is cut off."""

import os
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.training.resuming import differences
from trainkit.rundir import (
    FORMAT,
    Best,
    CheckpointFolder,
    DamagedCheckpointError,
    load_checkpoint,
    save_checkpoint,
    snapshot,
)

SEED = 20261127


def state(iteration: int = 1, size: int = 2000) -> dict[str, Any]:
    g = torch.Generator().manual_seed(iteration)
    weights = {f"layer.{i}": torch.randn(size, generator=g) for i in range(20)}
    return {"format": FORMAT, "run": "a", "iteration": iteration, "models": {"model": weights}}


def damaged(content: bytes, kind: str, draw: random.Random) -> bytes:
    if kind == "truncated":
        return content[: draw.randrange(len(content))]
    if kind == "zeroed":
        at = draw.randrange(0, len(content), 4096)
        return content[:at] + bytes(len(content[at : at + 4096])) + content[at + 4096 :]
    at, bit = draw.randrange(len(content)), draw.randrange(8)
    return content[:at] + bytes([content[at] ^ (1 << bit)]) + content[at + 1 :]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "count"), [("flipped", 1000), ("zeroed", 300), ("truncated", 300)]
)
def test_damages_are_recognised_or_harmless(tmp_path: Path, kind: str, count: int) -> None:
    """1,600 of them. A load that raises nothing must give the very same state."""
    path, draw = tmp_path / "last.pt", random.Random(SEED)
    save_checkpoint(path, state())
    content, whole = path.read_bytes(), load_checkpoint(path)
    silent = 0
    for _ in range(count):
        path.write_bytes(damaged(content, kind, draw))
        try:
            found = load_checkpoint(path)
        except DamagedCheckpointError:
            continue
        silent += 1
        assert not differences(found, whole)
    print(f"{kind}: {count} damages, {silent} harmless, the others recognised")
    assert silent < count / 10


@pytest.mark.parametrize(
    "make",
    [
        lambda: b"",
        lambda: bytes(5000),
        lambda: b"no checkpoint at all",
        lambda: _saved({"weights": torch.ones(2)}),
        lambda: _saved([1, 2]),
        lambda: _zip({"a.txt": b"hello"}),
    ],
)
def test_what_is_no_checkpoint(tmp_path: Path, make: Callable[[], bytes]) -> None:
    path = tmp_path / "last.pt"
    path.write_bytes(make())
    with pytest.raises(DamagedCheckpointError, match=r"last\.pt"):
        load_checkpoint(path)


def _saved(value: Any) -> bytes:
    buffer = BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_the_one_before_is_used_and_that_is_said(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    for iteration in (1, 2, 3):
        folder.save(state(iteration), last=True)
    path, found, refused = folder.newest("a")
    assert (path.name, found["iteration"], refused) == ("last.pt", 3, [])
    content = bytearray((tmp_path / "last.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "last.pt").write_bytes(content)
    path, found, refused = folder.newest("a")
    assert (path.name, found["iteration"]) == ("previous.pt", 2)
    assert "last.pt is damaged: the checksum of" in refused[0]
    with pytest.raises(DamagedCheckpointError, match=r"of another run \(a, not b\)"):
        folder.newest("b")


def test_an_older_format_is_named(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last.pt", {**state(), "format": 1})
    with pytest.raises(DamagedCheckpointError, match="is of format 1, this trainkit resumes from"):
        CheckpointFolder(tmp_path).newest("a")


def test_the_best_are_kept(tmp_path: Path) -> None:
    folder, best = CheckpointFolder(tmp_path), Best("loss", "min", count=2)
    for iteration, value in enumerate([0.5, 0.9, 0.4, 0.45, 0.6], 1):
        better = best.improve(value, iteration)
        kept = [each[1] for each in best.kept]
        folder.save(state(iteration), last=True, best=better, kept=kept)
    assert sorted(path.name for path in tmp_path.glob("*.pt")) == [
        "best.pt", "best_3.pt", "best_4.pt", "last.pt", "previous.pt",
    ]  # fmt: skip
    assert load_checkpoint(tmp_path / "best.pt")["iteration"] == 3
    assert load_checkpoint(tmp_path / "previous.pt")["iteration"] == 4


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=30), st.integers(1, 5), st.booleans())
def test_the_best_by_definition(values: list[float], count: int, larger: bool) -> None:
    best = Best("x", "max" if larger else "min", count=count)
    for i, value in enumerate(values):
        before = values[:i]
        better = not before or (value > max(before) if larger else value < min(before))
        assert best.improve(value, i) == better
    expected = sorted(
        enumerate(values), key=lambda each: (-each[1] if larger else each[1], each[0])
    )
    assert best.kept == [(value, i) for i, value in expected[:count]]


class Recorded:
    """Records what happens to files, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.operations: list[tuple[str, str]] = []
        paths: dict[int, str] = {}
        for name in ("replace", "link", "unlink"):
            original = getattr(os, name)

            def call(*args: Any, name: str = name, original: Any = original, **k: Any) -> Any:
                self.operations.append((name, Path(args[-1]).name))
                return original(*args, **k)

            monkeypatch.setattr(os, name, call)
        fsync = os.fsync

        def sync(descriptor: int) -> None:
            paths[descriptor] = os.readlink(f"/proc/self/fd/{descriptor}")
            self.operations.append(("fsync", Path(paths[descriptor]).name))
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", sync)


def test_the_order_of_file_operations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoints")
    folder.save(state(1), last=True, best=True, kept=[1])
    recorded = Recorded(monkeypatch)
    folder.save(state(2), last=True, best=True, kept=[2])
    temporary = f".best.pt.{os.getpid()}.tmp"
    names = [op for op in recorded.operations if op[0] != "unlink"]
    assert names == [
        ("fsync", temporary), ("replace", "best.pt"), ("fsync", "checkpoints"),
        ("link", f".previous.pt.{os.getpid()}.tmp"), ("replace", "previous.pt"),
        ("link", f".last.pt.{os.getpid()}.tmp"), ("replace", "last.pt"),
        ("fsync", "checkpoints"),
    ]  # fmt: skip


@pytest.fixture
def cut_off(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Has the n-th call that changes files raise, as a process that is killed there."""

    class Killed(BaseException):
        pass

    counted = 0

    def arm(at: int) -> None:
        nonlocal counted
        counted = 0
        for name in ("replace", "link", "fsync"):
            original = getattr(os, name)

            def call(*args: Any, original: Any = original, **k: Any) -> Any:
                nonlocal counted
                counted += 1
                if counted == at:
                    raise Killed
                return original(*args, **k)

            monkeypatch.setattr(os, name, call)

    arm.killed = Killed  # type: ignore[attr-defined]
    return arm


@pytest.mark.parametrize("at", range(1, 9))
def test_cut_off_anywhere_there_is_a_sound_state(
    tmp_path: Path, cut_off: Any, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(state(1), last=True, best=True, kept=[1])
    folder.save(state(2), last=True, best=False)
    cut_off(at)
    with pytest.raises(cut_off.killed):
        folder.save(state(3), last=True, best=True, kept=[3])
    monkeypatch.undo()
    found = folder.newest("a")[1]
    assert found["iteration"] in (2, 3)
    assert not differences(found["models"], state(found["iteration"])["models"])
    best = load_checkpoint(tmp_path / "best.pt")
    assert best["iteration"] in (1, 3)


def test_a_snapshot_is_out_of_reach() -> None:
    weight = torch.randn(3, 4)
    tied = {"a": weight, "b": weight, "c": weight.t(), "n": [1, (2.0, None)]}
    copy = snapshot(tied)
    assert not differences(copy, tied)
    assert copy["a"].data_ptr() == copy["b"].data_ptr() != weight.data_ptr()
    weight.zero_()
    assert bool(copy["a"].any())
    assert bool(copy["c"].any())
    sparse = torch.eye(3).to_sparse()
    assert torch.equal(snapshot([sparse])[0].to_dense(), torch.eye(3))
    module = torch.nn.BatchNorm1d(2)
    versions = "_metadata"  # of torch: of which version of the class each module's state is
    copied = snapshot(module.state_dict())
    assert getattr(copied, versions) == getattr(module.state_dict(), versions)


def test_a_fork_waits_for_a_save(tmp_path: Path) -> None:
    """A loader starts its workers while a checkpoint is written: the child must hold no lock."""
    code = """
import os, threading, time
from trainkit.rundir import Bookkeeping, SaveThread
lock, begun = threading.Lock(), threading.Event()

def write():
    with lock:
        begun.set()
        time.sleep(0.5)

thread = SaveThread(Bookkeeping())
thread.start("last.pt", write)
begun.wait()
child = os.fork()
if child == 0:
    os._exit(0 if lock.acquire(timeout=5) else 1)
print("exit", os.waitpid(child, 0)[1])
thread.wait()
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True,
                          text=True, timeout=60)  # fmt: skip
    assert done.stdout == "exit 0\n", done.stderr
