"""The clock of a device, with a device of which every duration is known; on a GPU the real one."""

from collections.abc import Callable
from time import perf_counter
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from trainkit import attach_monitors
from trainkit.handlers.monitors.gradients import GradientMonitor
from trainkit.handlers.monitors.weights import WeightMonitor
from trainkit.handlers.sampling.cadence import Every
from trainkit.handlers.sampling.device_clock import DeviceClock
from trainkit.handlers.sampling.metered import Metered
from trainkit.handlers.sampling.optimizer_steps import device_clock
from trainkit.handlers.sampling.sampler import Sampler
from trainkit.stats.outputs.activations import OutputTotals
from trainkit.writers import MemoryWriter


class Device:
    """Takes so long for what is launched, and is past it only when told."""

    def __init__(self) -> None:
        self.launched = self.now = 0.0
        self.made = 0

    def clock(self) -> DeviceClock:
        return DeviceClock(torch.device("cuda"), lambda: Event(self), lambda device: "its stream")

    def catch_up(self) -> None:
        self.now = self.launched


class Event:
    def __init__(self, device: Device) -> None:
        device.made += 1
        self.device, self.at = device, 0.0

    def record(self, stream: str) -> None:
        assert stream == "its stream"
        self.at = self.device.launched

    def query(self) -> bool:
        return self.at <= self.device.now

    def elapsed_time(self, end: "Event") -> float:
        assert end.query(), "this would wait for the device"
        return 1e3 * (end.at - self.at)


def stretch(device: Device, clock: DeviceClock, on_device: float, on_host: float) -> None:
    start = clock.start()
    device.launched += on_device
    clock.stop(start, on_host)


def test_what_the_device_takes_beyond_the_host_is_told_once_and_never_waited_for() -> None:
    device = Device()
    clock = device.clock()
    device.launched = 10.0
    stretch(device, clock, 3.0, 1.0)
    device.launched += 100.0  # training
    stretch(device, clock, 0.5, 2.0)  # the host takes longer, and is counted by others
    assert clock.beyond() == 0.0
    device.now = 13.0
    assert clock.beyond() == pytest.approx(2.0)
    assert clock.beyond() == 0.0
    device.catch_up()
    assert clock.beyond() == 0.0


def test_events_are_used_again() -> None:
    device = Device()
    clock = device.clock()
    for _ in range(100):
        stretch(device, clock, 1.0, 0.0)
        device.catch_up()
        assert clock.beyond() == pytest.approx(1.0)
    assert device.made == 2


@pytest.mark.parametrize("broken", ["record", "query"])
def test_a_device_that_cannot_be_timed_is_reported_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("operation not permitted")

    monkeypatch.setattr(Event, broken, fail)
    device = Device()
    clock = device.clock()
    for _ in range(3):
        stretch(device, clock, 1.0, 0.0)
        assert clock.beyond() == 0.0
    assert caplog.text.count("cannot be timed") == 1


def train(cadence: Metered, at_start: Callable[[], None], clock: DeviceClock | None = None) -> None:
    """Six iterations with everything watched."""
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(engine: Engine, x: torch.Tensor) -> dict[str, Any]:
        at_start()
        sgd.zero_grad()
        loss = model(x).sum()
        loss.backward()
        sgd.step()
        return {"loss": loss.detach()}

    trainer, sampler = Engine(step), Sampler(cadence)
    sampler.step_state.watch.device = clock
    with attach_monitors(
        trainer,
        model=model,
        optimizers=sgd,
        writer=MemoryWriter(),
        predictions=None,
        every=sampler,
    ) as monitors:
        trainer.run([torch.ones(4, 2)] * 6)
    assert not monitors.failures
    cadence.due(7)


def test_the_budget_hears_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is launched in a hook on a module, at the optimizer's step, and at the end."""
    device, cadence = Device(), Metered(Every(1))

    def taking(owner: Any, name: str, seconds: float) -> None:
        function = getattr(owner, name)

        def longer(*args: Any, **options: Any) -> Any:
            device.launched += seconds
            return function(*args, **options)

        monkeypatch.setattr(owner, name, longer)

    taking(OutputTotals, "add", 100.0)
    taking(GradientMonitor, "before_step", 30.0)
    taking(WeightMonitor, "end", 7.0)

    def training() -> None:
        device.launched += 1000.0
        device.catch_up()

    train(cadence, training, device.clock())
    hooks = 2 * 100.0  # modules
    # The device is past an iteration when the next one ends, and past the last one never.
    told = cadence.spent + cadence.first_sample_seconds
    assert told == pytest.approx(5 * (hooks + 30.0 + 7.0), abs=5.0)


def test_there_is_no_clock_without_a_device() -> None:
    cadence = Metered(Every(1))
    train(cadence, lambda: None)
    assert cadence.spent > 0
    parameter = nn.Parameter(torch.ones(1, device="cpu"))
    assert device_clock([torch.optim.SGD([parameter], lr=0.1)]) is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_real_device() -> None:
    clock = DeviceClock(torch.device("cuda"))
    x = torch.randn(4096, 4096, device="cuda")
    torch.cuda.synchronize()
    start = clock.start()
    began = perf_counter()
    for _ in range(20):
        x @ x
    clock.stop(start, perf_counter() - began)
    torch.cuda.synchronize()
    assert clock.beyond() > 0
