"""When monitors measure, what a fault does, and what is left behind."""

import logging
from typing import Any

import pytest
from ignite.engine import Engine, Events

from tests.handlers.leftovers import leftovers
from trainkit import Every, MemoryWriter, Monitor, Sampler
from trainkit.handlers.guard import Guard


class Diary(Monitor):
    """Notes what it is asked to do; fails where it is told to."""

    def __init__(self, every: Any = 1, fail: str = "") -> None:
        super().__init__(MemoryWriter(), every)
        self.notes: list[tuple[str, int]] = []
        self.fail = fail
        self.cancelled = 0

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
