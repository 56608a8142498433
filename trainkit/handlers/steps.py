"""The steps of optimizers: one pair of hooks on each, for all monitors that share a sampler."""

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from operator import attrgetter
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from ignite.engine import Engine
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from trainkit.handlers.backward import BackwardEnd
from trainkit.handlers.device_clock import DeviceClock
from trainkit.handlers.scaling import LossScale

if TYPE_CHECKING:
    from trainkit.handlers.optimizer_step import StepObserver

__all__ = ["Steps"]

_ARMED = attrgetter("armed")

Observers = dict["StepObserver", str]
_Call = tuple["StepObserver", str, Callable[..., None]]


class Steps:
    """Calls observers at the end of a backward pass, before a step and after it.

    A sampled iteration arms them for the next step of each of their optimizers, in whichever
    iteration that comes; the step disarms them. Hooks are dear to make, so those on an optimizer
    and on its parameters are shared, and stay until `rest` finds that nobody waits for them.

    Args:
        remove_later: Takes hooks that cannot be removed now: torch is going through them.
    """

    def __init__(self, remove_later: Callable[[Iterable[RemovableHandle]], None]) -> None:
        self.loss_scale = LossScale()
        # The iteration that is going on, and the last one that was sampled.
        self.iteration = self.sampled = 0
        self.in_hook = False
        self.remove_later = remove_later
        # Of host time that the observers took, since somebody set this to 0.
        self.seconds = 0.0
        # Of the CUDA device on which the optimizers' parameters are, once that is known.
        self.clock: DeviceClock | None = None
        self._sought = False
        self._engine: Engine | None = None
        self._watched: dict[int, _Watched] = {}

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

    def leave(self, observer: "StepObserver") -> None:
        """Forget an observer; the hooks go with the last one."""
        for number, watched in list(self._watched.items()):
            watched.leave(observer)
            if not watched.members:
                watched.rest()
                del self._watched[number]

    def begin(self, engine: Engine) -> None:
        """A sampled iteration of `engine` begins."""
        if self._watched:
            if not self._sought:
                self._sought = True
                self.clock = _device_clock(watched.optimizer for watched in self._watched.values())
            self._engine = engine
            self.iteration = self.sampled = engine.state.iteration
            for watched in list(self._watched.values()):
                watched.guarded(watched.arm, engine)

    def end(self, engine: Engine) -> None:
        """The iteration is over: see whether a step that should have come was skipped."""
        if self._watched:
            self.iteration = engine.state.iteration
            for watched in list(self._watched.values()):
                watched.guarded(watched.settle)

    def rest(self) -> None:
        """Take the hooks away that nobody waits for."""
        for watched in self._watched.values():
            if not watched.armed:
                watched.rest()

    def cancel(self) -> None:
        """Forget what was begun, and take every hook away."""
        for watched in self._watched.values():
            watched.cancel()

    def now(self) -> int:
        """The iteration in which a hook is called: with accumulation a later one."""
        if self._engine is not None:
            self.iteration = self._engine.state.iteration
        return self.iteration


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
        self._passes: BackwardEnd | None = None
        self._hooks: list[RemovableHandle] = []
        # Of some observers, the calls that do anything.
        self._known: tuple[Observers, dict[str, list[_Call]]] = {}, {}

    def join(self, observer: "StepObserver", key: str) -> None:
        """Arm this observer too, from the next sampled iteration on."""
        self.members = {**self.members, observer: key}

    def leave(self, observer: "StepObserver") -> None:
        """Forget an observer."""
        if observer in self.members:
            observer.discard(self.members[observer])
            self.members, self.armed, self._within = (
                {o: key for o, key in some.items() if o is not observer}
                for some in (self.members, self.armed, self._within)
            )

    def arm(self, engine: Engine) -> None:
        """Wait for the next step, and make the hooks that tell of it."""
        self.armed = self.members
        if not self._hooks:
            self._hooks = [
                self.optimizer.register_step_pre_hook(self._before),
                self.optimizer.register_step_post_hook(self._after),
            ]
        loss_scale = self._steps.loss_scale
        loss_scale.begin(engine)
        calls = self._calls(self.armed, "after_backward")
        if loss_scale.known:  # without it a skipped step would go unnoticed
            calls = self._calls(self.armed, "tensors")
        if calls:
            observer, key, _ = calls[0]
            tensors = observer.tensors(key)
            if self._passes is None or self._passes.tensors is not tensors:
                self._remove_passes()
                self._passes = BackwardEnd(tensors, self._ended)

    def settle(self) -> None:
        """Forget a step that raised something, and tell of one that was skipped."""
        if self._within:
            self._discard(self._within)
            self._within = {}
        if self.armed and self._steps.loss_scale.skipped(self.optimizer):
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
        self._discard(self.members)
        self.armed, self._within = {}, {}
        self.rest()

    def rest(self) -> None:
        """Take every hook away, as soon as torch allows."""
        self._remove_passes()
        hooks, self._hooks = self._hooks, []
        if self._steps.in_hook:  # the optimizer is going through its hooks, and fails if one goes
            self._steps.remove_later(hooks)
        else:
            for hook in hooks:
                hook.remove()
        self._steps.loss_scale.forget(self.optimizer)

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
        if self.armed:
            self.guarded(self._before_step, args, kwargs)

    def _after(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self._within:
            self.guarded(self._after_step, args, kwargs)

    def _after_backward(self) -> None:
        self._steps.loss_scale.note(self.optimizer)
        self._call(self._calls(self.armed, "after_backward"), self.optimizer)

    def _before_step(self, args: Any, kwargs: Any) -> None:
        self._steps.now()
        self._steps.loss_scale.find_in_stack(self.optimizer)
        self._within = self.armed
        calls = self._calls(self._within, "before_step")
        self._call(calls, self.optimizer, _has_closure(args, kwargs))

    def _after_step(self, args: Any, kwargs: Any) -> None:
        within, self._within, self.armed = self._within, {}, {}
        calls = self._calls(within, "after_step")
        self._call(calls, self.optimizer, _has_closure(args, kwargs))
        self._discard(within)
        self._steps.loss_scale.forget(self.optimizer)

    def _discard(self, observers: Observers) -> None:
        for _, key, discard in self._calls(observers, "discard"):
            discard(key)

    def _remove_passes(self) -> None:
        if self._passes is not None:
            self._passes.remove()
            self._passes = None

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
        steps.in_hook = True
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
            steps.in_hook = False
            seconds = perf_counter() - start
            steps.seconds += seconds
            if steps.clock is not None:
                steps.clock.stop(mark, seconds)


def _device_clock(optimizers: Iterable[Optimizer]) -> DeviceClock | None:
    """A clock of the first CUDA device on which a parameter is."""
    groups = chain.from_iterable(optimizer.param_groups for optimizer in optimizers)
    for parameter in chain.from_iterable(group["params"] for group in groups):
        if parameter.is_cuda:
            return DeviceClock(parameter.device)
    return None


def _has_closure(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    # The first of the arguments is the optimizer itself.
    return any(map(callable, args[1:])) or kwargs.get("closure") is not None
