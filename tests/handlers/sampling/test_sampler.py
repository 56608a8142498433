"""When monitors measure, what a fault does, and what is left behind."""

import logging
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from ignite.handlers import FastaiLRFinder

from tests.handlers.leftovers import leftovers
from trainkit import Every, MemoryWriter, Moment, Monitor, Sampler, attach_monitors
from trainkit.handlers.sampling.guard import Guard


class Diary(Monitor):
    """Notes what it is asked to do; fails where it is told to."""

    def __init__(self, every: Any = 1, fail: str = "") -> None:
        super().__init__(MemoryWriter(), every)
        self.notes: list[tuple[str, int]] = []
        self.fail = fail
        self.cancelled = 0

    def moments(self) -> Any:
        return {
            Moment.ITERATION_STARTED: self.begin,
            Moment.ITERATION_COMPLETED: self.end,
            Moment.CANCELLED: self.cancel,
        }

    def note(self, what: str, engine: Engine) -> None:
        self.notes.append((what, engine.state.iteration))
        if what == self.fail:
            raise RuntimeError("out of ink")

    def begin(self, engine: Engine) -> None:
        self.note("begin", engine)

    def end(self, engine: Engine) -> None:
        self.note("end", engine)

    def cancel(self) -> None:
        self.cancelled += 1


def test_the_first_iteration_and_every_nth() -> None:
    diary, engine = Diary(3), Engine(lambda engine, batch: None)
    diary.attach(engine)
    engine.run(range(4), max_epochs=2)
    sampled = [i for what, i in diary.notes if what == "end"]
    assert sampled == [1, 3, 6]
    assert [what for what, _ in diary.notes] == ["begin", "end"] * 3


@pytest.mark.parametrize(
    ("every", "sampled"),
    [
        (np.int64(4), [1, 4, 8]),
        (lambda engine, iteration: iteration in (2, 5), [2, 5]),
        (lambda engine, iteration: engine.state.epoch == 2 and np.bool_(iteration == 7), [7]),
        (Events.ITERATION_COMPLETED, [*range(1, 9)]),
        (Events.ITERATION_STARTED(every=1), [*range(1, 9)]),
        (Events.ITERATION_COMPLETED(every=4), [4, 8]),
        (Events.ITERATION_STARTED(once=[3, 5]), [3, 5]),
        (Events.ITERATION_COMPLETED(once=3), [3]),
        (Events.ITERATION_COMPLETED(before=4, after=1), [2, 3]),
        (Events.ITERATION_COMPLETED(every=3, after=1), [2, 5, 8]),
        (Events.ITERATION_COMPLETED(event_filter=lambda engine, i: i > 6), [7, 8]),
    ],
)
@pytest.mark.parametrize("through", ["a monitor", "attach_monitors"])
def test_every_as_ignite_says_it(every: Any, sampled: list[int], through: str) -> None:
    diary, engine = Diary(every), Engine(lambda engine, batch: 0.5)
    if through == "a monitor":
        diary.attach(engine)
        engine.run(range(4), max_epochs=2)
        assert [i for what, i in diary.notes if what == "end"] == sampled
        return
    model, writer = torch.nn.Linear(1, 1), MemoryWriter()
    attach_monitors(
        engine, model=model, optimizers=torch.optim.SGD(model.parameters()), writer=writer,
        every=every, predictions=None,
    )  # fmt: skip
    engine.run(range(4), max_epochs=2)
    assert [step for step, _ in writer.scalars["weights/global_norm"]] == sampled


@pytest.mark.parametrize(
    ("every", "words"),
    [
        (Fraction(4, 1), "got Fraction"),
        (True, "got True"),
        (2.0, "got 2.0"),
        (None, "got None"),
        (Every, "got <class"),
        (Events.EPOCH_COMPLETED(every=2), "event of iterations, such as"),
        (Events.ITERATION_STARTED | Events.ITERATION_COMPLETED, "one event, got 2"),
        (lambda iteration: True, r"\(engine, iteration\) -> bool, got <function"),
    ],
)
def test_what_is_no_cadence(every: Any, words: str) -> None:
    with pytest.raises(TypeError, match=f"every must .*{words}"):
        Sampler(every)


def test_a_cadence_that_raises_ends_the_monitoring_and_not_the_training(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def every(engine: Engine, iteration: int) -> bool:
        if iteration == 3:
            raise RuntimeError("no idea")
        return True

    diary, engine = Diary(every), Engine(lambda engine, batch: None)
    diary.attach(engine)
    engine.run(range(6))
    assert engine.state.iteration == 6
    assert [i for what, i in diary.notes if what == "end"] == [1, 2]
    (line,) = [r.getMessage() for r in caplog.records if r.name == "trainkit"]
    assert line == (
        "deciding when to sample failed; monitoring ends and training goes on: "
        "RuntimeError: no idea"
    )
    assert isinstance(diary.guard.failure, RuntimeError)


class Broken(Diary):
    """Fails wherever it is called."""

    def moments(self) -> Any:
        return super().moments() | {
            Moment.PROCESS_LEFT: self.release,
            Moment.EVERY_ITERATION_STARTED: self.enter,
            Moment.EVERY_PROCESS_LEFT: self.leave,
            Moment.RUN_COMPLETED: self.finish,
        }

    def release(self) -> None:
        raise RuntimeError("release")

    def cancel(self) -> None:
        raise RuntimeError("cancel")

    def enter(self, engine: Engine) -> None:
        self.note("enter", engine)

    def leave(self, engine: Engine, returned: bool) -> None:
        self.note("leave", engine)

    def finish(self, engine: Engine) -> None:
        self.note("finish", engine)


@pytest.mark.parametrize("fail", ["begin", "end", "enter", "leave", "finish", ""])
def test_a_monitor_that_fails_everywhere_ends_no_training(
    fail: str, caplog: pytest.LogCaptureFixture
) -> None:
    sampler, engine = Sampler(), Engine(lambda engine, batch: None)
    broken, sound = Broken(sampler, fail), Diary(sampler)
    handle = broken.attach(engine)
    sound.attach(engine)
    engine.run(range(4))
    assert engine.state.iteration == 4
    assert len([what for what, _ in sound.notes if what == "end"]) == 4
    assert sum("failed and is disabled" in r.getMessage() for r in caplog.records) == 1
    handle.remove()


@pytest.mark.filterwarnings("ignore:Run completed without loss diverging")
@pytest.mark.parametrize("again", ["a second run", "a search for the learning rate"])
def test_iterations_that_come_again_are_said_once(
    again: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(engine: Engine, batch: torch.Tensor) -> float:
        optimizer.zero_grad()
        loss = model(batch).pow(2).mean()
        loss.backward()
        optimizer.step()
        return loss.item()

    trainer, writer = Engine(step), MemoryWriter()
    attach_monitors(
        trainer, model=model, optimizers=optimizer, writer=writer, predictions=None, every=2
    )
    data = torch.randn(5, 3, 2)
    if again == "a second run":
        trainer.run(data)
        trainer.run(data, max_epochs=2)  # goes on: nothing to say
    else:
        finder = FastaiLRFinder()
        kept = {"model": model, "optimizer": optimizer}
        with finder.attach(trainer, kept, num_iter=7, end_lr=1.0) as searching:
            searching.run(data)
            assert trainer.state.iteration == 7
    lines = [r.getMessage() for r in caplog.records if r.name == "trainkit"]
    assert lines == []
    for _ in range(2):
        trainer.state.max_epochs = None
        trainer.run(data, max_epochs=1)
    (line,) = [r.getMessage() for r in caplog.records if r.name == "trainkit"]
    assert "iteration 1 comes again" in line
    assert "remove() these monitors and attach new ones" in line
    assert [step for step, _ in writer.scalars["loss/total"]][-10:] == [1, 2, 3, 4, 5] * 2
    for tag in ("updates/global_ratio", "weights/global_norm"):
        steps = [step for step, _ in writer.scalars[tag]]
        assert steps[-6:] == [1, 2, 4, 1, 2, 4]
    points = [step for step, _ in writer.scalars["hyperparameters/lr"]]
    assert points[-4:] == [1, 5, 1, 5]


@pytest.mark.parametrize(
    ("every", "error"), [(0, ValueError), (-1, ValueError), (True, TypeError), ("2", TypeError)]
)
def test_what_is_no_number_of_iterations(every: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="every must be"):
        Every(every)


def test_monitors_that_share_a_sampler_share_their_iterations_and_handlers() -> None:
    sampler, engine = Sampler(2), Engine(lambda engine, batch: None)
    diaries = [Diary(sampler) for _ in range(3)]
    handles = [diary.attach(engine) for diary in diaries]
    assert len(leftovers(engine)) == 3  # an iteration starts, is completed; a run is completed
    engine.run(range(4))
    assert diaries[0].notes == diaries[1].notes == diaries[2].notes
    with pytest.raises(ValueError, match="attached already"):
        diaries[0].attach(engine)
    with pytest.raises(ValueError, match="serves one engine"):
        Diary(sampler).attach(Engine(lambda engine, batch: None))
    for handle in handles:
        handle.remove()
        handle.remove()
    assert leftovers(engine) == []


def test_a_handle_is_a_context_manager_and_can_be_attached_again() -> None:
    diary, engine = Diary(), Engine(lambda engine, batch: None)
    for _ in range(2):
        with diary.attach(engine):
            engine.run(range(1), max_epochs=1)
    engine.run(range(1), max_epochs=1)
    assert [what for what, _ in diary.notes] == ["begin", "end"] * 2


@pytest.mark.parametrize("fail", ["begin", "end"])
def test_a_fault_is_reported_once_and_the_run_goes_on(
    fail: str, caplog: pytest.LogCaptureFixture
) -> None:
    sampler, engine = Sampler(), Engine(lambda engine, batch: None)
    broken, sound = Diary(sampler, fail), Diary(sampler)
    broken.attach(engine)
    sound.attach(engine)
    with caplog.at_level(logging.ERROR, "trainkit"):
        engine.run(range(5))
    assert len(caplog.records) == 1
    assert "Diary failed and is disabled; training goes on" in caplog.text
    assert "out of ink" in caplog.text
    assert len([what for what, _ in sound.notes if what == "end"]) == 5
    assert [what for what, _ in broken.notes].count(fail) == 1
    assert broken.cancelled >= 1
    assert isinstance(sampler.failures["Diary"], RuntimeError)


def test_an_iteration_that_the_step_left_by_an_exception_is_cancelled() -> None:
    def step(engine: Engine, batch: int) -> None:
        if batch == 1:
            raise ZeroDivisionError

    diary, engine = Diary(), Engine(step)
    diary.attach(engine)
    with pytest.raises(ZeroDivisionError):
        engine.run([0, 1, 2])
    assert diary.notes == [("begin", 1), ("end", 1), ("begin", 2)]
    engine.state.max_epochs = None
    engine.run([0, 2], max_epochs=1)
    assert diary.cancelled == 1


def test_the_engine_may_terminate_in_a_sampled_iteration() -> None:
    diary, engine = Diary(), Engine(lambda engine, batch: engine.terminate())
    diary.attach(engine)
    engine.run(range(3))
    assert diary.notes == [("begin", 1), ("end", 1)]
    assert not engine.has_event_handler(diary.begin, Events.EXCEPTION_RAISED)


def test_a_guard_lets_interrupts_through() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    guard = Guard("a monitor", lambda: None)
    with pytest.raises(KeyboardInterrupt):
        guard(interrupted)
    assert guard.failure is None


def test_a_guarded_hook_counts_seconds_and_survives_a_failing_disable() -> None:
    spent: list[float] = []

    def fail() -> None:
        raise ValueError("broken")

    guard = Guard("a monitor", fail, spent.append)
    hook = guard.wrap(fail)
    hook()
    hook()
    assert isinstance(guard.failure, ValueError)
    assert len(spent) == 1
    assert spent[0] > 0
