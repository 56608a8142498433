"""Sinks of somebody's own: wherever a writer may stand, and whatever they raise."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine

from tests.writers.sinks.own import Service
from trainkit import (
    BackgroundWriter,
    GradientMonitor,
    LossMonitor,
    MemoryWriter,
    Scalars,
    SeveralWriter,
    Step,
    attach_monitors,
    open_writer,
)
from trainkit.writers import Curve, Point, subrun
from trainkit.writers.sinks.alarm import AlarmSink
from trainkit.writers.step import transfer


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainkit.writers.outage.FIRST_PAUSE", 0.02)
    monkeypatch.setattr("trainkit.writers.outage.LONGEST_PAUSE", 0.05)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name.startswith("trainkit")]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def merged(service: Service) -> dict[int, dict[str, float]]:
    found: dict[int, dict[str, float]] = {}
    for step, scalars in service.points:
        found.setdefault(step, {}).update(scalars)
    return found


def trainer_of(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Engine:
    def step(engine: Engine, batch: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss: torch.Tensor = (model(batch) ** 2).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss.detach()

    return Engine(step)


PLACES: dict[str, Callable[[Service, Path], Any]] = {
    "background": lambda service, folder: BackgroundWriter(service),
    "beside the event file": lambda service, folder: open_writer(folder, sinks=[service]),
    "two": lambda service, folder: BackgroundWriter(MemoryWriter(), service),
    "several": lambda service, folder: SeveralWriter(MemoryWriter(), service),
    "several in the background": lambda service, folder: BackgroundWriter(SeveralWriter(service)),
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_it_gets_numbers_and_points_as_ordinary_steps(
    place: Callable[[Service, Path], Any], tmp_path: Path
) -> None:
    service, curve = Service(), Curve(("loss/total",))
    writer = place(service, tmp_path)
    for step in range(1, 41):
        writer.write_scalars(step, Point(curve, (1.0 / step,)))
        if step % 10 == 0:
            writer.write_scalars(step, Scalars(("a", "b"), torch.tensor([step, -1])))
    subrun(writer, "validation").write_scalars(40, {"loss/total": 2.0})
    writer.close()
    assert service.closed == 1
    found = merged(service)
    assert found.pop(40) == {
        "loss/total": 1 / 40, "a": 40, "b": -1, "validation/loss/total": 2.0,
    }  # fmt: skip
    assert found == {
        step: {"loss/total": 1 / step} | ({"a": step, "b": -1} if step % 10 == 0 else {})
        for step in range(1, 40)
    }
    own = [step for step, scalars in service.points if "validation/loss/total" not in scalars]
    assert own == sorted(own)


def test_several_sinks_cost_one_read_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0
    read = transfer.read

    def counted(*args: Any) -> transfer.Arrays:
        nonlocal reads
        reads += 1
        return read(*args)

    monkeypatch.setattr("trainkit.writers.step.to_host.in_main_memory", lambda gathering: False)
    monkeypatch.setattr(transfer, "read", counted)
    services = [Service(), Service(), Service()]
    writer = BackgroundWriter(*services)
    for step in (1, 2):
        for tag in "abc":
            writer.write_scalars(step, {tag: torch.tensor(step, dtype=torch.bfloat16)})
    writer.close()
    assert reads == 2
    for service in services:
        assert merged(service) == {step: dict.fromkeys("abc", float(step)) for step in (1, 2)}


@pytest.mark.parametrize("together", [False, True])
def test_one_that_is_down_for_a_while_gets_everything_once(
    together: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """One line when it begins and one when it is over, also where only `flush` fails."""
    service = Service(together)
    writer = BackgroundWriter(service, flush_seconds=0.05)
    for step in range(300):
        if step == 100:
            writer.flush()
            service.error = ConnectionError("nobody answers")
        if step == 200:
            writer.flush()
            assert isinstance(writer.failing, ConnectionError)
            time.sleep(0.3)
            service.error = None
            until(lambda: writer.failing is None)
        writer.write_scalars(step, {"a": step})
    writer.close()
    assert service.points == [(step, {"a": float(step)}) for step in range(300)]
    failed, again = lines(caplog)
    assert failed.startswith("Service cannot be written (ConnectionError: nobody answers)")
    assert again.startswith("Service: written again")
    assert "nothing was lost" in again


def test_what_is_kept_has_a_bound(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainkit.writers.delivery.KEPT", 1500)
    service = Service()
    service.error = ConnectionError("nobody answers")
    writer = BackgroundWriter(service)
    for step in range(100):
        writer.write_scalars(step, {"a": step})
    writer.flush()
    service.error = None
    until(lambda: writer.failing is None)
    writer.close()
    kept = len(service.points)
    assert 5 < kept < 20
    assert [step for step, _ in service.points] == list(range(100 - kept, 100))
    assert f"lost: {100 - kept} steps between 0 and {99 - kept}" in lines(caplog)[1]


@pytest.mark.parametrize("error", [TypeError("odd"), KeyError("odd")])
def test_one_bad_point_of_a_curve_costs_that_point(error: Exception) -> None:
    service, curve = Service(), Curve(("a",))
    service.poison = {7: error}
    writer = BackgroundWriter(service, flush_seconds=0.05)
    for step in range(20):
        writer.write_scalars(step, Point(curve, (float(step),)))
    writer.flush()
    until(lambda: len(service.points) == 19)
    writer.close()
    assert [step for step, _ in service.points] == [step for step in range(20) if step != 7]


def test_one_that_fails_always_ends_no_training(caplog: pytest.LogCaptureFixture) -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer, service = trainer_of(model, optimizer), Service()
    service.error = RuntimeError("never works")
    with attach_monitors(
        trainer, model=model, optimizers=optimizer, writer=service, predictions=None
    ) as attached:
        caplog.clear()
        trainer.run([torch.ones(4, 2)] * 5)
        assert not attached.failures
    assert trainer.state.iteration == 5
    failed, closed = lines(caplog)
    assert "never works" in failed
    assert "between 1 and 5" in closed


def test_monitors_that_share_a_sink_share_its_steps() -> None:
    """Each step comes once, with the numbers of both."""
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer, service = trainer_of(model, optimizer), Service()
    losses = LossMonitor(writer=service)
    gradients = GradientMonitor(model=model, optimizers=optimizer, writer=service)
    handles = [losses.attach(trainer), gradients.attach(trainer)]
    trainer.run([torch.ones(4, 2)] * 3)
    for handle in handles:
        handle.remove()
    losses.writer.flush()
    assert [step for step, _ in service.points] == [1, 2, 3]
    assert all({"loss/total", "gradients/global_norm"} <= s.keys() for _, s in service.points)


def test_a_sink_can_be_given_again_when_its_run_is_over() -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    service = Service()
    for _ in range(2):
        trainer = trainer_of(model, optimizer)
        with attach_monitors(
            trainer, model=model, optimizers=optimizer, writer=service, predictions=None
        ) as attached:
            trainer.run([torch.ones(4, 2)] * 2)
            assert not attached.failures
    assert [step for step, s in service.points if "loss/total" in s] == [1, 2, 1, 2]
    assert service.closed == 2


def test_a_step_can_be_made_to_test_a_sink_with() -> None:
    service, steps = Service(), [Step.of(i, {"a": i / 3, "b": float("inf")}) for i in (1, 2)]
    service.write(steps)
    assert service.points == [(i, {"a": i / 3, "b": float("inf")}) for i in (1, 2)]
    assert steps[0].non_finite() == ["b"]


def test_a_mapping_may_name_sinks_and_writers() -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer, service, memory = trainer_of(model, optimizer), Service(), MemoryWriter()
    evaluator = Engine(lambda engine, batch: {"loss": batch.mean()})
    with attach_monitors(
        trainer, model=model, optimizers=optimizer, evaluators={"test": evaluator},
        writer={"train": memory, "test": service}, predictions=None,
    ):  # fmt: skip
        trainer.run([torch.ones(4, 2)] * 2)
        evaluator.run([torch.ones(4, 2)])
    assert [step for step, _ in memory.scalars["loss/total"]] == [1, 2]
    assert merged(service)[2]["loss/total"] == 1.0
    assert service.closed == 1


@pytest.mark.parametrize("odd", [object(), sys.stderr, "a folder"], ids=["object", "file", "str"])
def test_something_else_is_refused(odd: Any) -> None:
    for place in (BackgroundWriter, LossMonitor):
        with pytest.raises(TypeError, match=r"write\(steps\)"):
            place(odd)


def test_a_sub_run_of_its_own_is_flushed_and_closed_too() -> None:
    class Topics(Service):
        def __init__(self) -> None:
            super().__init__()
            self.subs: dict[str, Service] = {}

        def subrun(self, name: str) -> Service:
            return self.subs.setdefault(name, Service())

    for wrap in (BackgroundWriter, SeveralWriter):
        topics = Topics()
        writer = wrap(topics)
        subrun(writer, "validation").write_scalars(3, {"a": 1.0})
        writer.flush()
        assert topics.subs["validation"].points == [(3, {"a": 1.0})]
        writer.close()
        assert topics.closed == topics.subs["validation"].closed == 1


def test_a_sink_can_come_and_go() -> None:
    told: list[tuple[int, list[str]]] = []
    writer, late = BackgroundWriter(MemoryWriter()), Service()
    alarm = AlarmSink(lambda step, tags: told.append((step, list(tags))))
    curve = Curve(("loss/total", "loss/l2"))
    writer.write_scalars(1, {"a": float("nan")})
    writer.flush()
    for sink in (alarm, late):
        writer.add_sink(sink)
    writer.write_scalars(2, Scalars(("a", "b"), torch.tensor([float("inf"), 1.0])))
    writer.write_scalars(3, {"a": 1.0})
    for step in (4, 5):
        writer.write_scalars(step, Point(curve, (float("nan") if step == 5 else 1.0, 2.0)))
    writer.flush()
    writer.remove_sink(alarm)
    writer.write_scalars(6, {"a": float("nan")})
    writer.close()
    assert told == [(2, ["a"]), (5, ["loss/total"])]
    assert sorted(merged(late)) == [2, 3, 4, 5, 6]
    assert late.closed == 1


def test_the_old_name_of_write_is_told(caplog: pytest.LogCaptureFixture) -> None:
    class Old(MemoryWriter):
        def write_steps(self, host_steps: Any) -> None: ...

    memory = Old()
    writer = BackgroundWriter(memory)
    writer.write_scalars(1, {"a": 1.0})
    writer.close()
    assert memory.scalars == {"a": [(1, 1.0)]}
    (told,) = lines(caplog)
    assert "rename it to write(steps)" in told


def test_closing_that_fails_is_said(caplog: pytest.LogCaptureFixture) -> None:
    service = Service(together=True)
    writer = BackgroundWriter(service)
    writer.write_scalars(1, {"a": 1.0})
    service.error = OSError("gone")
    writer.close()
    assert "OSError: gone" in lines(caplog)[-1]
    assert "what it had not handed on" in lines(caplog)[-1]
    assert isinstance(writer.failing, OSError)
