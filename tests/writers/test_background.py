import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine

from tests.writers.reading import event_files, raw_events, raw_scalars
from trainkit.handlers.monitors.losses import LossMonitor
from trainkit.handlers.sampling.budget import Budget
from trainkit.handlers.sampling.sampler import Sampler
from trainkit.writers import BackgroundWriter, MemoryWriter, Scalars, open_writer, subrun
from trainkit.writers.step.host_step import Step


class Slow(MemoryWriter):
    """Takes a step only when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.closed = False

    def write(self, steps: Sequence[Step]) -> None:
        assert self.go.wait(30)
        for each in steps:
            super().write_scalars(each.step, each.scalars)

    def close(self) -> None:
        self.closed = True


class Broken(MemoryWriter):
    def write(self, steps: Sequence[Step]) -> None:
        raise OSError(28, "No space left on device")

    def subrun(self, name: str) -> "Broken":
        return Broken()


def until(condition: object) -> None:
    """Wait for something that is bound to happen."""
    end = time.monotonic() + 30
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def no_writer_of_another_test() -> None:
    gc.collect()  # closes what other tests left in cycles of references


def threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "trainkit-writer"]


def test_everything_arrives_in_order(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    for step in range(1000):
        writer.write_scalars(step, {"a": torch.tensor(float(step))})
        writer.write_scalars(step, {"b": -step})
    writer.close()
    found = raw_scalars(tmp_path)
    assert found["a"] == [(step, float(step)) for step in range(1000)]
    assert found["b"] == [(step, -float(step)) for step in range(1000)]
    (path,) = event_files(tmp_path)
    assert len(raw_events(path)) == 1001
    assert not threads()


def test_a_call_waits_only_while_the_queue_is_full() -> None:
    slow = Slow()
    writer = BackgroundWriter(slow, queue_size=3)
    # One step is being gathered and one is with the thread at most: these never wait.
    for step in range(4):
        writer.write_scalars(step, {"a": step})
    last = threading.Thread(
        target=lambda: [writer.write_scalars(step, {"a": step}) for step in range(4, 9)],
    )
    last.start()
    last.join(0.3)
    assert last.is_alive()
    slow.go.set()
    last.join(30)
    assert not last.is_alive()
    writer.close()
    assert slow.closed
    assert slow.scalars["a"] == [(step, float(step)) for step in range(9)]


def test_few_large_steps_wait() -> None:
    """Eight of them with the usual queue, which has room for 256 others."""
    slow = Slow()
    writer = BackgroundWriter(slow)
    written = 0

    def write() -> None:
        nonlocal written
        for step in range(40):
            many = Scalars(("a",), (torch.full((20_000,), float(step)),), finish=lambda x: x[:, :1])
            writer.write_scalars(step, many)
            written = step + 1

    thread = threading.Thread(target=write)
    thread.start()
    until(lambda: written == 9)
    thread.join(0.3)
    # Eight wait or are with the thread, the ninth is being gathered, the tenth call waits.
    assert written == 9
    slow.go.set()
    thread.join(30)
    assert not thread.is_alive()
    writer.close()
    assert slow.scalars["a"] == [(step, float(step)) for step in range(40)]


def test_a_step_is_written_though_no_other_comes() -> None:
    memory = MemoryWriter()
    writer = BackgroundWriter(memory)
    writer.write_scalars(7, {"a": 1.0})
    until(lambda: memory.scalars == {"a": [(7, 1.0)]})
    writer.close()


def test_a_step_can_be_read_after_a_while_without_a_flush(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    writer.write_scalars(7, {"a": 1.0})
    until(lambda: raw_scalars(tmp_path) == {"a": [(7, 1.0)]})
    writer.close()


def test_any_writer_gets_host_numbers_by_its_verbs() -> None:
    memory = MemoryWriter()
    writer = BackgroundWriter(memory)
    writer.write_scalars(1, {"a": torch.tensor(0.1, dtype=torch.float64), "b": 3})
    writer.write_histograms(1, {"h": torch.tensor([1.0, float("nan")])})
    writer.write_texts(1, {"t": "text"})
    writer.write_images(1, {"i": torch.ones(2, 2)})
    writer.write_hparams(1, {"lr": 0.1})
    writer.flush()
    assert memory.scalars == {"a": [(1, 0.1)], "b": [(1, 3.0)]}
    ((_, histogram),) = memory.histograms["h"]
    assert histogram.moments.tolist() == [1.0, 1.0, 1.0, 1.0]
    assert int(histogram.non_finite) == 1
    assert memory.texts == {"t": [(1, "text")]}
    assert memory.images["i"][0][1].tolist() == [[[[255, 255], [255, 255]]]]
    assert memory.hparams == {"lr": 0.1}
    writer.close()


def test_subruns_share_the_thread(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    validation = subrun(writer, "validation")
    inner = subrun(validation, "large")
    assert subrun(writer, "validation") is validation
    assert len(threads()) == 1
    for w, value in ((writer, 1.0), (validation, 2.0), (inner, 3.0)):
        w.write_scalars(1, {"loss/total": value})
    validation.close()
    assert raw_scalars(tmp_path / "validation") == {"loss/total": [(1, 2.0)]}
    writer.close()
    assert raw_scalars(tmp_path) == {"loss/total": [(1, 1.0)]}
    assert raw_scalars(tmp_path / "validation/large") == {"loss/total": [(1, 3.0)]}
    with pytest.raises(RuntimeError, match="closed"):
        validation.write_scalars(2, {"loss/total": 2.0})


def test_only_the_numbers_of_the_run_itself_count_as_time_of_the_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = 0.0
    monkeypatch.setattr(time, "thread_time", lambda: taken)

    class Busy(MemoryWriter):
        def write(self, steps: Sequence[Step]) -> None:
            nonlocal taken
            taken += 1.0

        def subrun(self, name: str) -> "Busy":
            return Busy()

    writer = BackgroundWriter(Busy())
    writer.write_texts(0, {"config": "text"})
    subrun(writer, "validation").write_scalars(1, {"loss/total": 2.0})
    writer.flush()
    until(lambda: taken == 2.0)
    writer.write_images(2, {"picture": torch.ones(2, 2)})
    writer.write_scalars(3, {"loss/total": 2.0})
    writer.flush()
    until(lambda: taken == 4.0 and writer.thread_seconds == 1.0)
    writer.close()


def test_a_fault_raises_nothing_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    writer = BackgroundWriter(Broken(), queue_size=1)
    writer.write_scalars(5, {"a": 1.0})
    writer.flush()
    assert isinstance(writer.failing, OSError)
    writer.write_scalars(6, {"a": 1.0})
    writer.close()
    writer.close()
    assert not threads()
    failed, closed = (record.getMessage() for record in caplog.records)
    assert "No space left on device" in failed
    assert "lost: 2 steps between 5 and 6" in closed


def test_after_a_fault_nobody_waits_for_room(caplog: pytest.LogCaptureFixture) -> None:
    """Steps already gathered, of all sub-runs, are still taken."""
    writer = BackgroundWriter(Broken(), queue_size=1)
    lanes = [writer.subrun(str(i)) for i in range(4)]
    for lane in lanes:
        lane.write_scalars(1, {"a": 1.0})
    writer.close()
    failed = [record for record in caplog.records if "tried again" in record.getMessage()]
    assert len(failed) == 1


def test_a_forgotten_writer_is_written_out(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    writer.write_scalars(1, {"a": 1.0})
    del writer
    gc.collect()
    until(lambda: not threads())
    assert raw_scalars(tmp_path) == {"a": [(1, 1.0)]}


def test_writers_that_only_finished_engines_know_are_forgotten_with_them(tmp_path: Path) -> None:
    """No thread and no file stays, without `close`; nothing is lost."""

    def train(i: int) -> weakref.ref[BackgroundWriter]:
        writer = open_writer(tmp_path / str(i))
        trainer = Engine(lambda engine, batch: batch)
        LossMonitor(writer, Sampler(Budget(0.5)), every_iteration=True).attach(trainer)
        trainer.run([1.0] * 20)
        return weakref.ref(writer)

    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    writers = [train(i) for i in range(5)]
    gc.collect()
    until(lambda: not threads())
    assert [writer() for writer in writers] == [None] * 5
    for i in range(5):
        assert raw_scalars(tmp_path / str(i))["loss/total"] == [(n, 1.0) for n in range(1, 21)]
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize(
    ("kind", "end"),
    [("open_writer", ""), ("open_writer", "raise ValueError"), ("EventFileWriter", "sys.exit(3)")],
)
def test_the_end_of_the_interpreter_loses_nothing(tmp_path: Path, kind: str, end: str) -> None:
    code = (
        f"import sys, trainkit.writers as w; writer = w.{kind}(sys.argv[1])\n"
        "for step in range(50): writer.write_scalars(step, {'a': step})\n"
        f"writer.subrun('validation').write_scalars(1, {{'a': 1.0}})\n{end}"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, capture_output=True)
    assert raw_scalars(tmp_path) == {"a": [(step, float(step)) for step in range(50)]}
    assert raw_scalars(tmp_path / "validation") == {"a": [(1, 1.0)]}


def test_a_killed_process_leaves_what_was_flushed(tmp_path: Path) -> None:
    code = (
        "import itertools, sys, trainkit.writers as w; writer = w.open_writer(sys.argv[1])\n"
        "for step in range(300): writer.write_scalars(step, {f'{i}': step for i in range(40)})\n"
        "writer.flush(); print('flushed', flush=True)\n"
        "for step in itertools.count(300):\n"
        "    writer.write_scalars(step, {f'{i}': step for i in range(40)})"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"flushed\n"
    time.sleep(0.2)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    found = raw_scalars(tmp_path)
    assert len(found) == 40
    for points in found.values():
        assert len(points) >= 300
        assert points == [(step, float(step)) for step in range(len(points))]


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.99])
def test_a_torn_file_is_read_up_to_the_tear(tmp_path: Path, kept: float) -> None:
    writer = open_writer(tmp_path)
    for step in range(100):
        writer.write_scalars(step, {"a": step})
    writer.close()
    (path,) = event_files(tmp_path)
    size = path.stat().st_size
    os.truncate(path, int(size * kept))
    points = raw_scalars(tmp_path)["a"]
    assert points == [(step, float(step)) for step in range(len(points))]
    assert abs(len(points) - 100 * kept) <= 3


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_neither_hangs_nor_writes(tmp_path: Path) -> None:
    code = """
import gc, os, sys, trainkit.writers as w
writer = w.open_writer(sys.argv[1])
writer.subrun("validation").write_scalars(1, {"a": 1.0})
writer.write_scalars(1, {"a": 1.0})
child = os.fork()
if child == 0:
    for act in (lambda: writer.write_scalars(2, {"a": 2.0}), writer.flush):
        try:
            act()
        except RuntimeError as error:
            assert "belongs to process" in str(error), error
        else:
            raise SystemExit("should be refused")
    writer.close()
    del writer
    gc.collect()
    sys.exit(0)
status = os.waitpid(child, 0)[1]
writer.write_scalars(3, {"a": 3.0})
sys.exit(os.waitstatus_to_exitcode(status))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(tmp_path)],
        check=False, capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert raw_scalars(tmp_path) == {"a": [(1, 1.0), (3, 3.0)]}
    assert raw_scalars(tmp_path / "validation") == {"a": [(1, 1.0)]}


@pytest.mark.parametrize("bad", [{"queue_size": 0}, {"flush_seconds": 0.0}])
def test_bad_settings_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        BackgroundWriter(MemoryWriter(), **bad)  # type: ignore[arg-type]
