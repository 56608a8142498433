"""Measure many tensors together, and leave out those that cannot be measured."""

import logging
from collections.abc import Callable, Sequence
from itertools import compress, repeat
from operator import attrgetter, is_not
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from trainkit.handlers.parameters.parameter_names import ParameterNames
from trainkit.handlers.say_once import listed
from trainkit.stats.cpu.sizes import plain_tensors
from trainkit.stats.tensors.readable import UnreadableError, plain

__all__ = ["Measurable", "gradients_of"]

_log = logging.getLogger("trainkit")

T = TypeVar("T")
Names = ParameterNames

_GRADIENT = attrgetter("grad")


def gradients_of(tensors: Sequence[Tensor]) -> list[Tensor | None]:
    """Their gradients, also of those of a type that refuses to answer."""
    try:
        return [*map(_GRADIENT, tensors)]
    except Exception:
        with torch._C.DisableTorchFunctionSubclass():
            return [*map(_GRADIENT, tensors)]


class _Odd(NamedTuple):
    """What is left out: of which kind it was, and whether it may become readable."""

    kind: tuple[Any, ...]
    may_change: bool


class Measurable:
    """Measures named tensors together, without those that are odd.

    They are all measured in one call. Only where that raises, each is tried by itself: those that
    raise alone are left out from then on, with one line for all that have the same reason, until
    they are of another kind or have become readable (memory that comes and goes).

    Left out without a word: what is not there (None), has no elements, or is lazy still.

    Args:
        monitor: What the monitor is called in the log.
        thing: What a tensor is called there, e.g. `parameter`.
    """

    def __init__(self, monitor: str, thing: str) -> None:
        self._monitor, self._thing = monitor, thing
        self._odd: dict[str, dict[str, _Odd]] = {}
        self._told: set[str] = set()

    def chosen(
        self, section: str, names: Names, tensors: Sequence[Tensor | None]
    ) -> tuple[Names, Sequence[Tensor]]:
        """Those that can be measured, as far as is known."""
        odd = self._odd.get(section)
        if not odd and all(map(is_not, tensors, repeat(None))):
            found = plain_tensors(tensors)  # type: ignore[arg-type]
            if found is not None:
                return names, found
        present = [
            tensor is not None and not self._is_out(odd, name, tensor)
            for name, tensor in zip(names, tensors, strict=True)
        ]
        some: list[Tensor] = list(compress(tensors, present))  # type: ignore[arg-type]
        return names.present(present), plain_tensors(some) or some

    def measure(
        self,
        section: str,
        names: Names,
        tensors: Sequence[Tensor | None],
        function: Callable[[Names, Sequence[Tensor]], T],
    ) -> tuple[Names, Sequence[Tensor], T | None]:
        """`function` of those that can be measured, and which these were; None where none can.

        Args:
            section: Of an optimizer; names are told apart within it.
            names: Of all the tensors.
            tensors: None where there is nothing.
            function: Called with names and tensors; it must be able to take each alone.

        Raises:
            Exception: What `function` raises of tensors each of which it can take alone.
        """
        found, some = self.chosen(section, names, tensors)
        if not some:
            return found, some, None
        try:
            return found, some, function(found, some)
        except Exception:
            kept = self.kept(section, found, some, lambda i: function(found.at([i]), [some[i]]))
            if len(kept) == len(some):
                raise
        found, some = self.chosen(section, names, tensors)
        return found, some, function(found, some) if some else None

    def kept(
        self, section: str, names: Names, tensors: Sequence[Tensor], attempt: Callable[[int], Any]
    ) -> list[int]:
        """The positions at which an attempt raises nothing; the others are left out, and told."""
        positions: list[int] = []
        reasons: dict[str, list[str]] = {}
        for i, (name, tensor) in enumerate(zip(names, tensors, strict=True)):
            try:
                attempt(i)
                positions.append(i)
            except Exception as error:
                unreadable = isinstance(error, UnreadableError)
                odd = self._odd.setdefault(section, {})
                odd[name] = _Odd(_kind(tensor), unreadable)
                reason = str(error) if unreadable else f"raises {type(error).__name__}: {error}"
                if section + name not in self._told:
                    self._told.add(section + name)
                    reasons.setdefault(reason.split("\n")[0][:200], []).append(section + name)
        for reason, out in reasons.items():
            one = len(out) == 1
            _log.warning(
                "%s leaves out %s, also of its global values: %s, which %s",
                self._monitor,
                f"the {self._thing}" if one else f"{len(out)} {self._thing}s",
                listed(out),
                reason if one else f"each {reason}",
            )
        return positions

    def _is_out(self, odd: dict[str, _Odd] | None, name: str, tensor: Tensor) -> bool:
        known = odd.get(name) if odd else None
        if known is not None:
            if known.kind == _kind(tensor) and not (known.may_change and _is_readable(tensor)):
                return True
            del odd[name]  # type: ignore[union-attr]
        try:
            # Lazy ones cannot be asked for their size.
            return is_lazy(tensor) or not tensor.numel() > 0
        except Exception:  # it will be told when it is measured
            return False


def _kind(tensor: Tensor) -> tuple[Any, ...]:
    try:
        return type(tensor), tensor.layout, tensor.dtype, tensor.device
    except Exception:  # a type of somebody's own may refuse to say
        return (type(tensor),)


def _is_readable(tensor: Tensor) -> bool:
    try:
        plain(tensor)
    except Exception:
        return False
    return True
