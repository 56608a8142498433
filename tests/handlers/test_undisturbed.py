"""One table over all monitors: training is bit-identical with them, whatever becomes of them."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events, create_supervised_evaluator
from ignite.metrics import Accuracy, RunningAverage
from torch import Tensor, nn

from tests.handlers.leftovers import leftovers
from trainkit import handlers
from trainkit.handlers import attach_monitors
from trainkit.writers import MemoryWriter

MONITORS = [
    getattr(handlers, name)
    for name in handlers.__all__
    if name.endswith("Monitor") and name != "Monitor"
]
ENTRIES = (
    "begin", "after_backward", "before_step", "after_step", "end",
    "start_pass", "observe", "end_pass", "totals", "write",
)  # fmt: skip
# Only gradients are looked at after a backward pass; metrics and calibration are of whole passes,
# and metrics take in their batches themselves.
NOT_CALLED = {
    *(
        (name, entry)
        for name in ("CalibrationMonitor", "MetricMonitor", "PictureMonitor")
        for entry in ENTRIES[:5]
    ),
    ("MetricMonitor", "observe"),
    ("HyperparameterMonitor", "after_backward"),
    ("UpdateMonitor", "after_backward"),
    # They look at every iteration.
    ("LossMonitor", "end"),
    ("ThroughputMonitor", "end"),
}
TABLE = [
    (monitor, entry)
    for monitor in MONITORS
    for entry in ENTRIES
    if callable(getattr(monitor, entry, None))
]
TABLE += [(handlers.LossMonitor, "look"), (handlers.ThroughputMonitor, "look")]

Step = Callable[[Engine, Any], dict[str, Any]]


class Largest(handlers.ParameterMonitor):
    """Somebody's own."""

    columns = ("max_abs",)

    def measure(self, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
        return {"max_abs": torch.stack([x.abs().max() for x in tensors])}


class Program:
    """A small classifier with everything that draws random numbers or keeps state."""

    def __init__(self, loop: str) -> None:
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        self.model = nn.Sequential(
            nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3)
        )
        self.model[0].bias.requires_grad_(False)
        half = list(self.model[0].parameters()), list(self.model[1:].parameters())
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "one": torch.optim.Adam(half[0], lr=1e-2, amsgrad=True),
            "two": torch.optim.SGD(half[1], lr=1e-2, momentum=0.9, weight_decay=0.1),
        }
        self.loop = loop
        self.loss_fn = nn.CrossEntropyLoss()
        self.scaler = torch.amp.GradScaler("cpu", enabled=loop == "scaler", init_scale=2.0**8)
        generator = torch.Generator().manual_seed(1)
        self.data = [
            (torch.randn(8, 6, generator=generator), torch.randint(0, 3, (8,), generator=generator))
            for _ in range(6)
        ]
        self.trainer = Engine(self.step)
        RunningAverage(output_transform=lambda o: o["loss"]).attach(self.trainer, "running")
        self.evaluator = create_supervised_evaluator(self.model, {"accuracy": Accuracy()})
        self.trainer.add_event_handler(
            Events.EPOCH_COMPLETED, lambda: self.evaluator.run(self.data[:2])
        )

    def step(self, engine: Engine, batch: tuple[Tensor, Tensor]) -> dict[str, Any]:
        self.model.train()
        x, y = batch
        with torch.autocast("cpu", torch.bfloat16, enabled=self.loop == "bf16"):
            y_pred = self.model(x)
            loss = self.loss_fn(y_pred, y)
        every = 3 if self.loop == "accumulation" else 1
        self.scaler.scale(loss / every).backward()
        if engine.state.iteration % every == 0:
            for optimizer in self.optimizers.values():
                self.scaler.unscale_(optimizer)
            if self.loop == "clip":
                nn.utils.clip_grad_norm_(self.model.parameters(), 0.1)
            for optimizer in self.optimizers.values():
                self.scaler.step(optimizer)
            self.scaler.update()
            if engine.state.iteration < 12:  # the last gradients are compared
                for optimizer in self.optimizers.values():
                    optimizer.zero_grad()
        return {"loss": loss, "y_pred": y_pred, "y": y}

    def watch(self, writer: Any, **more: Any) -> handlers.AttachedMonitors:
        return attach_monitors(
            self.trainer, model=self.model, optimizers=self.optimizers, loss_fn=self.loss_fn,
            evaluators=self.evaluator, scaler=self.scaler, histograms_every=1,
            monitors={"own": Largest},
            writer={"train": writer, "validation": type(writer)()}, **more,
        )  # fmt: skip

    def run(self) -> dict[str, Any]:
        self.trainer.run(self.data, max_epochs=2)
        return {
            "weights": dict(self.model.state_dict()),
            "gradients": {
                n: None if p.grad is None else p.grad for n, p in self.model.named_parameters()
            },
            "flags": {n: (p.requires_grad, p.is_leaf) for n, p in self.model.named_parameters()},
            "modes": {n: m.training for n, m in self.model.named_modules()},
            "optimizers": {n: o.state_dict() for n, o in self.optimizers.items()},
            "random": (torch.get_rng_state(), random.getstate(), np.random.get_state()),
            "metrics": dict(self.evaluator.state.metrics),
        }


def assert_identical(a: Any, b: Any, where: str = "") -> None:
    if isinstance(a, Tensor | np.ndarray):
        assert (torch.equal if isinstance(a, Tensor) else np.array_equal)(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key, value in a.items():
            assert_identical(value, b[key], f"{where}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for i, value in enumerate(a):
            assert_identical(value, b[i], f"{where}.{i}")
    else:
        assert a == b, where


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    return Program("plain").run()


@pytest.mark.parametrize("loop", ["plain", "clip", "accumulation", "scaler", "bf16"])
def test_training_is_bit_identical_with_everything_at_every_iteration(loop: str) -> None:
    writer = MemoryWriter()
    expected = Program(loop).run()
    watched = Program(loop)  # it seeds again: both draw the same random numbers
    with watched.watch(writer) as attached:
        found = watched.run()
        assert not attached.failures, attached.report()
    assert_identical(expected, found)
    assert len(writer.scalars["loss/total"]) >= 12
    assert leftovers(
        watched.model, watched.trainer, watched.evaluator, *watched.optimizers.values()
    ) == []  # fmt: skip


class Asked(nn.CrossEntropyLoss):
    """A loss that draws a random number whenever it is asked what it is."""

    @property
    def predictions(self) -> str:
        return draw("logits")

    @property
    def pure(self) -> bool:
        return draw(True)


def draw(value: Any) -> Any:
    """The value; and one random number of each kind is gone."""
    torch.rand(1), random.random(), np.random.rand()
    return value


@pytest.mark.parametrize(
    "option",
    [
        {"include": lambda name: draw(True)},
        {"exclude": lambda name: draw(False)},
        {"scheduled": {"a": lambda: draw(0.5)}},
        {"global_step_transform": lambda engine, event: draw(engine.state.iteration)},
        {"output_transform": draw},
        {"loss_fn": Asked()},
    ],
    ids=lambda option: next(iter(option)),
)
def test_functions_that_draw_random_numbers_change_nothing(
    plain: dict[str, Any], option: dict[str, Any]
) -> None:
    watched = Program("plain")
    if "loss_fn" in option:
        watched.loss_fn, option = option["loss_fn"], {}
    with watched.watch(MemoryWriter(), **option) as attached:
        found = watched.run()
        assert not attached.failures, attached.report()
    assert_identical(plain, found)


@pytest.mark.parametrize(("monitor", "entry"), TABLE, ids=lambda x: getattr(x, "__name__", x))
def test_a_fault_in_any_entry_point_is_reported_once_and_training_goes_on(
    monitor: type,
    entry: str,
    plain: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    called = []

    def fail(self: Any, *args: Any) -> None:
        called.append(self)
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(monitor, entry, fail)
    program = Program("plain")
    with program.watch(MemoryWriter()) as attached:
        assert_identical(plain, program.run())
        failed = set(attached.failures)
    instances = {id(one) for one in called}
    assert instances or (monitor.__name__, entry) in NOT_CALLED
    assert len(called) == len(instances)  # once each: a monitor that failed is not called again
    assert len(failed) == len(instances)
    errors = [r for r in caplog.records if r.name == "trainkit" and r.levelname == "ERROR"]
    assert len(errors) == len(instances)
    assert all("failed and is disabled; training goes on" in r.getMessage() for r in errors)
    assert leftovers(
        program.model, program.trainer, program.evaluator, *program.optimizers.values()
    ) == []  # fmt: skip


class BrokenWriter(MemoryWriter):
    """A disk that is full."""

    def write_scalars(self, step: int, scalars: Any) -> None:
        raise OSError("no space left on device")

    write_histograms = write_images = write_texts = write_scalars  # type: ignore[assignment]


def test_a_writer_that_fails_ends_neither_the_training_nor_a_monitor(
    plain: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    program = Program("plain")
    with program.watch(BrokenWriter()) as attached:
        assert_identical(plain, program.run())
        assert not attached.failures
    errors = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert len(errors) == 2  # one for each writer, however many monitors
    assert all("no space left on device" in error for error in errors)


def test_an_exception_of_the_training_passes_through_and_leaves_no_hooks() -> None:
    program = Program("plain")
    program.data[3] = (torch.zeros(8, 5), torch.zeros(8, dtype=torch.long))
    with (
        program.watch(MemoryWriter()),
        pytest.raises(RuntimeError, match="mat1 and mat2"),
    ):
        program.run()
    assert leftovers(
        program.model, program.trainer, program.evaluator, *program.optimizers.values()
    ) == []  # fmt: skip
