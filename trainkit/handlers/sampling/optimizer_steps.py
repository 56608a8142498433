"""The steps of all optimizers that the monitors of one sampler observe."""

from collections.abc import Iterable, Mapping
from itertools import chain
from operator import attrgetter
from typing import Any

import torch
from ignite.engine import Engine
from torch.optim import Optimizer

from trainkit.handlers.sampling.device_clock import DeviceClock
from trainkit.handlers.sampling.step_state import StepState
from trainkit.handlers.sampling.stopwatch import Stopwatch
from trainkit.handlers.sampling.subscriber import Subscriber
from trainkit.handlers.sampling.watched_optimizer import WatchedOptimizer

__all__ = ["OptimizerSteps", "device_clock"]

_ARMED = attrgetter("armed")


class OptimizerSteps:
    """Arms monitors in sampled iterations for the next step of each of their optimizers.

    The step may come in a later iteration (gradient accumulation); it disarms them. All monitors
    share the hooks on an optimizer and its parameters. The hooks exist only while the process
    function runs, from `enter` to `leave`. The exception is an optimizer that was never seen to
    step in there: its hooks stay until the step comes, perhaps in an event handler, or until the
    run is over.

    Args:
        watch: Times what monitors do in the hooks.
    """

    def __init__(self, watch: Stopwatch) -> None:
        self.state = StepState(watch)
        #: Whether hooks exist beyond a process function.
        self.open = False
        self._sought_device = False
        self._watched: dict[int, WatchedOptimizer] = {}

    @property
    def pending(self) -> bool:
        """Whether some step is still waited for."""
        return any(map(_ARMED, self._watched.values()))

    def join(self, subscriber: Subscriber) -> None:
        """Arm a monitor in sampled iterations from now on."""
        for key, optimizer in subscriber.optimizers.items():
            watched = self._watched.get(id(optimizer))
            if watched is None:
                watched = self._watched[id(optimizer)] = WatchedOptimizer(optimizer, self.state)
            watched.join(subscriber, key)

    def drop(self, subscriber: Subscriber) -> None:
        """Forget a monitor; harmless in a hook, while torch is going through its hooks."""
        for watched in self._watched.values():
            watched.leave(subscriber)
        if not (self.state.inside or self.open):
            self._forget_the_unwatched()

    def enter(self, engine: Engine, sampled: bool) -> None:
        """The process function is about to run, in an iteration that is sampled or waits."""
        if not self._watched:
            self.state.iteration = engine.state.iteration
            return
        state = self.state
        state.inside = True
        if not self._sought_device:
            self._sought_device = True
            state.watch.device = state.watch.device or device_clock(
                w.optimizer for w in self._watched.values()
            )
        state.iteration = engine.state.iteration
        if sampled:
            state.sampled = state.iteration
        state.loss_scale.begin(engine)
        for watched in list(self._watched.values()):
            watched.guarded(watched.enter, sampled)
        state.witness.enter([watched.optimizer for watched in self._watched.values()])

    def leave(self, returned: bool) -> None:
        """The process function has returned, or raised: remove the hooks."""
        self.state.witness.leave(returned)
        for watched in list(self._watched.values()):
            if not returned:
                watched.guarded(watched.cancel)
            if watched.may_step_outside and watched.armed:
                self.open = True
            else:
                watched.let_go()
        self.state.inside = False
        self._forget_the_unwatched()

    def state_dict(self) -> dict[str, Any]:
        """Which monitors wait for a step now: of each optimizer, in their order."""
        waiting = [watched.waiting() for watched in self._watched.values()]
        return {"sampled": self.state.sampled, "waiting": waiting}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Have the same monitors wait for the same steps."""
        self.state.sampled = state_dict["sampled"]
        for watched, names in zip(self._watched.values(), state_dict["waiting"], strict=False):
            watched.wait_again(names)

    def rest(self) -> None:
        """Remove every hook."""
        self.open = False
        for watched in self._watched.values():
            watched.let_go()

    def end(self) -> None:
        """The iteration is over: see whether a step that should have come was skipped."""
        for watched in list(self._watched.values()):
            watched.guarded(watched.settle)
            if watched.armed and self.state.witness.hopeless(watched.optimizer):
                watched.guarded(watched.cancel)

    def cancel(self) -> None:
        """Wait for no step any more."""
        self.rest()
        for watched in self._watched.values():
            watched.cancel()

    def finish(self) -> None:
        """The run is over: say which optimizers were never seen to step."""
        self.rest()
        self.state.witness.finish([watched.optimizer for watched in self._watched.values()])

    def _forget_the_unwatched(self) -> None:
        for number, watched in list(self._watched.items()):
            if not watched.members:
                watched.let_go()
                del self._watched[number]


def device_clock(optimizers: Iterable[Optimizer]) -> DeviceClock | None:
    """A clock of the first CUDA device on which a parameter is."""
    groups = chain.from_iterable(optimizer.param_groups for optimizer in optimizers)
    # A subclass of Tensor may refuse to answer.
    with torch._C.DisableTorchFunctionSubclass():
        for parameter in chain.from_iterable(group["params"] for group in groups):
            if parameter.is_cuda:
                return DeviceClock(parameter.device)
    return None
