"""Evaluation of one part of the data: mean loss and metrics, without disturbing the training."""

from collections.abc import Mapping
from numbers import Real
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from ignite.metrics import Metric
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from trainkit.data import Data, length_of
from trainkit.data.divided import Block
from trainkit.data.generators import generator_states, set_generator_states
from trainkit.handlers.evaluation.loss_totals import LossTotals, share
from trainkit.handlers.monitors.losses import LossMonitor
from trainkit.handlers.output.as_step_output import StepOutput
from trainkit.rundir import Interruption, preserved_random_state
from trainkit.writers import MemoryWriter

__all__ = ["Evaluation", "EvaluationData", "in_order"]


class Evaluation:
    """Evaluates one part of the data, any number of times.

    Args:
        engine: An evaluator; its output holds `loss` where there is one.
        data: Batches.
        metrics: By name; they may be shared with other evaluations that run at other times.
        interruption: Stops an evaluation too.
        loss_fn: What the loss in the output comes from: tells what it averages over.
    """

    def __init__(
        self,
        engine: Engine,
        data: Any,
        metrics: Mapping[str, Metric],
        interruption: Interruption | None = None,
        loss_fn: Any = None,
    ) -> None:
        self.engine = engine
        self._data = data
        # Not attached: it weighs batches here as it does for the charts.
        self._weigh = LossMonitor(MemoryWriter(), loss_fn=loss_fn, trainer=engine).totals
        self._totals: LossTotals | None = None
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        # Before the monitors attach: they write what this has added up over the processes.
        engine.add_event_handler(Events.COMPLETED, self._complete)
        if interruption is not None:
            engine.add_event_handler(Events.ITERATION_COMPLETED, interruption.check)
        for name, metric in metrics.items():
            metric.attach(engine, name)

    def run(self) -> dict[str, float]:
        """One pass; `loss`, its components if several, and every metric.

        The loss is that of `LossMonitor`, over all processes: each batch counts by what its loss
        averages over, where that is known, else by its samples. Metrics that are no single number
        are left out. The random state is restored.

        Cost: one read of the device, at the end, and one for each metric that is a tensor.
        """
        if length_of(self._data) is None:  # otherwise Ignite reuses the length of the last run
            self.engine.state.epoch_length = None
        with preserved_random_state():
            self.engine.run(self._data)
        values = self._means()
        for name, value in self.engine.state.metrics.items():
            if isinstance(value, Real) or (isinstance(value, Tensor) and value.numel() == 1):
                values[name] = float(value)
        return values

    def _start(self) -> None:
        self._totals = None

    def _add(self, engine: Engine) -> None:
        output: Any = engine.state.output
        if not isinstance(output, Mapping) or not isinstance(output.get("loss"), Tensor):
            return
        losses = output.get("losses") or {}
        step = StepOutput(output["loss"], losses, y_pred=output.get("y_pred"), y=output.get("y"))
        totals = self._weigh(step)
        if totals is not None:
            self._totals = totals if self._totals is None else self._totals + totals

    def _complete(self, engine: Engine) -> None:
        if self._totals is not None:
            self._totals = self._totals.over_processes()
            share(engine, self._totals)

    def _means(self) -> dict[str, float]:
        found = self._totals
        if found is None:
            return {}
        means = {tag: float(mean) for tag, mean in found.means().items()}
        total = means.pop("loss/total")
        return {"loss": total, **(means if len(means) > 1 else {})}


class EvaluationData:
    """The random generators of the data that are evaluated, which each evaluation moves on.

    Args:
        data: Of the run.
    """

    def __init__(self, data: Data) -> None:
        self._parts = {"validation": data.validation, "test": data.test}

    def state_dict(self) -> dict[str, Any]:
        """By part of the data."""
        return {name: generator_states(part) for name, part in self._parts.items()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from there."""
        for name, part in self._parts.items():
            set_generator_states(part, state_dict[name])


def in_order(batches: Any) -> Any:
    """A loader over the same data for evaluation: in order, complete, and independent.

    A loader that is in use for training must not be iterated a second time at once (workers that
    persist are shared), so a `DataLoader` is made anew.
    """
    if isinstance(batches, DataLoader) and batches.batch_size is not None:
        dataset: Any = batches.dataset
        divides = idist.get_world_size() > 1 and not isinstance(dataset, IterableDataset)
        return DataLoader(
            dataset,
            batch_size=batches.batch_size,
            sampler=Block(len(dataset)) if divides else None,
            num_workers=batches.num_workers,
            collate_fn=batches.collate_fn,
            pin_memory=batches.pin_memory,
        )
    if callable(getattr(batches, "in_order", None)):
        return batches.in_order()
    return batches
