"""A stranger's monitor: it names its moments, and is called there and nowhere else."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from ignite.engine import Engine

from tests.handlers.leftovers import leftovers
from trainkit import (
    GradientMonitor,
    HyperparameterMonitor,
    MemoryWriter,
    Moment,
    Monitor,
    Sampler,
    UpdateMonitor,
    attach_monitors,
)


class Noting(Monitor):
    """Notes each call: the moment, and what it was called with."""

    def __init__(self, names: str, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.names = names.split()
        self.notes: list[tuple[str, tuple[Any, ...]]] = []

    def moments(self) -> Mapping[Moment, Callable[..., Any]]:
        def noting(moment: Moment) -> Callable[..., None]:
            return lambda *args: self.notes.append((moment.name, args))

        return {Moment[name]: noting(Moment[name]) for name in self.names}

    def calls(self) -> list[str]:
        return [name for name, _ in self.notes]


def program() -> tuple[torch.optim.Optimizer, Engine]:
    weight = torch.nn.Parameter(torch.ones(2))
    sgd = torch.optim.SGD([weight], lr=0.1)

    def step(engine: Engine, batch: float) -> float:
        sgd.zero_grad()
        (batch * weight).sum().backward()
        sgd.step()
        return batch

    return sgd, Engine(step)


def test_the_moments_of_an_iteration_come_in_their_order() -> None:
    sgd, trainer = program()
    sampled = (
        "ITERATION_STARTED AFTER_BACKWARD BEFORE_STEP AFTER_STEP STEP_DROPPED PROCESS_LEFT "
        "ITERATION_COMPLETED"
    )
    every = "EVERY_ITERATION_STARTED EVERY_PROCESS_LEFT EVERY_ITERATION_COMPLETED RUN_COMPLETED"
    monitor = Noting(f"{sampled} {every}", MemoryWriter(), Sampler(3), optimizers=sgd)
    handle = monitor.attach(trainer)
    trainer.run([1.0] * 2)
    assert monitor.calls() == [
        "EVERY_ITERATION_STARTED", "ITERATION_STARTED",
        "AFTER_BACKWARD", "BEFORE_STEP", "AFTER_STEP", "STEP_DROPPED",
        "PROCESS_LEFT", "EVERY_PROCESS_LEFT", "EVERY_ITERATION_COMPLETED", "ITERATION_COMPLETED",
        # The second iteration is not sampled.
        "EVERY_ITERATION_STARTED", "EVERY_PROCESS_LEFT", "EVERY_ITERATION_COMPLETED",
        "RUN_COMPLETED",
    ]  # fmt: skip
    arguments = dict(monitor.notes)
    assert arguments["AFTER_BACKWARD"] == ("", sgd)
    assert arguments["BEFORE_STEP"] == arguments["AFTER_STEP"] == ("", sgd, False)
    assert arguments["ITERATION_STARTED"] == (trainer,)
    assert arguments["EVERY_PROCESS_LEFT"] == (trainer, True)
    handle.remove()
    assert leftovers(sgd, trainer) == []


def test_a_closure_is_told() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.LBFGS([weight])

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = weight.pow(2).sum()
        loss.backward()
        return loss

    trainer = Engine(lambda engine, batch: optimizer.step(closure).item())
    monitor = Noting("BEFORE_STEP AFTER_STEP", MemoryWriter(), optimizers={"l": optimizer})
    monitor.attach(trainer)
    trainer.run([0])
    assert monitor.notes == [
        ("BEFORE_STEP", ("l", optimizer, True)),
        ("AFTER_STEP", ("l", optimizer, True)),
    ]


def test_an_iteration_that_raises_is_cancelled() -> None:
    def step(engine: Engine, batch: int) -> None:
        raise ZeroDivisionError

    monitor = Noting(
        "PROCESS_LEFT EVERY_PROCESS_LEFT CANCELLED ITERATION_COMPLETED", MemoryWriter()
    )
    trainer = Engine(step)
    monitor.attach(trainer)
    with pytest.raises(ZeroDivisionError):
        trainer.run([0])
    assert monitor.notes == [
        ("PROCESS_LEFT", ()), ("CANCELLED", ()), ("EVERY_PROCESS_LEFT", (trainer, False)),
    ]  # fmt: skip


def test_passes_of_an_evaluator() -> None:
    class Size(Monitor):
        """The number of samples of a whole pass."""

        def moments(self) -> Mapping[Moment, Callable[..., Any]]:
            return {
                Moment.PASS_STARTED: self.start,
                Moment.PASS_ITERATION: self.add,
                Moment.PASS_COMPLETED: self.end,
            }

        def start(self, engine: Engine) -> None:
            self.samples = 0

        def add(self, engine: Engine) -> None:
            self.samples += len(engine.state.batch)

        def end(self, engine: Engine) -> None:
            assert self.trainer is not None
            step, found = self.trainer.state.iteration, {"data/samples": float(self.samples)}
            self.write_pass(engine, lambda: self.writer.write_scalars(step, found))

    writer, trainer = MemoryWriter(), Engine(lambda engine, batch: None)
    evaluator = Engine(lambda engine, batch: None)
    handle = Size(writer, trainer=trainer).attach(evaluator)
    trainer.add_event_handler("EPOCH_COMPLETED", lambda: evaluator.run([[1, 2], [3]]))
    trainer.run([0] * 4, max_epochs=2)
    assert writer.scalars == {"data/samples": [(4, 3.0), (8, 3.0)]}
    handle.remove()
    assert leftovers(trainer, evaluator) == []


def test_a_monitor_without_moments_is_told_what_to_write() -> None:
    class Old(Monitor):
        def end(self, engine: Engine) -> None:
            pass

    with pytest.raises(TypeError, match=r"Old must say when it measures: def moments\(self\): "
                       r"return \{Moment.ITERATION_COMPLETED: self.end\}"):  # fmt: skip
        Old(MemoryWriter()).attach(Engine(lambda engine, batch: None))


@pytest.mark.parametrize(
    ("monitor", "given"),
    [
        (GradientMonitor, torch.nn.Linear(1, 1)),
        (UpdateMonitor, {"model": torch.nn.Linear(1, 1)}),
        (HyperparameterMonitor, torch.optim.SGD([torch.ones(1)])),
    ],
)
def test_the_order_of_before_is_told_what_to_write(monitor: Any, given: Any) -> None:
    name = monitor.__name__
    words = rf"{name} takes the writer first, got .*; write {name}\(writer, every, ...\) and all "
    with pytest.raises(TypeError, match=words):
        monitor(given, MemoryWriter())


class BatchSize(Monitor):
    """Somebody's smallest monitor: no constructor of its own."""

    def moments(self) -> Mapping[Moment, Callable[..., Any]]:
        return {Moment.ITERATION_COMPLETED: self.measure}

    def measure(self, engine: Engine) -> None:
        self.writer.write_scalars(engine.state.iteration, {"data/size": len(engine.state.batch)})


class ModelFirst(BatchSize):
    """Takes its arguments in an order of its own."""

    def __init__(self, model: torch.nn.Module, writer: Any, every: Any = 1) -> None:
        super().__init__(writer, every)
        self.model = model


@pytest.mark.parametrize("own", [BatchSize, ModelFirst])
def test_a_monitor_of_ones_own_is_completed_by_attach_monitors(own: Any) -> None:
    writer, (sgd, trainer) = MemoryWriter(), program()
    model = torch.nn.ParameterList(sgd.param_groups[0]["params"])
    with attach_monitors(
        trainer, model=model, optimizers=sgd, writer=writer, predictions=None,
        monitors={"own": own},
    ) as attached:  # fmt: skip
        assert not attached.left_out
        trainer.run([torch.ones(2), torch.ones(2)])
    assert writer.scalars["data/size"] == [(1, 2.0), (2, 2.0)]
    assert isinstance(ModelFirst(model, writer), Monitor)


def test_optimizers_have_hooks_only_if_a_monitor_measures_at_their_steps() -> None:
    for names, there in (("ITERATION_COMPLETED", 0), ("AFTER_STEP", 1)):
        sgd, trainer = program()
        found = []
        sgd.register_step_pre_hook(
            lambda optimizer, args, kwargs, found=found: found.append(
                len(optimizer._optimizer_step_post_hooks)
            )
        )
        with Noting(names, MemoryWriter(), optimizers=sgd).attach(trainer):
            trainer.run([1.0])
        assert found == [there]


def test_moments_are_asked_once_and_a_second_attachment_is_refused() -> None:
    asked = []

    class Counting(Noting):
        def moments(self) -> Mapping[Moment, Callable[..., Any]]:
            asked.append(1)
            return super().moments()

    for options in ({}, {"trainer": Engine(lambda engine, batch: None)}):
        asked.clear()
        monitor, engine = Counting("CANCELLED", MemoryWriter(), **options), Engine(lambda e, b: 0)
        handle = monitor.attach(engine)
        with pytest.raises(ValueError, match="Counting is attached already"):
            monitor.attach(engine)
        engine.run([0, 1])
        handle.remove()
        assert len(asked) == 1
        monitor.attach(engine).remove()
        assert leftovers(engine) == []


@pytest.mark.parametrize("moments", [["end"], {"end": print}, {Moment.AFTER_STEP: "end"}])
def test_what_is_no_mapping_of_moments(moments: Any) -> None:
    class Wrong(Monitor):
        def moments(self) -> Any:
            return moments

    with pytest.raises(TypeError, match=r"Wrong.moments\(\) must "):
        Wrong(MemoryWriter()).attach(Engine(lambda engine, batch: None))
