"""The steps of optimizers: one pair of hooks on each, for all monitors that share a sampler."""

from collections.abc import Callable, Iterable, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from ignite.engine import Engine
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from trainkit.handlers.backward import BackwardEnd
from trainkit.handlers.scaling import LossScale

if TYPE_CHECKING:
    from trainkit.handlers.optimizer_step import StepObserver

__all__ = ["Steps"]


class Steps:
    """Calls observers at the end of a backward pass, before a step and after it.

    An observer is armed for the next step of an optimizer, in whichever iteration that comes, and
    disarmed by it. Hooks are dear to make, so those on an optimizer and on its parameters are
    shared, and stay until `rest` finds that nobody waits for them.

    Args:
        remove_later: Takes hooks that cannot be removed now: torch is going through them.
        spend: Receives the seconds of host time that the observers took.
    """

    def __init__(
        self,
        remove_later: Callable[[Iterable[RemovableHandle]], None],
        spend: Callable[[float], None],
    ) -> None:
        self.loss_scale = LossScale()
        # The iteration that is going on.
        self.iteration = 0
        self.in_hook = False
        self.remove_later = remove_later
        self._spend = spend
        self._engine: Engine | None = None
        self._watched: dict[int, _Watched] = {}

    @property
    def pending(self) -> bool:
        """Whether some step is still waited for."""
        return any(watched.armed for watched in self._watched.values())

    def begin(self, engine: Engine) -> None:
        """A sampled iteration of `engine` begins: the loss scaler may be found in it."""
        self._engine = engine
        self.iteration = engine.state.iteration
        self.loss_scale.begin(engine)

    def arm(self, observer: "StepObserver", key: str, optimizer: Optimizer) -> None:
        """Have `observer` called at the next step of `optimizer`, which it knows as `key`."""
        watched = self._watched.get(id(optimizer))
        if watched is None:
            watched = self._watched[id(optimizer)] = _Watched(self, optimizer)
        watched.armed[observer] = key
        watched.prepare()

    def end(self, engine: Engine) -> None:
        """The iteration is over: see whether a step that should have come was skipped."""
        self.iteration = engine.state.iteration
        for watched in self._watched.values():
            watched.settle()

    def rest(self) -> None:
        """Take the hooks away that nobody waits for."""
        for number, watched in list(self._watched.items()):
            if not watched.armed:
                watched.remove()
                del self._watched[number]

    def leave(self, observer: "StepObserver") -> None:
        """Forget an observer; the hooks go with the last one."""
        for watched in self._watched.values():
            watched.leave(observer)
        if not self.pending:
            self.rest()

    def now(self) -> int:
        """The iteration in which a hook is called: with accumulation a later one."""
        if self._engine is not None:
            self.iteration = self._engine.state.iteration
        return self.iteration

    def call(self, calls: Mapping["StepObserver", str], name: str, *args: Any) -> None:
        """Call a method of each observer, guarded, without gradients, and count the time."""
        start = perf_counter()
        self.in_hook = True
        # What torch.no_grad does, at a tenth of its price.
        grad = torch.is_grad_enabled()
        torch._C._set_grad_enabled(False)
        try:
            for observer, key in calls.items():
                observer.guard.untimed(getattr(observer, name), key, *args)
        finally:
            torch._C._set_grad_enabled(grad)
            self.in_hook = False
            self._spend(perf_counter() - start)


class _Watched:
    """One optimizer, and who waits for its next step."""

    def __init__(self, steps: Steps, optimizer: Optimizer) -> None:
        self.armed: dict[StepObserver, str] = {}
        self._steps = steps
        self._optimizer = optimizer
        self._within: dict[StepObserver, str] = {}
        self._passes: BackwardEnd | None = None
        self._hooks = [
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
        ]

    def prepare(self) -> None:
        """Watch over the backward passes, if somebody wants to know of them."""
        known = self._steps.loss_scale.known  # without it a skipped step would go unnoticed
        for observer, key in self.armed.items():
            tensors = observer.tensors(key) if known or observer.watches_backward else None
            if tensors is None:
                continue
            if self._passes is None or self._passes.tensors is not tensors:
                self._remove_passes()
                self._passes = BackwardEnd(tensors, self._ended)
            return

    def settle(self) -> None:
        """Forget a step that raised something, and tell of one that was skipped."""
        for observer, key in self._within.items():
            observer.discard(key)
        self._within = {}
        if self.armed and self._steps.loss_scale.skipped(self._optimizer):
            armed, self.armed = self.armed, {}
            for observer, key in armed.items():
                observer.guard(observer.skipped, key)
                observer.discard(key)
                if observer.outlasts_skipping:
                    self.armed[observer] = key
            self._steps.loss_scale.forget(self._optimizer)

    def leave(self, observer: "StepObserver") -> None:
        """Forget an observer."""
        key = self.armed.pop(observer, None)
        key = self._within.pop(observer, key)
        if key is not None:
            observer.discard(key)

    def remove(self) -> None:
        """Take every hook away, as soon as torch allows."""
        self._remove_passes()
        hooks, self._hooks = self._hooks, []
        if self._steps.in_hook:  # the optimizer is going through its hooks, and fails if one goes
            self._steps.remove_later(hooks)
        else:
            for hook in hooks:
                hook.remove()
        self._steps.loss_scale.forget(self._optimizer)

    def _remove_passes(self) -> None:
        if self._passes is not None:
            self._passes.remove()
            self._passes = None

    def _ended(self) -> None:
        if self.armed:
            self._steps.loss_scale.note(self._optimizer)
            waiting = {o: key for o, key in self.armed.items() if o.watches_backward}
            self._steps.call(waiting, "after_backward", self._optimizer)

    def _before(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if not self.armed:
            return
        self._steps.now()
        self._steps.loss_scale.find_in_stack(optimizer)
        # A copy: an observer that fails leaves.
        self._within = dict(self.armed)
        self._steps.call(dict(self._within), "before_step", optimizer, _has_closure(args, kwargs))

    def _after(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        within, self._within = self._within, {}
        if not within:
            return
        for observer in within:
            self.armed.pop(observer, None)
        self._steps.call(within, "after_step", optimizer, _has_closure(args, kwargs))
        for observer, key in within.items():
            observer.discard(key)
        self._steps.loss_scale.forget(optimizer)


def _has_closure(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    # The first of the arguments is the optimizer itself.
    return any(callable(arg) for arg in args[1:]) or kwargs.get("closure") is not None
