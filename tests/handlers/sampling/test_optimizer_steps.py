"""Hooks on optimizers are shared, and whoever fails in one leaves the others at work."""

import logging
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events

from tests.handlers.leftovers import leftovers
from trainkit import MemoryWriter, Moment, Monitor, Sampler, UpdateMonitor
from trainkit.handlers.sampling.loss_scale import LossScale

Notes = list[tuple[str, str, int]]


def optimizer() -> torch.optim.SGD:
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.grad = torch.ones(2)
    return torch.optim.SGD([parameter], lr=0.1)


class Diary(Monitor):
    """Notes what it is told; fails where it is asked to."""

    def __init__(
        self, name: str, optimizers: Any, every: Any, notes: Notes, fail: str = ""
    ) -> None:
        super().__init__(MemoryWriter(), every, optimizers=optimizers)
        self.name, self.notes, self.fail = name, notes, fail
        self.discarded: list[str] = []

    def moments(self) -> Any:
        return {
            Moment.BEFORE_STEP: self.before_step,
            Moment.AFTER_STEP: self.after_step,
            Moment.STEP_DROPPED: self.discard,
        }

    def note(self, what: str) -> None:
        self.notes.append((self.name, what, self.steps.iteration))
        assert not torch.is_grad_enabled()
        if what == self.fail:
            raise RuntimeError("out of ink")

    def before_step(self, key: str, optimizer: Any, closure: bool) -> None:
        self.note(f"before {key}")

    def after_step(self, key: str, optimizer: Any, closure: bool) -> None:
        self.note(f"after {key}")

    def discard(self, key: str) -> None:
        self.discarded.append(key)


class First(Monitor):
    """Looks only before the step."""

    def moments(self) -> Any:
        return {Moment.BEFORE_STEP: self.before_step}

    def before_step(self, key: str, optimizer: Any, closure: bool) -> None:
        pass


def test_observers_of_one_sampler_share_one_pair_of_hooks() -> None:
    one, other = optimizer(), optimizer()
    sampler, notes = Sampler(2), Notes()
    within: list[int] = []
    outside: list[int] = []

    def look(seen: list[int]) -> None:
        seen.append(len(one._optimizer_step_pre_hooks) + len(one._optimizer_step_post_hooks))

    engine = Engine(lambda engine, batch: (look(within), one.step(), other.step()))
    both = {"one": one, "other": other}
    handles = [
        Diary("a", both, sampler, notes).attach(engine),
        Diary("b", {"same": one}, sampler, notes).attach(engine),
    ]
    for event in (Events.ITERATION_STARTED, Events.ITERATION_COMPLETED):
        engine.add_event_handler(event, lambda: look(outside))
    engine.run(range(4))
    assert within == [2, 2, 0, 2]  # sampled are 1, 2 and 4; in 3 nobody waits
    assert not any(outside)
    expected = [
        *[("a", "before one"), ("b", "before same"), ("a", "after one"), ("b", "after same")],
        *[("a", "before other"), ("a", "after other")],
    ]
    assert notes == [(*note, step) for step in (1, 2, 4) for note in expected]
    handles[0].remove()
    handles[1].remove()
    assert leftovers(one, other, engine) == []


@pytest.mark.parametrize("fail", ["before k", "after k"])
def test_who_fails_in_a_hook_leaves_the_others_at_work(
    fail: str, caplog: pytest.LogCaptureFixture
) -> None:
    sgd, sampler, notes = optimizer(), Sampler(), Notes()
    engine = Engine(lambda engine, batch: sgd.step())
    broken = Diary("broken", {"k": sgd}, sampler, notes, fail)
    sound = Diary("sound", {"k": sgd}, sampler, notes)
    broken.attach(engine)
    sound.attach(engine)
    with caplog.at_level(logging.ERROR, "trainkit"):
        engine.run(range(3))
    assert caplog.text.count("Diary failed and is disabled; training goes on") == 1
    assert isinstance(sampler.failures["Diary"], RuntimeError)
    assert [n[1:] for n in notes if n[0] == "sound"] == [
        (what, step) for step in (1, 2, 3) for what in ("before k", "after k")
    ]
    assert [what for name, what, _ in notes if name == "broken"].count(fail) == 1
    assert broken.discarded  # what was kept for the step is given back
    assert engine.state.iteration == 3


def test_hooks_go_when_the_last_observer_fails() -> None:
    sgd, notes = optimizer(), Notes()
    engine = Engine(lambda engine, batch: sgd.step())
    Diary("a", {"k": sgd}, 1, notes, "before k").attach(engine)
    engine.run(range(2))
    assert not sgd._optimizer_step_pre_hooks
    assert not sgd._optimizer_step_post_hooks


def test_what_fails_between_the_observers_ends_them_and_not_the_training(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(LossScale, "find_in_stack", fail)
    sgd, sampler, notes = optimizer(), Sampler(), Notes()
    engine = Engine(lambda engine, batch: sgd.step())
    observers = [Diary(name, {"k": sgd}, sampler, notes) for name in "ab"]
    for observer in observers:
        observer.attach(engine)
    with caplog.at_level(logging.ERROR, "trainkit"):
        engine.run(range(3))
    assert engine.state.iteration == 3
    assert all(isinstance(o.guard.failure, RuntimeError) for o in observers)
    assert caplog.text.count("failed and is disabled") == 2
    assert leftovers(sgd) == []


def test_who_comes_and_goes_between_two_iterations() -> None:
    sgd, sampler, notes = optimizer(), Sampler(), Notes()
    engine = Engine(lambda engine, batch: sgd.step())
    Diary("a", {"k": sgd}, sampler, notes).attach(engine)
    late = Diary("late", {"k": sgd}, sampler, notes)
    engine.run(range(1))
    handle = late.attach(engine)
    engine.run(range(1))
    handle.remove()
    engine.run(range(1))
    assert [name for name, what, _ in notes if what == "before k"] == ["a", "a", "late", "a"]


def test_a_step_is_observed_once_and_in_the_iteration_in_which_it_comes() -> None:
    sgd, notes = optimizer(), Notes()

    def step(engine: Engine, batch: int) -> None:
        for _ in range(batch):
            sgd.step()

    engine = Engine(step)
    Diary("a", {"k": sgd}, 3, notes).attach(engine)
    engine.run([0, 2, 0, 0, 1, 1])  # sampled are 1, 3 and 6
    assert [(what, at) for _, what, at in notes if what == "before k"] == [
        ("before k", 2), ("before k", 5), ("before k", 6),
    ]  # fmt: skip


def test_the_gradient_mode_is_put_back() -> None:
    sgd, modes = optimizer(), []

    def step(engine: Engine, batch: bool) -> None:
        with torch.set_grad_enabled(batch):
            sgd.step()
            modes.append(torch.is_grad_enabled())

    engine = Engine(step)
    First(MemoryWriter(), optimizers={"k": sgd}).attach(engine)
    engine.run([True, False])
    assert modes == [True, False]


class Decayed(torch.optim.SGD):
    """Halves the weights before the step of its parent, as decoupled weight decay does."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.mul_(0.5)
        return super().step(closure)


class Stubborn(Decayed):
    """Fails in the middle and tries again."""

    def step(self, closure: Any = None) -> Any:
        with pytest.raises(ZeroDivisionError):
            torch.optim.SGD.step(self, _fails)
        return super().step(closure)


def _fails() -> float:
    raise ZeroDivisionError


class Wrapper(torch.optim.Optimizer):
    """An optimizer that steps another one, and moves the weights once more."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        super().__init__(inner.param_groups, {})
        self.inner = inner

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        self.inner.step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.mul_(0.5)


@pytest.mark.parametrize("other", [True, False])
def test_around_super_step_the_outer_call_is_the_step(other: bool) -> None:
    if other:  # torch wraps the step of a class when the first object of it is made
        torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1)
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    decayed, writer = Decayed([weight], lr=0.1), MemoryWriter()

    def step(engine: Engine, batch: int) -> None:
        decayed.zero_grad()
        weight.sum().backward()
        decayed.step()

    engine = Engine(step)
    UpdateMonitor(writer, model=torch.nn.ParameterList([weight]), optimizers=decayed).attach(engine)
    engine.run([0, 0])
    # 2 → 1 − 0.1 = 0.9 → 0.45 − 0.1
    ratios = [value for _, value in writer.scalars["updates/global_ratio"]]
    assert ratios == pytest.approx([1.1 / 2, 0.55 / 0.9])


def test_a_step_within_a_step_that_raised_and_one_of_another_optimizer() -> None:
    torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1)
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    for made, moved in ((Stubborn, 1.1), (lambda p, lr: Wrapper(Decayed(p, lr)), 1.55)):
        with torch.no_grad():
            weight.fill_(2.0)
        writer, failing = MemoryWriter(), made([weight], lr=0.1)

        def step(engine: Engine, batch: int, failing: Any = failing) -> None:
            weight.grad = torch.ones(1)
            failing.step()

        engine = Engine(step)
        UpdateMonitor(writer, model=torch.nn.ParameterList([weight]), optimizers=failing).attach(
            engine
        )
        engine.run([0])
        assert writer.scalars["updates/global_ratio"] == [(1, pytest.approx(moved / 2))]


def test_a_step_that_raised_and_was_tried_again() -> None:
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    sgd, writer = Decayed([weight], lr=0.1), MemoryWriter()

    def step(engine: Engine, batch: int) -> None:
        weight.grad = torch.ones(1)
        with pytest.raises(ZeroDivisionError):
            sgd.step(_fails)  # it has halved the weight: 1
        sgd.step()  # 0.5 − 0.1

    engine = Engine(step)
    UpdateMonitor(writer, model=torch.nn.ParameterList([weight]), optimizers=sgd).attach(engine)
    engine.run([0])
    assert writer.scalars["updates/global_ratio"] == [(1, pytest.approx(0.6))]
