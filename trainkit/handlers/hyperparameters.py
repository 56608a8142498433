"""Learning rate and every other number that moves."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ignite.engine import Engine
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from trainkit.handlers.cadence import Cadence
from trainkit.handlers.monitor import Monitor
from trainkit.handlers.output import Number, is_number
from trainkit.handlers.parameters import check_hooks
from trainkit.handlers.sampler import Sampler
from trainkit.writers.protocol import Writer

__all__ = ["HyperparameterMonitor"]

Scheduled = Callable[[], Any] | tuple[Any, str]


class HyperparameterMonitor(Monitor):
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

    def __init__(
        self,
        optimizers: Optimizer | Mapping[str, Optimizer],
        writer: Writer,
        every: int | Cadence | Sampler = 1,
        *,
        scheduled: Mapping[str, Scheduled] | None = None,
    ) -> None:
        super().__init__(writer, every)
        self._optimizers = _by_prefix(optimizers)
        self._scheduled = {
            f"hyperparameters/{name}": _reader(name, value)
            for name, value in (scheduled or {}).items()
        }
        self._alone: dict[str, bool] = {}
        self._written: dict[str, float] = {}
        self._hooks: dict[str, RemovableHandle] = {}
        self._scheduled_at: int | None = None
        self._in_hook = False

    def begin(self, engine: Engine) -> None:
        """Wait for the next step of each optimizer."""
        for prefix, optimizer in self._optimizers.items():
            if prefix not in self._hooks:
                self._hooks[prefix] = optimizer.register_step_pre_hook(
                    lambda *_, prefix=prefix: self._step(engine, prefix)
                )

    def end(self, engine: Engine) -> None:
        """Read what is scheduled, where no optimizer's step came first."""
        if not self._optimizers:
            self._write(engine, self._scheduled_now(engine))

    def cancel(self) -> None:
        """Take every hook away; harmless at any time."""
        hooks, self._hooks = self._hooks, {}
        if self._in_hook:
            self.sampler.remove_later(hooks.values())
            return
        for hook in hooks.values():
            hook.remove()

    def _step(self, engine: Engine, prefix: str) -> None:
        hook = self._hooks.pop(prefix, None)
        if hook is None:
            return
        self.sampler.remove_later([hook])
        self._in_hook = True
        self.guard(self._read_optimizer, engine, prefix)
        self._in_hook = False

    def _read_optimizer(self, engine: Engine, prefix: str) -> None:
        groups = self._optimizers[prefix].param_groups
        alone = self._alone.setdefault(prefix, len(groups) == 1)
        found: dict[str, Number] = {}
        for group, name in zip(groups, _group_names(groups), strict=True):
            between = "" if alone and group is groups[0] else f"{name}/"
            for key, value in group.items():
                if key not in ("params", "param_names", "name"):
                    found |= _numbers(f"{prefix}{between}{key}", value)
        self._write(engine, found | self._scheduled_now(engine))

    def _scheduled_now(self, engine: Engine) -> dict[str, Number]:
        found: dict[str, Number] = {}
        if self._scheduled_at == engine.state.iteration:
            return found  # another optimizer stepped first in this iteration
        self._scheduled_at = engine.state.iteration
        for tag, read in self._scheduled.items():
            found |= _numbers(tag, read())
        return found

    def _write(self, engine: Engine, found: Mapping[str, Number]) -> None:
        changed: dict[str, Number] = {}
        for tag, value in found.items():
            if isinstance(value, Tensor):
                changed[tag] = value.detach()
            elif tag not in self._written or self._written[tag] != value:
                changed[tag] = self._written[tag] = value
        if changed:
            self.writer.write_scalars(engine.state.iteration, changed)


def _by_prefix(optimizers: Optimizer | Mapping[str, Optimizer]) -> dict[str, Optimizer]:
    named = optimizers if isinstance(optimizers, Mapping) else {"optimizer": optimizers}
    for name, optimizer in named.items():
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                "optimizers must be a torch.optim.Optimizer or a mapping of names to them, got "
                f"{optimizer!r} for {name!r}"
            )
    check_hooks(named.values())
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
