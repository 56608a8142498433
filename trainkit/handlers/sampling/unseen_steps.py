"""Detect optimizers that are watched but never step, and others that step instead."""

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from torch.optim import Optimizer
from torch.optim.optimizer import _global_optimizer_pre_hooks

from trainkit.handlers.sampling.optimizer_hooks import compiling, uncompiled

__all__ = ["Witness"]

_log = logging.getLogger("trainkit")

# Iterations after which it is said that others step, and that nobody does.
_FEW, _MANY = 3, 100


class Witness:
    """Says in one line which optimizers were never seen to step, and which step in their place.

    It hears every optimizer of the process while a process function runs, until each one that is
    watched has stepped.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._silent: set[int] = set()
        self._watched: Sequence[Optimizer] = ()
        # What others stepped in so many iterations.
        self._others: dict[str, int] = {}
        self._iterations = 0
        self._heard: set[str] = set()
        self._key = f"trainkit.{id(self)}"
        self._listening = False
        self._hook: Any = None

    def enter(self, watched: Sequence[Optimizer]) -> None:
        """A process function is about to be called."""
        if self._silent or all(id(optimizer) in self._seen for optimizer in watched):
            return
        self._watched, self._listening = watched, True
        if self._hook is None:
            self._hook = uncompiled(self._hear) if compiling() else self._hear
        hooks: Any = _global_optimizer_pre_hooks
        hooks[self._key] = self._hook

    def leave(self, returned: bool) -> None:
        """It has returned, or raised."""
        if not self._listening:
            return
        self._listening = False
        _global_optimizer_pre_hooks.pop(self._key, None)  # type: ignore[call-overload]
        if not returned:
            return
        self._iterations += 1
        for name in self._heard:
            self._others[name] = self._others.get(name, 0) + 1
        self._heard.clear()
        if max(self._others.values(), default=0) >= _FEW or self._iterations >= _MANY:
            self._tell()

    def stepped(self, optimizer: Optimizer) -> None:
        """It was seen to step."""
        self._seen.add(id(optimizer))
        self._silent.discard(id(optimizer))

    def hopeless(self, optimizer: Optimizer) -> bool:
        """Whether it is not worth while to wait for its step beyond a sampled iteration."""
        return id(optimizer) in self._silent

    def finish(self, watched: Sequence[Optimizer]) -> None:
        """The run is over."""
        if self._iterations and not self._silent:
            self._watched = watched
            self._tell()
        self._watched, self._hook = (), None

    def _hear(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if not any(optimizer is one for one in self._watched):
            self._heard.add(_described(optimizer, self._watched))

    def _tell(self) -> None:
        missing = [one for one in self._watched if id(one) not in self._seen]
        self._silent = set(map(id, missing))
        if not missing:
            return
        names = " and ".join(_described(one) for one in missing)
        if self._others:
            others = " and ".join(self._others)
            what = f"but {others} did. Pass the optimizer whose step() is called as optimizers="
        else:
            what = (
                "nor did any other within them. Is the step captured in a CUDA graph, or are the "
                "weights moved by other means?"
            )
        _log.warning(
            "gradients, updates and hyperparameters are left out: in the first %d iterations the "
            "optimizer that was given, %s, did not step, %s",
            self._iterations, names, what,
        )  # fmt: skip
        self._watched = ()


def _described(optimizer: Optimizer, watched: Iterable[Optimizer] = ()) -> str:
    groups = optimizer.param_groups
    mine = {id(parameter) for group in groups for parameter in group["params"]}
    told = [type(optimizer).__name__]
    rate = groups[0].get("lr") if groups else None
    if isinstance(rate, float):  # a tensor would have to be read
        told.append(f"lr={rate:g}")
    also = {id(p) for one in watched for group in one.param_groups for p in group["params"]}
    told.append(f"{len(mine)} parameters{', the same ones' if mine and mine == also else ''}")
    return f"{told[0]}({', '.join(told[1:])})"
