"""A disk that is full for a while, a folder that vanishes, a service that cannot be reached."""

import errno
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine

from tests.writers.reading import accumulated, event_files, raw_events
from trainkit import LossMonitor, attach_monitors
from trainkit.writers import (
    BackgroundWriter,
    EventFileWriter,
    MemoryWriter,
    SeveralWriter,
    open_writer,
)
from trainkit.writers.step.host_step import Step


class Disk:
    """Files that take so many bytes more, and then half of what they are given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room: float = float("inf")
        self.error = errno.ENOSPC
        self.may_be_cut = True
        really_open = Path.open
        disk = self

        class File:
            def __init__(self, file: Any) -> None:
                self._file = file

            def write(self, data: bytes) -> int:
                if disk.room <= 0:
                    raise OSError(disk.error, os.strerror(disk.error))
                written = int(self._file.write(data[: int(min(len(data), disk.room))]))
                disk.room -= written
                return written

            def truncate(self, size: int) -> int:
                if not disk.may_be_cut:
                    raise OSError(errno.EIO, "no")
                return int(self._file.truncate(size))

            def __getattr__(self, name: str) -> Any:
                return getattr(self._file, name)

        def opened(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            file = really_open(path, mode, *args, **kwargs)
            return File(file) if mode == "xb" else file

        monkeypatch.setattr(Path, "open", opened)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainkit.writers.outage.FIRST_PAUSE", 0.02)
    monkeypatch.setattr("trainkit.writers.outage.LONGEST_PAUSE", 0.05)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name.startswith("trainkit")]


def until(condition: object) -> None:
    end = time.monotonic() + 30
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)


def points(directory: Path, tag: str = "a") -> list[tuple[int, float]]:
    """As TensorBoard reads them, of all files."""
    return [(event.step, event.value) for event in accumulated(directory).Scalars(tag)]


@pytest.mark.parametrize("half", [0, 11, 30])
@pytest.mark.parametrize(
    ("error", "files"), [(errno.ENOSPC, 1), (errno.EDQUOT, 1), (errno.EIO, 2), (errno.EFBIG, 2)]
)
def test_a_disk_that_fails_for_a_while_loses_nothing(
    tmp_path: Path, disk: Disk, caplog: pytest.LogCaptureFixture, error: int, files: int, half: int
) -> None:
    """Also where half a record was written before it failed."""
    writer = EventFileWriter(tmp_path)
    disk.error = error
    for step in range(30):
        if step == 10:
            disk.room = half
        if step == 20:
            assert points(tmp_path) == [(i, float(i)) for i in range(10)]
            time.sleep(0.1)
            disk.room = float("inf")
        writer.write_scalars(step, {"a": step})
        writer.flush()
        assert (writer.failing is not None) == (10 <= step < 20)
    writer.close()
    assert points(tmp_path) == [(step, float(step)) for step in range(30)]
    assert len(event_files(tmp_path)) == files
    failed, again = lines(caplog)
    assert str(tmp_path) in failed
    assert os.strerror(error) in failed
    assert "nothing was lost" in again


def test_half_a_record_that_cannot_be_cut_off_ends_its_file(tmp_path: Path, disk: Disk) -> None:
    writer = EventFileWriter(tmp_path)
    writer.write_scalars(1, {"a": 1.0})
    writer.flush()
    disk.room, disk.may_be_cut = 20, False
    writer.write_scalars(2, {"a": 2.0})
    writer.flush()
    time.sleep(0.1)
    disk.room = float("inf")
    writer.write_scalars(3, {"a": 3.0})
    writer.close()
    assert points(tmp_path) == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert len(event_files(tmp_path)) == 2


def test_what_is_kept_has_a_bound_and_what_is_lost_is_said(
    tmp_path: Path,
    disk: Disk,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trainkit.writers.tensorboard.event_log.KEPT", 1000)
    writer = EventFileWriter(tmp_path)
    disk.room = 0
    for step in range(100):
        writer.write_scalars(step, {"a": step})
        writer.flush()
    time.sleep(0.1)
    disk.room = float("inf")
    writer.write_scalars(100, {"a": 100})
    writer.close()
    found = points(tmp_path)
    kept = len(found)
    assert 5 < kept < 50
    assert found == [(step, float(step)) for step in range(101 - kept, 101)]
    assert f"lost: {101 - kept} steps between 0 and {100 - kept}" in lines(caplog)[1]


def test_close_says_what_is_lost_and_raises_nothing(
    tmp_path: Path, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    writer = open_writer(tmp_path)
    writer.write_scalars(1, {"a": 1.0})
    writer.flush()
    disk.room = 0
    for step in (2, 3, 4):
        writer.write_scalars(step, {"a": 1.0})
    writer.close()
    failed, closed = lines(caplog)
    assert "No space left" in failed
    assert "lost: 3 steps between 2 and 4" in closed
    assert points(tmp_path) == [(1, 1.0)]


@pytest.mark.parametrize("with_its_folder", [True, False])
def test_a_file_that_was_deleted_is_begun_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, with_its_folder: bool
) -> None:
    folder = tmp_path / "run"
    writer = EventFileWriter(folder)
    writer.write_scalars(1, {"a": 1.0})
    writer.flush()
    shutil.rmtree(folder) if with_its_folder else event_files(folder)[0].unlink()
    writer.write_scalars(2, {"a": 2.0})
    writer.flush()
    writer.close()
    assert points(folder) == [(2, 2.0)]
    failed, again = lines(caplog)
    assert "deleted" in failed
    assert "lost: step 1" in again


def test_a_folder_that_was_renamed_takes_its_events_along(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = EventFileWriter(tmp_path / "run")
    writer.write_scalars(1, {"a": 1.0})
    writer.flush()
    (tmp_path / "run").rename(tmp_path / "other")
    writer.write_scalars(2, {"a": 2.0})
    writer.close()
    assert points(tmp_path / "other") == [(1, 1.0), (2, 2.0)]
    assert not (tmp_path / "run").exists()
    assert not lines(caplog)


def test_a_new_file_is_read_after_the_old_one_though_the_clock_went_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step, now in enumerate((2_000_000_000.0, 1_000_000_000.0, 1_000_000_000.0), start=1):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        writer = EventFileWriter(tmp_path)
        writer.write_scalars(step, {"a": step})
        writer.close()
    monkeypatch.undo()
    assert points(tmp_path) == [(1, 1.0), (2, 2.0), (3, 3.0)]


TRAINING = """
import logging, resource, sys, time, torch
from ignite.engine import Engine, Events
from trainkit import attach_monitors
logging.basicConfig(format="LINE %(name)s %(message)s")
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
def step(engine, batch):
    optimizer.zero_grad()
    loss = (model(batch) ** 2).mean()
    loss.backward()
    optimizer.step()
    time.sleep(0.01)
    return loss.detach()
trainer = Engine(step)
evaluator = Engine(lambda engine, batch: {"loss": torch.ones(())})
trainer.add_event_handler(Events.ITERATION_COMPLETED(every=50), lambda: evaluator.run([1]))
no_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
@trainer.on(Events.ITERATION_COMPLETED(once=20))
def fill():
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), no_limit[1]))
@trainer.on(Events.ITERATION_COMPLETED(once=400))
def empty():
    resource.setrlimit(resource.RLIMIT_FSIZE, no_limit)
with attach_monitors(trainer, model=model, optimizers=optimizer, writer=sys.argv[1],
                     evaluators=evaluator, predictions=None) as attached:
    trainer.run([torch.ones(2, 4)] * 500)
    print("failures", attached.failures)
"""


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["0", pytest.param("700", marks=pytest.mark.long)])
def test_a_training_whose_disk_is_full_for_seconds(tmp_path: Path, limit: str) -> None:
    """Real files that the operating system lets grow no more: one line, and one line."""
    done = subprocess.run(
        [sys.executable, "-c", TRAINING, str(tmp_path), limit],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "failures {}\n"
    told = [line for line in done.stderr.splitlines() if line.startswith("LINE trainkit")]
    assert len(told) == 2, done.stderr
    assert str(tmp_path) in told[0]
    assert "File too large" in told[0]
    assert "nothing was lost" in told[1]
    assert [step for step, _ in points(tmp_path / "train", "weights/global_norm")] == [
        *range(1, 501)
    ]
    assert [step for step, _ in points(tmp_path / "validation", "loss/total")] == [
        *range(50, 501, 50)
    ]


class Service(MemoryWriter):
    """Refuses everything while it is down, and for ever the steps of `poison`."""

    def __init__(self, poison: Sequence[int] = ()) -> None:
        super().__init__()
        self.down = False
        self.poison = poison

    def write(self, steps: Sequence[Step]) -> None:
        if self.down or any(each.step in self.poison for each in steps):
            raise ConnectionError("nobody answers")
        for each in steps:
            self.write_scalars(each.step, each.scalars)


def test_one_of_several_that_is_down_costs_itself_only(caplog: pytest.LogCaptureFixture) -> None:
    service, memory = Service(), MemoryWriter()
    writer = BackgroundWriter(SeveralWriter(service, memory))
    service.down = True
    for step in range(100):
        writer.write_scalars(step, {"a": step})
    writer.flush()
    assert isinstance(writer.failing, ConnectionError)
    assert memory.scalars["a"] == [(step, float(step)) for step in range(100)]
    service.down = False
    until(lambda: writer.failing is None)
    writer.close()
    assert service.scalars == memory.scalars
    failed, again = lines(caplog)
    assert "nobody answers" in failed
    assert "nothing was lost" in again


def test_a_step_that_is_refused_for_ever_does_not_hold_up_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = Service(poison=[3])
    writer = BackgroundWriter(service)
    for step in range(6):
        writer.write_scalars(step, {"a": step})
    writer.flush()
    until(lambda: (time.sleep(0.05), writer.flush(), writer.failing is None)[-1])
    writer.close()
    assert [step for step, _ in service.scalars["a"]] == [0, 1, 2, 4, 5]
    assert "lost: step 3" in lines(caplog)[1]


def test_nobody_waits_for_a_service_that_is_down(caplog: pytest.LogCaptureFixture) -> None:
    class Hanging(MemoryWriter):
        hang = threading.Event()

        def write(self, steps: Sequence[Step]) -> None:
            if steps[0].step:
                self.hang.wait(20)
            raise TimeoutError("no answer")

    writer = BackgroundWriter(Hanging(), queue_size=2)
    writer.write_scalars(0, {"a": 0})
    writer.flush()
    start = time.monotonic()
    for step in range(1, 50):
        writer.write_scalars(step, {"a": step})
    assert time.monotonic() - start < 10
    Hanging.hang.set()
    writer.close()
    assert "lost: 50 steps between 0 and 49" in lines(caplog)[-1]


def test_waiting_for_a_slow_disk_is_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("trainkit.writers.step_queue.LONG_SECONDS", 0.2)

    class Slow(EventFileWriter):
        def write(self, steps: Sequence[Step]) -> None:
            time.sleep(0.15)
            super().write(steps)

    writer = BackgroundWriter(Slow(tmp_path), queue_size=1)
    for step in range(8):
        writer.write_scalars(step, {"a": step})
    writer.close()
    assert points(tmp_path) == [(step, float(step)) for step in range(8)]
    (told,) = lines(caplog)
    assert str(tmp_path) in told
    assert "Nothing is lost" in told


class Failing(MemoryWriter):
    """A writer of somebody's own, that works in the training's thread."""

    down = False

    def write_scalars(self, step: int, scalars: Any) -> None:
        if self.down:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write_scalars(step, scalars)


def test_a_writer_that_fails_disables_no_monitor(caplog: pytest.LogCaptureFixture) -> None:
    writer = Failing()

    def step(engine: Engine, batch: float) -> torch.Tensor:
        writer.down = 3 <= engine.state.iteration < 6
        return torch.tensor(batch)

    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = Engine(step)
    attached = attach_monitors(
        trainer, model=model, optimizers=optimizer, writer=writer, predictions=None
    )
    caplog.clear()
    trainer.run([1.0] * 8)
    assert not attached.failures
    assert [step for step, _ in writer.scalars["loss/total"]] == [1, 2, 6, 7, 8]
    failed, again = (line for line in lines(caplog) if "writ" in line)
    assert "No space left" in failed
    assert "between 3 and 5" in again


@pytest.mark.parametrize(
    "odd", [{"x": 1j}, {"x": object()}, {"x": torch.tensor(1j)}, {"x": torch.ones(3)}, {7: 1.0}]
)
def test_an_odd_entry_costs_that_entry(odd: Any, caplog: pytest.LogCaptureFixture) -> None:
    from trainkit.writers.guarded import GuardedWriter

    memory = MemoryWriter()
    writer = GuardedWriter(memory)
    for step in (1, 2):
        writer.write_scalars(step, {"before": 1.0, **odd, "after": torch.tensor(2.0)})
    assert memory.scalars == {"before": [(1, 1.0), (2, 1.0)], "after": [(1, 2.0), (2, 2.0)]}
    (told,) = lines(caplog)
    assert repr(str(next(iter(odd)))) in told


def test_a_picture_that_cannot_be_drawn_costs_that_picture(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainkit.writers.tensorboard import summaries

    draw = summaries.png

    def png(picture: Any) -> bytes:
        if picture.max() > 100:
            raise MemoryError("no memory")
        return draw(picture)

    monkeypatch.setattr(summaries, "png", png)
    writer = EventFileWriter(tmp_path)
    writer.write_scalars(1, {"a": 1.0})
    writer.write_images(1, {"bad": torch.ones(2, 2), "good": torch.zeros(2, 2)})
    writer.write_texts(1, {"t": "text"})
    writer.close()
    (path,) = event_files(tmp_path)
    assert [v.tag for v in raw_events(path)[1].summary.value] == ["a", "good", "t"]
    (told,) = lines(caplog)
    assert "bad" in told
    assert "no memory" in told


def test_a_monitor_outlives_a_writer_that_was_closed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    writer = BackgroundWriter(MemoryWriter())
    trainer = Engine(lambda engine, batch: batch)
    monitor = LossMonitor(writer)
    monitor.attach(trainer)
    trainer.run([1.0])
    writer.close()
    trainer.run([1.0] * 5, max_epochs=2)
    assert monitor.guard.failure is None
    (told,) = lines(caplog)
    assert "is closed" in told


class Partly(MemoryWriter):
    """Takes everything but numbers, until it is mended."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error: Exception | None = error

    def write_scalars(self, step: int, scalars: Any) -> None:
        if self.error is not None:
            raise self.error
        super().write_scalars(step, scalars)


def test_what_still_works_does_not_end_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    from trainkit.writers.guarded import GuardedWriter

    inside = Partly(OSError("full"))
    writer = GuardedWriter(inside)
    for step in range(4):
        writer.write_scalars(step, {"a": 1.0})
        writer.write_texts(step, {"note": "x"})
    assert len(caplog.messages) == 1
    inside.error = None
    writer.write_scalars(4, {"a": 1.0})
    assert len(caplog.messages) == 2
    assert "lost: 4 steps between 0 and 3" in caplog.messages[1]


def test_a_writer_that_refuses_every_number_is_said_to_fail_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    from trainkit.writers.guarded import GuardedWriter

    inside = Partly(TypeError("takes two arguments"))
    writer = GuardedWriter(inside)
    for step in range(3):
        for tag in "abcdefg":
            writer.write_scalars(step, {tag: 1.0})
    assert len(caplog.messages) == 3
    assert "cannot be written (TypeError: takes two arguments)" in caplog.messages[-1]
    inside.error = None
    writer.write_scalars(3, {"a": 1.0})
    assert "lost: 3 steps between 0 and 2" in caplog.messages[-1]
    inside.error = TypeError("odd")
    for _ in range(9):  # one number that is refused again and again is that number's fault
        writer.write_scalars(4, {"h": 1.0})
    assert caplog.messages[4:] == ["'h' cannot be written and is left out: TypeError: odd"]


def test_a_writer_without_some_verbs_costs_what_they_are_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    from trainkit.writers.guarded import GuardedWriter

    class Numbers:
        def __init__(self) -> None:
            self.found: dict[str, float] = {}

        def write_scalars(self, step: int, scalars: Any) -> None:
            self.found |= scalars

        def __repr__(self) -> str:
            raise RuntimeError

    writer = GuardedWriter(numbers := Numbers())  # type: ignore[arg-type]
    writer.write_texts(1, {"note": "x"})
    writer.write_scalars(1, {"a": 1.0})
    assert numbers.found == {"a": 1.0}
    assert caplog.messages == [
        "'note' cannot be written and is left out: AttributeError: the writer has no write_texts"
    ]
    assert repr(writer) == "a Numbers"
