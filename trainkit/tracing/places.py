"""Which module an operation belongs to, in the forward and in the backward pass."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trainkit.tracing.nested import tensors_in
from trainkit.tracing.report import ModuleCall

__all__ = ["Places"]

_TAG = "trainkit module"


class Places:
    """Follows the calls of modules, and marks the nodes of the graph with the module they are of.

    Args:
        models: By name; a single one under an empty name.
        loss_fn: A module has a place of its own; of anything else the place is `loss`.
        optimizers: By name.
    """

    def __init__(
        self, models: Mapping[str, nn.Module], loss_fn: Any, optimizers: Mapping[str, Optimizer]
    ) -> None:
        self._names: dict[nn.Module, str] = {}
        for name, model in models.items():
            for path, module in model.named_modules():
                whole = ".".join(part for part in (name, path) if part)
                self._names.setdefault(module, whole or type(model).__name__)
        if isinstance(loss_fn, nn.Module):
            for path, module in loss_fn.named_modules():
                self._names.setdefault(module, f"loss.{path}" if path else "loss")
        self._optimizers = optimizers
        self._open: list[tuple[str, set[Any]]] = []
        self._stepping: str | None = None
        self.calls: list[ModuleCall] = []

    def now(self) -> tuple[str, str]:
        """Phase and place of the operation that goes on."""
        node: Any = torch._C._current_autograd_node()
        if node is not None:
            return "backward", str(node.metadata.get(_TAG, "loss"))
        if self._stepping is not None:
            return "optimizer", self._stepping or "optimizer"
        return "forward", self._open[-1][0] if self._open else "loss"

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Inside, calls are followed."""
        with ExitStack() as stack:
            for module in self._names:
                for handle in (
                    module.register_forward_pre_hook(self._enter, with_kwargs=True),
                    module.register_forward_hook(self._leave, with_kwargs=True),
                ):
                    stack.callback(handle.remove)
            for name, optimizer in self._optimizers.items():
                before = optimizer.register_step_pre_hook(
                    lambda *_, name=name: setattr(self, "_stepping", name)
                )
                after = optimizer.register_step_post_hook(self._end_step)
                stack.callback(before.remove)
                stack.callback(after.remove)
            yield

    def _end_step(self, *_: Any) -> None:
        self._stepping = None

    def _enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        given = {t.grad_fn for t in tensors_in((args, kwargs)) if t.grad_fn is not None}
        self._open.append((self._names[module], given))

    def _leave(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        name, given = self._open.pop()
        kind = type(module).__name__
        for tensor in tensors_in(output):
            if not (tensor.is_floating_point() or tensor.is_complex()):
                continue
            _tag(tensor.grad_fn, given, name)
            self.calls.append(_call("forward", name, kind, tensor))
            if tensor.requires_grad:
                tensor.register_hook(  # type: ignore[no-untyped-call]
                    lambda gradient: self.calls.append(_call("backward", name, kind, gradient))
                )


def _tag(node: Any, given: set[Any], name: str) -> None:
    """Mark the nodes that a module has made: those behind its inputs that no module has marked."""
    waiting = [node]
    while waiting:
        each = waiting.pop()
        if each is None or each in given or _TAG in each.metadata:
            continue
        each.metadata[_TAG] = name
        waiting += [following for following, _ in each.next_functions]


def _call(phase: str, place: str, kind: str, tensor: Tensor) -> ModuleCall:
    with torch.no_grad(), torch.utils._python_dispatch._disable_current_modes():
        values = tensor.detach()
        values = values.to_dense() if values.layout is not torch.strided else values
        values = values.abs() if values.is_complex() else values.double()
        good = values[torch.isfinite(values)]
        least = float(good.min()) if good.numel() else None
        most = float(good.max()) if good.numel() else None
        bad = values.numel() - good.numel()
    return ModuleCall(phase, place, kind, tuple(tensor.shape), least, most, bad)
