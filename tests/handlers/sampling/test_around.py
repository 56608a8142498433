"""Hooks exist while the process function of a sampled iteration runs, and at no other moment."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from tests.handlers.leftovers import leftovers
from trainkit import GradientMonitor, MemoryWriter, Sampler, UpdateMonitor, attach_monitors
from trainkit.handlers.sampling.around import Around, process_function


class Program:
    """A loop that can be told to do something odd within an iteration, or between two."""

    def __init__(self, within: Callable[["Program"], None] = lambda _: None) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.within = within
        self.counts: list[int] = []
        self.trainer = Engine(self.step)
        self.process_function = self.trainer._process_function

    def step(self, engine: Engine, batch: torch.Tensor) -> float:
        self.counts.append(len(self.left))
        self.optimizer.zero_grad()
        loss = self.model(batch).pow(2).mean()
        loss.backward()
        if engine.state.iteration == 3:
            self.within(self)
        self.optimizer.step()
        return loss.item()

    def watch(self, **more: Any) -> MemoryWriter:
        writer = MemoryWriter()
        attach_monitors(
            self.trainer, model=self.model, optimizers=self.optimizer, writer=writer,
            predictions=None, **more,
        )  # fmt: skip
        return writer

    def run(self, epochs: int = 1) -> None:
        self.trainer.run(torch.randn(6, 5, 3), max_epochs=epochs)

    def go_on(self) -> None:
        """Run again after an exception; Ignite's first run after one does nothing at all."""
        before = self.trainer.state.iteration
        for _ in range(2):
            if self.trainer.state.iteration == before:
                self.run(2)
        assert self.trainer.state.iteration != before

    @property
    def left(self) -> list[str]:
        return leftovers(self.model, self.optimizer)


def interrupt(program: Program) -> None:
    raise KeyboardInterrupt


def fail(program: Program) -> None:
    raise ZeroDivisionError


def terminate(program: Program) -> None:
    program.trainer.terminate()


def terminate_epoch(program: Program) -> None:
    program.trainer.terminate_epoch()


@pytest.mark.parametrize("event", [Events.ITERATION_STARTED, Events.ITERATION_COMPLETED])
@pytest.mark.parametrize("first", [True, False])
def test_handlers_before_and_after_ours_see_no_hook(event: Events, first: bool) -> None:
    program, seen = Program(), []
    if first:
        program.trainer.add_event_handler(event, lambda: seen.append(program.left))
    program.watch()
    if not first:
        program.trainer.add_event_handler(event, lambda: seen.append(program.left))
    program.run()
    assert all(program.counts)
    assert seen == [[]] * 6


@pytest.mark.parametrize("swallowed", [True, False])
@pytest.mark.parametrize("what", [interrupt, fail, terminate, terminate_epoch])
def test_nothing_is_left_however_an_iteration_ends(
    what: Callable[[Program], None], swallowed: bool
) -> None:
    program = Program(what)
    program.watch(every=3)
    if swallowed:
        program.trainer.add_event_handler(Events.EXCEPTION_RAISED, lambda error: None)
    raises = not swallowed and what in (interrupt, fail)
    with pytest.raises((KeyboardInterrupt, ZeroDivisionError)) if raises else _nothing():
        program.run()
    assert program.left == []
    assert program.trainer._process_function == program.process_function
    program.within = lambda _: None
    program.go_on()
    assert program.left == []


def _nothing() -> Any:
    import contextlib

    return contextlib.nullcontext()


@pytest.mark.parametrize("event", [Events.ITERATION_STARTED, Events.ITERATION_COMPLETED])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError, None])
def test_a_handler_that_raises_or_terminates(
    event: Events, first: bool, error: type[BaseException] | None
) -> None:
    program = Program()

    def odd(engine: Engine) -> None:
        if engine.state.iteration == 3:
            if error is not None:
                raise error
            engine.terminate()

    if first:
        program.trainer.add_event_handler(event, odd)
    writer = program.watch()
    if not first:
        program.trainer.add_event_handler(event, odd)
    with pytest.raises(error) if error is not None else _nothing():
        program.run()
    assert program.left == []
    program.trainer.remove_event_handler(odd, event)
    program.go_on()
    assert program.left == []
    assert program.trainer._process_function == program.process_function
    assert not any(len(pair) > 2 for pair in writer.scalars["loss/total"])
    assert writer.scalars["updates/global_ratio"][-1][0] == program.trainer.state.iteration


def test_two_samplers_and_one_that_goes_in_the_middle() -> None:
    program = Program()
    one, other = MemoryWriter(), MemoryWriter()
    first = UpdateMonitor(one, Sampler(2), model=program.model, optimizers=program.optimizer)
    second = GradientMonitor(other, Sampler(3), model=program.model, optimizers=program.optimizer)
    handle = first.attach(program.trainer)
    second.attach(program.trainer)
    program.trainer.add_event_handler(Events.ITERATION_STARTED(once=4), lambda: handle.remove())
    program.run()
    assert [step for step, _ in one.scalars["updates/global_ratio"]] == [1, 2]
    assert [step for step, _ in other.scalars["gradients/global_norm"]] == [1, 3, 6]
    assert program.trainer._process_function == program.process_function
    assert program.left == []


def test_what_is_put_around_what() -> None:
    calls: list[Any] = []
    engine = Engine(lambda engine, batch: calls.append(batch))
    own = engine._process_function
    one, two = (
        Around(
            lambda _, name=name: calls.append(f"before {name}"),  # type: ignore[misc]
            lambda _, returned, name=name: calls.append(f"after {name}"),  # type: ignore[misc]
        )
        for name in ("one", "two")
    )
    for _ in range(2):  # as where a handler raised before the process function was called
        one.put(engine)
        two.put(engine)
    assert process_function(engine) is own
    engine._process_function(engine, 1)
    assert sorted(map(str, calls)) == ["1", "after one", "after two", "before one", "before two"]
    assert engine._process_function is own
    one.put(engine)
    two.put(engine)
    one.take_away(engine)
    engine._process_function(engine, 2)
    assert calls[5:] == ["before two", 2, "after two"]
    assert engine._process_function is own
    one.put(engine)
    kept = engine._process_function
    one.take_away(engine)
    kept(engine, 3)  # somebody kept it
    assert calls[-1] == 3


def test_a_process_function_that_was_replaced_meanwhile_stays() -> None:
    program = Program()
    program.watch(every=2)
    other = lambda engine, batch: 1.0  # noqa: E731
    program.trainer.add_event_handler(
        Events.ITERATION_STARTED(once=2),
        lambda: setattr(program.trainer, "_process_function", other),
    )
    program.run()
    assert program.trainer._process_function is other


def test_a_function_that_is_put_around_ours_stays_and_both_go_on() -> None:
    program, seen = Program(), []
    writer = program.watch()

    def wrap(engine: Engine) -> None:
        inside: Any = engine._process_function

        def outside(engine: Engine, batch: torch.Tensor) -> Any:
            seen.append(engine.state.iteration)
            return inside(engine, batch)

        engine._process_function = outside

    program.trainer.add_event_handler(Events.ITERATION_STARTED(event_filter=_twice), wrap)
    program.run()
    assert seen == [2, 3, 4, 4, 5, 5, 6, 6]
    assert [step for step, _ in writer.scalars["updates/global_ratio"]] == [1, 2, 3, 4, 5, 6]
    assert program.left == []


def _twice(engine: Engine, iteration: int) -> bool:
    return iteration in (2, 4)


def test_a_step_in_a_handler_is_seen_and_no_hook_stays_when_the_run_is_over() -> None:
    program = Program()
    optimizer, model, writer = program.optimizer, program.model, MemoryWriter()

    def compute(engine: Engine, batch: torch.Tensor) -> float:
        loss = model(batch).pow(2).mean()
        loss.backward()
        return loss.item()

    trainer = Engine(compute)
    GradientMonitor(writer, model=model, optimizers=optimizer, every=4).attach(trainer)

    @trainer.on(Events.ITERATION_COMPLETED)
    def step() -> None:
        optimizer.step()
        optimizer.zero_grad()

    trainer.run(torch.randn(6, 5, 3))
    assert [at for at, _ in writer.scalars["gradients/global_norm_raw"]] == [1, 4]
    assert program.left == []


def test_an_interrupt_while_hooks_are_taken_away() -> None:
    left: list[bool] = []

    def leave(engine: Engine, returned: bool) -> None:
        left.append(returned)
        if returned:
            raise KeyboardInterrupt

    around, engine = Around(lambda engine: None, leave), Engine(lambda engine, batch: 1.0)
    around.put(engine)
    with pytest.raises(KeyboardInterrupt):
        engine._process_function(engine, 0)
    assert left == [True, False]


def test_a_log_that_raises_ends_no_training(capsys: pytest.CaptureFixture[str]) -> None:
    class Raising(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise ZeroDivisionError("of a log handler")

    program, handler = Program(), Raising()
    logger = logging.getLogger("trainkit")
    logger.addHandler(handler)
    try:
        attached = attach_monitors(
            program.trainer, model=program.model, optimizers=program.optimizer,
            writer=(writer := MemoryWriter()), loss_fn=nn.MSELoss(),
        )  # fmt: skip
        program.run()  # it is said that there are no predictions
    finally:
        logger.removeHandler(handler)
    assert attached.failures == {}
    assert len(writer.scalars["gradients/global_norm"]) == 6
    assert "of a log handler" in capsys.readouterr().err


def test_hooks_are_taken_from_dictionaries_that_took_the_places_of_others() -> None:
    def swap(program: Program) -> None:
        optimizer: Any = program.optimizer
        optimizer._optimizer_step_pre_hooks = optimizer._optimizer_step_pre_hooks.copy()
        optimizer._optimizer_step_post_hooks = optimizer._optimizer_step_post_hooks.copy()

    program = Program(swap)
    program.watch()
    program.run()
    assert program.left == []
