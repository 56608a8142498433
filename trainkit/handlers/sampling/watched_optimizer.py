"""One optimizer: the hooks on it, and the monitors that wait for its next step."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from operator import is_, itemgetter
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from trainkit.handlers.sampling.backward_end import BackwardEnd
from trainkit.handlers.sampling.guard import Guard
from trainkit.handlers.sampling.moment import Moment
from trainkit.handlers.sampling.optimizer_hooks import (
    OptimizerHooks,
    inner_step,
    is_made_of_another,
)
from trainkit.handlers.sampling.step_state import StepState
from trainkit.handlers.sampling.subscriber import Subscriber

__all__ = ["WatchedOptimizer"]

#: Monitors, and the key under which each knows the optimizer.
Observers = dict[Subscriber, str]
_Call = tuple[Guard, str, Callable[..., Any]]

_PARAMETERS = itemgetter("params")


class WatchedOptimizer:
    """Calls monitors at the end of a backward pass, before the next step and after it.

    Args:
        optimizer: Is watched.
        state: Shared with the other optimizers of the sampler.
    """

    def __init__(self, optimizer: Optimizer, state: StepState) -> None:
        self.optimizer = optimizer
        self._state = state
        # These three are replaced, never changed: torch may be going through hooks.
        self.members: Observers = {}
        self.armed: Observers = {}
        self._within: Observers = {}
        #: Until it was seen to step within a process function.
        self.may_step_outside = True
        # The parameters of the optimizer when the hooks on them were made.
        self._parameters: list[Tensor] = []
        self._backward: BackwardEnd | None = None
        self._hooks = OptimizerHooks(optimizer, self._before, self._after)
        # An optimizer that is made of others may change gradients within its step, like a closure.
        self._changing = is_made_of_another(optimizer)
        # Calls of `step` that have begun and not ended, as far as is known.
        self._depth = 0
        # The functions to call at each moment, for the observers that were asked about last.
        self._known: tuple[Observers, dict[Moment, list[_Call]]] = {}, {}

    def join(self, subscriber: Subscriber, key: str) -> None:
        """Arm this monitor too, from the next sampled iteration on."""
        self.members = {**self.members, subscriber: key}

    def leave(self, subscriber: Subscriber) -> None:
        """Forget a monitor."""
        if subscriber in self.members:
            key = self.members[subscriber]
            self.members, self.armed, self._within = (
                {s: key for s, key in some.items() if s is not subscriber}
                for some in (self.members, self.armed, self._within)
            )
            with suppress(Exception):  # it is forgotten either way
                subscriber.moments.get(Moment.STEP_DROPPED, _nothing)(key)

    def enter(self, sampled: bool) -> None:
        """Install the hooks, if a step is waited for."""
        if sampled:
            self.armed = self.members
        if not self.armed:
            return
        self._depth = 0
        self._hooks.put()
        backward = self._calls(self.armed, Moment.AFTER_BACKWARD)
        if self._state.loss_scale.known:  # without it a skipped step would not be noticed
            backward = backward or self._calls(self.armed, Moment.STEP_SKIPPED)
        if backward:
            self._put_backward_end()

    def waiting(self) -> list[tuple[str, str]]:
        """Who waits for the next step: class of the monitor, and its key of the optimizer."""
        return [(subscriber.guard.name, key) for subscriber, key in self.armed.items()]

    def wait_again(self, names: Iterable[Sequence[str]]) -> None:
        """Have those monitors wait for the next step, as `waiting` said in an earlier process."""
        wanted = {tuple(pair) for pair in names}
        self.armed = {s: key for s, key in self.members.items() if (s.guard.name, key) in wanted}

    def let_go(self) -> None:
        """Remove every hook; harmless when there is none."""
        self._hooks.remove()
        if self._backward is not None:
            self._backward.remove()

    def settle(self) -> None:
        """The iteration is over: drop a step that raised, and tell of one that was skipped."""
        if self._within:
            self._drop(self._within)
            self._within = {}
        if self.armed and self._state.loss_scale.skipped(self.optimizer):
            self._state.witness.stepped(self.optimizer)
            self.may_step_outside = False
            armed, self.armed = self.armed, {}
            for guard, key, skipped in self._calls(armed, Moment.STEP_SKIPPED):
                guard(skipped, key)
            self._drop(armed)
            self.armed = {
                s: key for s, key in armed.items() if s.waits_through_skips and s in self.members
            }
            self._state.loss_scale.forget(self.optimizer)

    def cancel(self) -> None:
        """Wait for no step any more."""
        self.armed, self._within = {}, {}
        self._state.loss_scale.forget(self.optimizer)
        self._drop(self.members)

    def guarded(self, function: Callable[..., None], *args: Any) -> None:
        """Call a function of this object; its fault is one of every member."""
        try:
            function(*args)
        except Exception as error:
            for subscriber in self.members:
                subscriber.guard.fail(error)

    def _put_backward_end(self) -> None:
        before = self._parameters
        now = [*chain.from_iterable(map(_PARAMETERS, self.optimizer.param_groups))]
        # Compared by identity: `==` of tensors would compare their elements.
        if self._backward is None or len(before) != len(now) or not all(map(is_, before, now)):
            self._parameters = now
            self._backward = BackwardEnd(tuple({id(p): p for p in now}.values()), self._ended)
        self._backward.put()

    def _ended(self) -> None:
        if self.armed:
            self.guarded(self._after_backward)

    def _before(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self._depth and inner_step(optimizer):  # `super().step()`: the outer call is the step
            self._depth += 1
            if self._within:  # what the outer call did to the gradients is seen here
                self.guarded(self._call, Moment.BEFORE_INNER_STEP, self._within, args, kwargs)
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
        self._state.loss_scale.note(self.optimizer)
        self._run(self._calls(self.armed, Moment.AFTER_BACKWARD), self.optimizer)

    def _before_step(self, args: Any, kwargs: Any) -> None:
        self._state.witness.stepped(self.optimizer)
        self.may_step_outside = not self._state.inside
        self._state.loss_scale.find_in_stack(self.optimizer)
        self._within = self.armed
        self._call(Moment.BEFORE_STEP, self._within, args, kwargs)

    def _after_step(self, args: Any, kwargs: Any) -> None:
        within, self._within, self.armed = self._within, {}, {}
        self._call(Moment.AFTER_STEP, within, args, kwargs)
        self._drop(within)
        self._state.loss_scale.forget(self.optimizer)

    def _drop(self, observers: Observers) -> None:
        for guard, key, drop in self._calls(observers, Moment.STEP_DROPPED):
            try:
                drop(key)
            except Exception as error:
                guard.fail(error)

    def _calls(self, observers: Observers, moment: Moment) -> list[_Call]:
        """The functions of those observers that are called at this moment."""
        if observers is not self._known[0]:
            self._known = observers, {}
        calls = self._known[1].get(moment)
        if calls is None:
            calls = self._known[1][moment] = [
                (subscriber.guard, key, function)
                for subscriber, key in observers.items()
                if (function := subscriber.moments.get(moment)) is not None
            ]
        return calls

    def _call(self, moment: Moment, observers: Observers, args: Any, kwargs: Any) -> None:
        closure = _has_closure(args, kwargs)
        if moment is not Moment.BEFORE_INNER_STEP:
            closure = closure or self._changing
        self._run(self._calls(observers, moment), self.optimizer, closure)

    def _run(self, calls: list[_Call], *args: Any) -> None:
        """Call them, guarded, without gradients, and count the time."""
        watch = self._state.watch
        started = watch.start()
        # As torch.no_grad does, without its overhead.
        grad = torch.is_grad_enabled()
        torch._C._set_grad_enabled(False)
        try:
            for guard, key, function in calls:
                try:
                    function(key, *args)
                except Exception as error:
                    guard.fail(error)
        finally:
            torch._C._set_grad_enabled(grad)
            watch.seconds += watch.stop(started)


def _nothing(key: str) -> None:
    return


def _has_closure(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    # The first of the arguments is the optimizer itself.
    return any(map(callable, args[1:])) or kwargs.get("closure") is not None
