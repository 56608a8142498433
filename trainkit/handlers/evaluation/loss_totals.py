"""Sums of losses over the batches of an evaluation."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import ignite.distributed as idist
import torch
from ignite.engine import Engine
from torch import Tensor

from trainkit.handlers.output.numbers_in import Number
from trainkit.stats.outputs.appearance import Appearance, looks_together
from trainkit.stats.outputs.loss_sums import LossSum
from trainkit.stats.precision import wide

__all__ = ["LossTotals", "mean_of", "on_device", "share", "with_shared"]


@dataclass(eq=False, slots=True)
class LossTotals:
    """Sums of values, and what they are divided by; those of several batches add up.

    Args:
        sums: Tag → Σ n · value, of what the step returned.
        counts: Tag → Σ n; 0 for a value that is a sum itself.
        computed: Component → the sums of what the step did not return.
        looks: What the predictions look like that those were computed of.
        add_up: Tags whose means add up to the total, where these are means of different things.
    """

    sums: Mapping[str, Number] = field(default_factory=dict)
    counts: Mapping[str, Number] = field(default_factory=dict)
    computed: Mapping[str, LossSum] = field(default_factory=dict)
    looks: Appearance | None = None
    add_up: tuple[str, ...] = ()

    def __add__(self, other: "LossTotals") -> "LossTotals":
        tags = {**self.sums, **other.sums}
        computed = dict(self.computed)
        for name, part in other.computed.items():
            computed[name] = computed[name] + part if name in computed else part
        return LossTotals(
            {tag: self.sums.get(tag, 0) + other.sums.get(tag, 0) for tag in tags},
            {tag: self.counts.get(tag, 0) + other.counts.get(tag, 0) for tag in tags},
            computed,
            looks_together(self.looks, other.looks),
            self.add_up or other.add_up,
        )

    def over_processes(self) -> "LossTotals":
        """The sums of what the steps returned, over all processes, as numbers on the host.

        Every process must call this at the same point.

        Cost: one read of the device, and one exchange between the processes.
        """
        tags = list(self.sums)
        if not tags:
            return self
        device = torch.as_tensor(self.sums[tags[0]]).device
        parts = [*self.sums.values(), *(self.counts[tag] for tag in tags)]
        numbers = torch.stack([on_device(part, device).to(device) for part in parts])
        if idist.get_world_size() > 1:
            numbers = torch.as_tensor(idist.all_reduce(numbers))
        found = iter(numbers.tolist())
        return LossTotals(
            dict(zip(tags, found, strict=False)),
            dict(zip(tags, found, strict=True)),
            add_up=self.add_up,
        )

    def means(self) -> dict[str, Number]:
        """Tag → Σ n · value / Σ n, of what the step returned."""
        found = {tag: mean_of(total, self.counts[tag]) for tag, total in self.sums.items()}
        if self.add_up:
            found["loss/total"] = sum(found[tag] for tag in self.add_up)
        return found


def share(engine: Engine, totals: LossTotals) -> None:
    """Keep the totals of an evaluator's pass over all processes, for its `LossMonitor`.

    Only the first process has monitors, so they cannot add up over the processes themselves.
    """
    if idist.get_world_size() > 1:
        _shared[engine] = totals


def with_shared(engine: Engine, own: LossTotals) -> LossTotals:
    """The totals of one process, replaced by those of all processes where there are any."""
    found = _shared.pop(engine, None)
    if found is None:
        return own
    sums, counts = {**own.sums, **found.sums}, {**own.counts, **found.counts}
    return LossTotals(sums, counts, own.computed, own.looks, found.add_up or own.add_up)


_shared: "WeakKeyDictionary[Engine, LossTotals]" = WeakKeyDictionary()


def mean_of(total: Number, count: Number) -> Number:
    """Total / count; the total where the count is the number 0, for a sum is no mean."""
    if isinstance(count, Tensor) or count:
        return total / count
    return total


def on_device(value: Number, device: torch.device) -> Tensor:
    """A number beside the others, in float64 where it was a Python number."""
    if isinstance(value, Tensor):
        return value.to(wide(device))
    # Filled there: a copy from the host would wait for all that the device has to do.
    return torch.full((), value, dtype=wide(device), device=device)
