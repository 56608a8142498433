"""Learning rate and every other number that moves."""

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from operator import is_
from typing import Any

from ignite.engine import Engine
from torch import Tensor
from torch.optim import Optimizer

from trainkit.handlers.cadence import Cadence
from trainkit.handlers.optimizer_step import StepObserver
from trainkit.handlers.output import Number, is_number
from trainkit.handlers.sampler import Sampler
from trainkit.writers.protocol import Writer

__all__ = ["HyperparameterMonitor"]

_NOT_SHOWN = ("params", "param_names", "name")
_CONSTANT = {float, int, bool, str, type(None)}
_values = dict.values

Scheduled = Callable[[], Any] | tuple[Any, str]


class HyperparameterMonitor(StepObserver):
    """Writes every number in every parameter group, and every other scheduled value.

    They are read just before an optimizer's step, so they are what that step used, wherever the
    schedule is stepped: before the iteration, in it, or after it. They are written at the first
    step and then when they changed; a value that is a tensor (`capturable` learning rates) stays
    on its device, where a change cannot be seen from here, and is written every time.

    Left out: flags, `None`, and everything else that is not a number. An optimizer that does not
    step in a sampled iteration is read at its next step.

    Tags: `hyperparameters/<key>`; with several groups `hyperparameters/<group>/<key>`, the group
    by its entry `name` or its position (a group that was alone at first keeps its tags when
    others join it); elements of a tuple as `<key>.<position>`, e.g. `betas.0`; with several
    optimizers `hyperparameters/<optimizer>/…`; `hyperparameters/<name>` for scheduled values.

    Args:
        optimizers: One, or a mapping from name to optimizer.
        writer: Where the numbers go.
        every: How often, in iterations, or a `Sampler` shared with other monitors.
        scheduled: Name → function returning a number, or `(object, "attribute")`.

    Raises:
        TypeError: `optimizers` or `scheduled` are not of that form.

    Cost:
        A walk through the parameter groups in a sampled iteration.

    Example:
        >>> import torch
        >>> from trainkit.writers import MemoryWriter
        >>> weight, writer = torch.nn.Parameter(torch.ones(1)), MemoryWriter()
        >>> optimizer = torch.optim.SGD([weight], lr=0.5)
        >>> trainer = Engine(lambda engine, batch: optimizer.step())
        >>> handle = HyperparameterMonitor(optimizer, writer).attach(trainer)
        >>> _ = trainer.run([1, 2])
        >>> writer.scalars["hyperparameters/lr"]
        [(1, 0.5)]
    """

    outlasts_skipping = True

    def __init__(
        self,
        optimizers: Optimizer | Mapping[str, Optimizer],
        writer: Writer,
        every: int | Cadence | Sampler = 1,
        *,
        scheduled: Mapping[str, Scheduled] | None = None,
    ) -> None:
        super().__init__(_by_prefix(optimizers), writer, every)
        self._scheduled = {
            f"hyperparameters/{name}": _reader(name, value)
            for name, value in (scheduled or {}).items()
        }
        self._seen: dict[str, _Seen] = {}
        self._written: dict[str, float] = {}
        self._scheduled_at: int | None = None

    def end(self, engine: Engine) -> None:
        """Read what is scheduled, where there is no optimizer whose step comes first."""
        if not self.optimizers:
            self._write(self._scheduled_now())

    def before_step(self, key: str, optimizer: Optimizer, closure: bool) -> None:
        """Read what this step will use, and write what changed."""
        seen = self._seen.setdefault(key, _Seen(key, alone=len(optimizer.param_groups) == 1))
        found = seen.news(optimizer.param_groups)
        if self._scheduled:
            found |= self._scheduled_now()
        if found:
            self._write(found)

    def _scheduled_now(self) -> dict[str, Number]:
        found: dict[str, Number] = {}
        if self._scheduled_at == self.steps.iteration:
            return found  # another optimizer stepped first in this iteration
        self._scheduled_at = self.steps.iteration
        for tag, read in self._scheduled.items():
            found |= _numbers(tag, read())
        return found

    def _write(self, found: Mapping[str, Number]) -> None:
        changed: dict[str, Number] = {}
        for tag, value in found.items():
            if isinstance(value, Tensor):
                changed[tag] = value.detach()
            elif tag not in self._written or self._written[tag] != value:
                changed[tag] = self._written[tag] = value
        if changed:
            self.writer.write_scalars(self.steps.iteration, changed)


class _Seen:
    """The parameter groups of one optimizer as they were last seen.

    Most entries are the very objects that they were at the step before: of those nothing need be
    read. Nothing is compared but identities, because a comparison with a tensor reads its device.

    Args:
        prefix: Of the tags.
        alone: Whether the first group keeps its tags when others join it.
    """

    def __init__(self, prefix: str, alone: bool) -> None:
        self._prefix = prefix
        self._alone = alone
        self._keys: list[str] = []
        self._names: list[str] = []
        self._tags: list[str] = []
        self._values: list[Any] = []
        # Positions of what may change and stay the same object: tensors, and lists.
        self._variable: list[int] = []

    def news(self, groups: list[dict[str, Any]]) -> dict[str, Number]:
        """Tag → number, of all entries that may have changed."""
        keys, values = [*chain.from_iterable(groups)], [*chain.from_iterable(map(_values, groups))]
        if keys != self._keys or not all(map(is_, values, self._values)):
            return self._changed(groups, keys, values)
        found: dict[str, Number] = {}
        for i in self._variable:
            found |= _numbers(self._tags[i], values[i])
        return found

    def _changed(
        self, groups: list[dict[str, Any]], keys: list[str], values: list[Any]
    ) -> dict[str, Number]:
        names = [group["name"] for group in groups if "name" in group]
        if keys != self._keys or names != self._names:
            self._keys, self._names = keys, names
            self._tags = list(self._named(groups))
            self._values = [_Seen] * len(values)  # which is none of them
        found: dict[str, Number] = {}
        self._variable = []
        for i, (tag, value, before) in enumerate(
            zip(self._tags, values, self._values, strict=True)
        ):
            if not tag:
                continue
            if not _is_constant(value):
                self._variable.append(i)
            elif value is before:
                continue
            found |= _numbers(tag, value)
        self._values = values
        return found

    def _named(self, groups: list[dict[str, Any]]) -> Iterator[str]:
        for group, name in zip(groups, _group_names(groups), strict=True):
            between = "" if self._alone and group is groups[0] else f"{name}/"
            for key in group:
                yield "" if key in _NOT_SHOWN else f"{self._prefix}{between}{key}"


def _is_constant(value: Any) -> bool:
    """Whether it cannot become another number while it stays the same object."""
    kind = type(value)
    return kind in _CONSTANT or (kind is tuple and all(map(_is_constant, value)))


def _by_prefix(optimizers: Optimizer | Mapping[str, Optimizer]) -> dict[str, Optimizer]:
    named = optimizers if isinstance(optimizers, Mapping) else {"optimizer": optimizers}
    for name, optimizer in named.items():
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                "optimizers must be a torch.optim.Optimizer or a mapping of names to them, got "
                f"{optimizer!r} for {name!r}"
            )
    if len(named) == 1:
        return {"hyperparameters/": next(iter(named.values()))}
    return {f"hyperparameters/{name}/": optimizer for name, optimizer in named.items()}


def _reader(name: str, scheduled: Any) -> Callable[[], Any]:
    if isinstance(scheduled, tuple) and len(scheduled) == 2 and isinstance(scheduled[1], str):
        owner, attribute = scheduled
        if not hasattr(owner, attribute):
            raise TypeError(
                f"scheduled[{name!r}] must name an attribute that {type(owner).__name__} has, got "
                f"{attribute!r}"
            )
        return lambda: getattr(owner, attribute)
    if not callable(scheduled):
        raise TypeError(
            f"scheduled[{name!r}] must be a function that returns a number, or (object, "
            f"'attribute'), got {scheduled!r}"
        )
    read: Callable[[], Any] = scheduled
    return read


def _group_names(groups: list[dict[str, Any]]) -> list[str]:
    named = [str(group.get("name", i)) for i, group in enumerate(groups)]
    return [f"{n}.{i}" if named.count(n) > 1 else n for i, n in enumerate(named)]


def _numbers(tag: str, value: Any) -> Iterator[tuple[str, Number]]:
    if isinstance(value, Tensor):
        if value.numel() == 1 and not value.is_complex():
            yield tag, value.reshape(())
    elif isinstance(value, tuple | list):
        for i, part in enumerate(value):
            yield from _numbers(f"{tag}.{i}", part)
    elif is_number(value):
        yield tag, float(value)
