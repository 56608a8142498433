"""Follow values that are not finite through the operations of torch, back to what produced them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from trainkit.tracing.nested import tensors_in

__all__ = ["Origin", "OriginMode", "is_finite"]


@dataclass(frozen=True)
class Origin:
    """What produced a value that is not finite, out of finite ones.

    Args:
        phase: `forward`, `backward` or `optimizer`; `given`: it was there before the step.
        place: A module, a parameter, `loss`, `batch`; as in the model's own names.
        operation: Of torch, without its overload: `aten.log`; empty for what was given.
        kind: `NaN` or `infinite`.
        rows: Rows of the first dimension that are not finite, where that is the batch's; else none.
        number: Of the operation in the step, so that the first one can be told.
    """

    phase: str
    place: str
    operation: str
    kind: str
    rows: tuple[int, ...] = ()
    number: int = 0

    def __str__(self) -> str:
        what = f" by {self.operation}" if self.operation else ""
        rows = f", samples {', '.join(map(str, self.rows[:8]))} of the batch" if self.rows else ""
        return f"{self.kind} in {self.place} ({self.phase}){what}{rows}"


class _Constant:
    """An infinity that was written down on purpose: the mask of an attention."""


_CONSTANT = _Constant()
_Source = Origin | _Constant

# They make memory whose content means nothing yet.
_EMPTY = ("empty", "new_empty", "empty_like", "empty_strided", "resize_")
_MOST_ROWS = 64


class OriginMode(TorchDispatchMode):
    """Sees every operation of a step, also those of the backward pass and of the optimizer.

    An operation that turns finite values into one that is not finite is an origin. Whatever is
    made of that value later has the same origin, until it is finite again. An infinity that is
    written down (`masked_fill` with minus infinity) is none, but a NaN that is made of it is.

    Args:
        where: Tells the phase and the place of the operation that goes on.
        samples: Of the batch.
    """

    def __init__(self, where: Callable[[], tuple[str, str]], samples: int | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._where = where
        self._samples = samples
        self._sources: dict[int, _Source] = {}
        self._number = 0
        self.origins: list[Origin] = []

    def give(self, place: str, tensor: Tensor) -> None:
        """Something that is there before the step; where it is not finite it is an origin."""
        if not is_finite(tensor):
            rows = _rows(tensor, self._samples) if place == "batch" else ()
            origin = Origin("given", place, "", _kind(tensor), rows)
            self._note(tensor, origin)
            self.origins.append(origin)

    def source(self, tensor: Tensor) -> Origin | None:
        """Where a value that is not finite comes from; None where it is finite, or was written."""
        if is_finite(tensor):
            return None
        found = self._sources.get(_key(tensor))
        return found if isinstance(found, Origin) else None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        bad = [t for t in tensors_in((args, kwargs)) if not is_finite(t)]
        sources = [self._sources.get(_key(tensor)) for tensor in bad]
        result = func(*args, **kwargs)
        self._number += 1
        name = _name(func)
        for tensor in tensors_in(result):
            if not is_finite(tensor):
                self._note(tensor, self._of(name, tensor, sources, args, kwargs))
        return result

    def _of(
        self,
        name: str,
        tensor: Tensor,
        sources: list[_Source | None],
        args: Any,
        kwargs: Mapping[str, Any],
    ) -> _Source:
        known = [source for source in sources if isinstance(source, Origin)]
        if known:
            return min(known, key=lambda origin: origin.number)
        if name.removeprefix("aten.") in _EMPTY:
            return _CONSTANT
        # Of infinities that were written down: as long as no NaN comes of them, they pass.
        written = bool(sources) or any(not isfinite(x) for x in _numbers((args, kwargs)))
        if written and _kind(tensor) != "NaN":
            return _CONSTANT
        phase, place = self._where()
        # The rows of a gradient or a weight are no samples, though there may be equally many.
        rows = _rows(tensor, self._samples) if phase == "forward" else ()
        origin = Origin(phase, place, name, _kind(tensor), rows, self._number)
        self.origins.append(origin)
        return origin

    def _note(self, tensor: Tensor, source: _Source) -> None:
        self._sources[_key(tensor)] = source


@torch.no_grad()
def is_finite(tensor: Tensor) -> bool:
    """Whether every element is; of what has no such elements, yes.

    Cost: a read of the device.
    """
    if not (tensor.is_floating_point() or tensor.is_complex()) or tensor.is_meta:
        return True
    with torch.utils._python_dispatch._disable_current_modes():
        values = tensor.coalesce().values() if tensor.layout is torch.sparse_coo else tensor
        return not values.numel() or bool(torch.isfinite(values).all())


def _kind(tensor: Tensor) -> str:
    with torch.no_grad(), torch.utils._python_dispatch._disable_current_modes():
        values = tensor.coalesce().values() if tensor.layout is torch.sparse_coo else tensor
        return "NaN" if bool(torch.isnan(values).any()) else "infinite"


def _rows(tensor: Tensor, samples: int | None) -> tuple[int, ...]:
    """Which samples it is."""
    if not samples or tensor.ndim < 1 or tensor.shape[0] != samples:
        return ()
    if tensor.layout is not torch.strided:
        return ()
    with torch.no_grad(), torch.utils._python_dispatch._disable_current_modes():
        bad = ~torch.isfinite(tensor).reshape(samples, -1).all(1)
        return tuple(bad.nonzero()[:_MOST_ROWS, 0].tolist())


def _key(tensor: Tensor) -> int:
    if tensor.layout is torch.sparse_coo:
        return tensor._values().untyped_storage().data_ptr()
    return tensor.untyped_storage().data_ptr()


def _name(func: Any) -> str:
    """`aten.log` of `aten.log.default`."""
    return str(func).rpartition(".")[0] or str(func)


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _numbers(item)
