"""Evaluation of one part of the data: mean loss and metrics, without disturbing the training."""

from collections.abc import Mapping
from numbers import Real
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from ignite.metrics import Metric
from torch import Tensor
from torch.utils.data import DataLoader

from trainkit.data import length_of
from trainkit.rundir import Interruption, preserved_random_state
from trainkit.samples import samples_of

__all__ = ["Evaluation", "in_order"]


class Evaluation:
    """Evaluates one part of the data, as often as asked.

    Args:
        engine: An evaluator; its output holds `loss` where there is one.
        data: Batches.
        metrics: By name; they may be shared with other evaluations that run at other times.
        interruption: Stops an evaluation too.
    """

    def __init__(
        self,
        engine: Engine,
        data: Any,
        metrics: Mapping[str, Metric],
        interruption: Interruption | None = None,
    ) -> None:
        self.engine = engine
        self._data = data
        self._losses: dict[str, Tensor] = {}
        self._samples = 0
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        if interruption is not None:
            engine.add_event_handler(Events.ITERATION_COMPLETED, interruption.check)
        for name, metric in metrics.items():
            metric.attach(engine, name)

    def run(self) -> dict[str, float]:
        """One pass; `loss` (mean over samples), its components if several, and every metric.

        The loss of a batch counts by its number of samples: Σ_b n_b · l_b / Σ_b n_b. Metrics
        that are no single number are left out. The random state is put back.

        Cost: one read of the device, at the end.
        """
        if length_of(self._data) is None:  # else Ignite takes it to be what it was the last time
            self.engine.state.epoch_length = None
        with preserved_random_state():
            self.engine.run(self._data)
        values = self._means()
        for name, value in self.engine.state.metrics.items():
            if isinstance(value, Real) or (isinstance(value, Tensor) and value.numel() == 1):
                values[name] = float(value)
        return values

    def _start(self) -> None:
        self._losses, self._samples = {}, 0

    def _add(self, engine: Engine) -> None:
        output: Any = engine.state.output
        if not isinstance(output, Mapping) or not isinstance(output.get("loss"), Tensor):
            return
        n = samples_of(output.get("y_pred"), output.get("y"))
        components = output.get("losses") or {}
        named = {"loss": output["loss"]}
        if len(components) > 1:
            named |= {f"loss/{name}": value for name, value in components.items()}
        for name, value in named.items():
            added = value.to(_wide(value.device)) * n
            before = self._losses.get(name)
            self._losses[name] = added if before is None else before + added
        self._samples += n

    def _means(self) -> dict[str, float]:
        if not self._losses:
            return {}
        totals = torch.stack(list(self._losses.values()))
        totals = torch.cat([totals, totals.new_tensor([self._samples])])
        if idist.get_world_size() > 1:
            totals = torch.as_tensor(idist.all_reduce(totals))
        *sums, samples = totals.tolist()
        return {name: value / samples for name, value in zip(self._losses, sums, strict=True)}


def in_order(batches: Any) -> Any:
    """The same batches for evaluation: in their own order, none left out, none disturbed.

    A loader that is in use for training must not be iterated a second time at once (workers that
    persist are shared), so a `DataLoader` is made anew.
    """
    if isinstance(batches, DataLoader) and batches.batch_size is not None:
        return DataLoader(
            batches.dataset,
            batch_size=batches.batch_size,
            num_workers=batches.num_workers,
            collate_fn=batches.collate_fn,
            pin_memory=batches.pin_memory,
        )
    if callable(getattr(batches, "in_order", None)):
        return batches.in_order()
    return batches


def _wide(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
