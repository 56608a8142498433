"""The steps of optimizers: one pair of hooks on each, for all monitors that share a sampler."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from itertools import chain
from operator import attrgetter
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from ignite.engine import Engine
from torch import Tensor
from torch.optim import Optimizer

from trainkit.handlers.sampling.backward_end import BackwardEnd
from trainkit.handlers.sampling.device_clock import DeviceClock
from trainkit.handlers.sampling.loss_scale import LossScale
from trainkit.handlers.sampling.optimizer_hooks import (
    OptimizerHooks,
    inner_step,
    is_made_of_another,
)
from trainkit.handlers.sampling.unseen_steps import Witness

if TYPE_CHECKING:
    from trainkit.handlers.step_monitor import StepObserver

__all__ = ["Steps"]

_ARMED = attrgetter("armed")

Observers = dict["StepObserver", str]
_Call = tuple["StepObserver", str, Callable[..., None]]


class Steps:
    """Calls observers at the end of a backward pass, before a step and after it.

    A sampled iteration arms them for the next step of each of their optimizers, in whichever
    iteration that comes; the step disarms them. The hooks on an optimizer and its parameters are
    shared. They are there from `enter` to `leave`, around a process function, and at no other
    time; unless the optimizer was never seen to step in there. Then they stay until the step
    comes, perhaps in a handler, or until the run is over.
    """

    def __init__(self) -> None:
        self.loss_scale = LossScale()
        # The iteration that is going on, and the last one that was sampled.
        self.iteration = self.sampled = 0
        # Of host time that the observers took, since somebody set this to 0.
        self.seconds = 0.0
        # Of the CUDA device on which the optimizers' parameters are, once that is known.
        self.clock: DeviceClock | None = None
        self._sought = False
        # Whether a process function is being called, and whether hooks stay beyond one.
        self._inside = self.open = False
        self._watched: dict[int, _Watched] = {}
        self._witness = Witness()

    @property
    def pending(self) -> bool:
        """Whether some step is still waited for."""
        return any(map(_ARMED, self._watched.values()))

    def __contains__(self, observer: object) -> bool:
        """Whether it has joined."""
        return any(observer in watched.members for watched in self._watched.values())

    def join(self, observer: "StepObserver") -> None:
        """Arm `observer` in sampled iterations from now on."""
        for key, optimizer in observer.optimizers.items():
            watched = self._watched.get(id(optimizer))
            if watched is None:
                watched = self._watched[id(optimizer)] = _Watched(self, optimizer)
            watched.join(observer, key)

    def leave_out(self, observer: "StepObserver") -> None:
        """Forget an observer; harmless in a hook: torch is going through its hooks then."""
        for watched in self._watched.values():
            watched.leave(observer)
        if not (self._inside or self.open):
            self._forget_the_unwatched()

    def enter(self, engine: Engine, sampled: bool) -> None:
        """The process function is about to be called, in a sampled iteration or one that waits."""
        if not self._watched:
            return
        self._inside = True
        if not self._sought:
            self._sought = True
            self.clock = _device_clock(watched.optimizer for watched in self._watched.values())
        self.iteration = engine.state.iteration
        if sampled:
            self.sampled = self.iteration
        self.loss_scale.begin(engine)
        for watched in list(self._watched.values()):
            watched.guarded(watched.enter, sampled)
        self._witness.enter([watched.optimizer for watched in self._watched.values()])

    def leave(self, returned: bool) -> None:
        """The process function has returned, or raised: no hook stays."""
        self._witness.leave(returned)
        for watched in list(self._watched.values()):
            if not returned:
                watched.guarded(watched.cancel)
            if watched.may_step_outside and watched.armed:
                self.open = True
            else:
                watched.let_go()
        self._inside = False
        self._forget_the_unwatched()

    def rest(self) -> None:
        """Take the hooks away that nobody waits for."""
        self.open = False
        for watched in self._watched.values():
            watched.let_go()

    def end(self) -> None:
        """The iteration is over: see whether a step that should have come was skipped."""
        for watched in list(self._watched.values()):
            watched.guarded(watched.settle)
            if watched.armed and self._witness.hopeless(watched.optimizer):
                watched.guarded(watched.cancel)

    def cancel(self) -> None:
        """Forget what was begun."""
        self.rest()
        for watched in self._watched.values():
            watched.cancel()

    def finish(self) -> None:
        """The run is over: say which optimizers were never seen to step."""
        self.rest()
        self._witness.finish([watched.optimizer for watched in self._watched.values()])

    def stepped(self, optimizer: Optimizer) -> None:
        """This optimizer does step."""
        self._witness.stepped(optimizer)

    @property
    def inside(self) -> bool:
        """Whether the process function is being called."""
        return self._inside

    def _forget_the_unwatched(self) -> None:
        for number, watched in list(self._watched.items()):
            if not watched.members:
                watched.let_go()
                del self._watched[number]


class _Watched:
    """One optimizer, and who waits for its next step."""

    def __init__(self, steps: Steps, optimizer: Optimizer) -> None:
        # Observers, and as what they know the optimizer. None of these is ever changed: others
        # take their places.
        self.members: Observers = {}
        self.armed: Observers = {}
        self._within: Observers = {}
        self._steps = steps
        self.optimizer = optimizer
        # Until it was seen to step within a process function.
        self.may_step_outside = True
        self._passes: BackwardEnd | None = None
        self._hooks = OptimizerHooks(optimizer, self._before, self._after)
        # Whether it may change the gradients within its step, as a closure does.
        self._changing = is_made_of_another(optimizer)
        # Calls of its step that have begun and not ended, as far as is known.
        self._depth = 0
        # Of some observers, the calls that do anything.
        self._known: tuple[Observers, dict[str, list[_Call]]] = {}, {}

    def join(self, observer: "StepObserver", key: str) -> None:
        """Arm this observer too, from the next sampled iteration on."""
        self.members = {**self.members, observer: key}

    def leave(self, observer: "StepObserver") -> None:
        """Forget an observer."""
        if observer in self.members:
            key = self.members[observer]
            self.members, self.armed, self._within = (
                {o: key for o, key in some.items() if o is not observer}
                for some in (self.members, self.armed, self._within)
            )
            with suppress(Exception):  # it is forgotten either way
                observer.discard(key)

    def enter(self, sampled: bool) -> None:
        """Wait for the next step, with hooks that tell of it."""
        if sampled:
            self.armed = self.members
        if not self.armed:
            return
        self._depth = 0
        self._hooks.put()
        calls = self._calls(self.armed, "after_backward")
        if self._steps.loss_scale.known:  # without it a skipped step would go unnoticed
            calls = self._calls(self.armed, "tensors")
        tensors = self._tensors(calls)
        if tensors is not None:
            if self._passes is None or self._passes.tensors is not tensors:
                self._passes = BackwardEnd(tensors, self._ended)
            self._passes.put()

    def _tensors(self, calls: "list[_Call]") -> tuple[Tensor, ...] | None:
        """What the optimizer moves, as the first of these observers can tell."""
        for observer, key, _ in calls:
            try:
                return observer.tensors(key)
            except Exception as error:
                observer.guard.fail(error)
        return None

    def let_go(self) -> None:
        """Take every hook away; harmless when there is none."""
        self._hooks.remove()
        if self._passes is not None:
            self._passes.remove()

    def settle(self) -> None:
        """Forget a step that raised something, and tell of one that was skipped."""
        if self._within:
            self._discard(self._within)
            self._within = {}
        if self.armed and self._steps.loss_scale.skipped(self.optimizer):
            self._steps.stepped(self.optimizer)
            self.may_step_outside = False
            armed, self.armed = self.armed, {}
            for observer, key, skipped in self._calls(armed, "skipped"):
                observer.guard(skipped, key)
            self._discard(armed)
            self.armed = {
                o: key for o, key in armed.items() if o.outlasts_skipping and o in self.members
            }
            self._steps.loss_scale.forget(self.optimizer)

    def cancel(self) -> None:
        """Forget what was begun."""
        self.armed, self._within = {}, {}
        self._steps.loss_scale.forget(self.optimizer)
        self._discard(self.members)

    def guarded(self, function: Callable[..., None], *args: Any) -> None:
        """Call a function of this object; a fault of it is one of every member."""
        try:
            function(*args)
        except Exception as error:
            for observer in self.members:
                observer.guard.fail(error)

    def _ended(self) -> None:
        if self.armed:
            self.guarded(self._after_backward)

    def _before(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self._depth and inner_step(optimizer):  # `super().step()`: the outer call is the step
            self._depth += 1
            if self._within:  # what the outer call did to the gradients is seen here
                self.guarded(self._before_inner_step, args, kwargs)
            return
        self._depth = 1
        if self.armed:
            self.guarded(self._before_step, args, kwargs)

    def _after(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self._depth > 1 and inner_step(optimizer):
            self._depth -= 1
            return
        self._depth = 0
        if self._within:
            self.guarded(self._after_step, args, kwargs)

    def _after_backward(self) -> None:
        self._steps.loss_scale.note(self.optimizer)
        self._call(self._calls(self.armed, "after_backward"), self.optimizer)

    def _before_step(self, args: Any, kwargs: Any) -> None:
        self._steps.stepped(self.optimizer)
        self.may_step_outside = not self._steps.inside
        self._steps.loss_scale.find_in_stack(self.optimizer)
        self._within = self.armed
        calls = self._calls(self._within, "before_step")
        self._call(calls, self.optimizer, self._changing or _has_closure(args, kwargs))

    def _before_inner_step(self, args: Any, kwargs: Any) -> None:
        calls = self._calls(self._within, "before_inner_step")
        self._call(calls, self.optimizer, _has_closure(args, kwargs))

    def _after_step(self, args: Any, kwargs: Any) -> None:
        within, self._within, self.armed = self._within, {}, {}
        calls = self._calls(within, "after_step")
        self._call(calls, self.optimizer, self._changing or _has_closure(args, kwargs))
        self._discard(within)
        self._steps.loss_scale.forget(self.optimizer)

    def _discard(self, observers: Observers) -> None:
        for observer, key, discard in self._calls(observers, "discard"):
            try:
                discard(key)
            except Exception as error:
                observer.guard.fail(error)

    def _calls(self, observers: Observers, name: str) -> "list[_Call]":
        """The methods of this name of those observers that have one of their own."""
        if observers is not self._known[0]:
            self._known = observers, {}
        calls = self._known[1].get(name)
        if calls is None:
            calls = [(o, k, getattr(o, name)) for o, k in observers.items() if o.has_own(name)]
            self._known[1][name] = calls
        return calls

    def _call(self, calls: "list[_Call]", *args: Any) -> None:
        """Call them, guarded, without gradients, and count the time."""
        steps = self._steps
        mark = None if steps.clock is None else steps.clock.start()
        start = perf_counter()
        # What torch.no_grad does, with less around it.
        grad = torch.is_grad_enabled()
        torch._C._set_grad_enabled(False)
        try:
            for observer, key, method in calls:
                try:
                    method(key, *args)
                except Exception as error:
                    observer.guard.fail(error)
        finally:
            torch._C._set_grad_enabled(grad)
            seconds = perf_counter() - start
            steps.seconds += seconds
            if steps.clock is not None:
                steps.clock.stop(mark, seconds)


def _device_clock(optimizers: Iterable[Optimizer]) -> DeviceClock | None:
    """A clock of the first CUDA device on which a parameter is."""
    groups = chain.from_iterable(optimizer.param_groups for optimizer in optimizers)
    # A type of somebody's own may refuse to answer.
    with torch._C.DisableTorchFunctionSubclass():
        for parameter in chain.from_iterable(group["params"] for group in groups):
            if parameter.is_cuda:
                return DeviceClock(parameter.device)
    return None


def _has_closure(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    # The first of the arguments is the optimizer itself.
    return any(map(callable, args[1:])) or kwargs.get("closure") is not None
