"""Observe the forward calls of modules while one function runs, without lasting hooks."""

import re
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from threading import get_ident
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as torch_module
from torch.utils.hooks import RemovableHandle

from trainkit.handlers.modules.leaf_layers import is_compiled
from trainkit.handlers.sampling.loss_scale import referred_to

__all__ = ["ForwardCalls", "calls_compiled", "compiler_in_use"]


class _Hook:
    """What torch calls. Copied or loaded with a model, it becomes something without effect."""

    def __init__(self, calls: "ForwardCalls") -> None:
        self._calls = calls

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if torch.compiler.is_compiling():  # a constant to the compiler: no graph is broken
            return
        self._calls.hear(module, output)

    def __reduce__(self) -> Any:
        return getattr, (nullcontext(), "__exit__")  # does nothing, and can be loaded anywhere


class ForwardCalls:
    """Hears each call of a module's forward pass between `open` and `close`.

    One hook for all modules, which is put on none of them: a copy of a module is not heard, a model
    can be saved, copied, scripted and exported while it is watched, and torch's fast path for
    inference stays on. But a function that `torch.compile` made would be compiled once more for
    being called with and without such a hook; so in a program that compiles there is a hook on
    each module instead, which the compiler's guards do not look at.

    Not heard: other threads, `torch.jit.trace`, and what a backward pass computes again for
    gradient checkpointing.

    Args:
        heard: Called with a module and its output.
    """

    def __init__(self, heard: Callable[[nn.Module, Any], None]) -> None:
        self._heard = heard
        self._hook = _Hook(self)
        # The same number each time: the compiler's guards may hold it.
        self._key = RemovableHandle(OrderedDict()).id
        self._on: list[nn.Module] = []
        self._thread: int | None = None

    def open(self, modules: Iterable[nn.Module]) -> None:
        """Hear from now on, in this thread.

        Args:
            modules: Whose calls matter; others may be heard too.
        """
        self.close()
        self._thread = get_ident()
        if compiler_in_use():
            for module in modules:
                self._on.append(module)
                module._forward_hooks[self._key] = self._hook
        else:
            _keep_quiet()
            torch_module._global_forward_hooks[self._key] = self._hook

    def close(self) -> None:
        """Hear no more; harmless at any time."""
        torch_module._global_forward_hooks.pop(self._key, None)
        self._thread = None
        while self._on:
            self._on[-1]._forward_hooks.pop(self._key, None)
            self._on.pop()

    def hear(self, module: nn.Module, output: Any) -> None:
        """Tell of a call that is to be heard."""
        if self._thread is None:  # an interrupt came while it was closed
            self.close()
        elif (
            self._thread == get_ident()
            and torch._C._get_tracing_state() is None
            and torch._C._current_graph_task_id() == -1
        ):
            self._heard(module, output)


def _keep_quiet() -> None:
    """No warning of a hook for all modules where one is compiled in the very step.

    It is meant for hooks that would be disturbed by being called for the wrapper too. It may be an
    error to others.
    """
    if _QUIET not in warnings.filters:
        warnings.filterwarnings("ignore", _WARNING, UserWarning)


_WARNING = r"Using `torch\.compile\(module\)` when there are global hooks"
_QUIET = "ignore", re.compile(_WARNING, re.IGNORECASE), UserWarning, None, 0


def calls_compiled(function: Any) -> bool:
    """Whether a function refers to something that `torch.compile` made."""
    return any(map(_is_compiled, referred_to(function)))


def _is_compiled(thing: Any) -> bool:
    if isinstance(thing, nn.Module):
        return is_compiled(thing)
    return "_torchdynamo_orig_callable" in getattr(thing, "__dict__", {})


def compiler_in_use() -> bool:
    """Whether `torch.compile` has made anything in this process."""
    compiler: Any = sys.modules.get("torch._dynamo.eval_frame")
    if compiler is None:
        return False
    backends = getattr(compiler, "cached_backends", None)  # internal to torch: it may disappear
    # Where functions are only kept from being compiled, the backend is False.
    return backends is None or any(map(callable, list(backends.values())))
