"""The loss and each of its components."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from trainkit.handlers.evaluation import OutputMonitor
from trainkit.handlers.output import Number, StepOutput
from trainkit.stats.predictions import wide

__all__ = ["LossMonitor", "LossTotals"]


@dataclass(eq=False, slots=True)
class LossTotals:
    """Sums of values weighted by their batch's size; those of several batches add up.

    Args:
        sums: Tag → Σ n · value.
        counts: Tag → Σ n.
    """

    sums: Mapping[str, Number]
    counts: Mapping[str, int]

    def __add__(self, other: "LossTotals") -> "LossTotals":
        tags = [*self.sums, *(tag for tag in other.sums if tag not in self.sums)]
        return LossTotals(
            {tag: self.sums.get(tag, 0) + other.sums.get(tag, 0) for tag in tags},
            {tag: self.counts.get(tag, 0) + other.counts.get(tag, 0) for tag in tags},
        )

    def means(self) -> dict[str, Number]:
        """Tag → Σ n · value / Σ n."""
        return {tag: total / (self.counts[tag] or 1) for tag, total in self.sums.items()}


class LossMonitor(OutputMonitor[LossTotals]):
    """Writes the total loss and the weighted contribution of each component.

    On a trainer: the values of a sampled iteration. On an evaluator (with `trainer` given): the
    mean over the whole pass, each batch weighted by its number of samples, Σ_b n_b·l_b / Σ_b n_b,
    written once; that is the loss of the whole set if the loss averages over samples.

    Whatever else the step returns as numbers is written too: the `scalars` of trainkit's own
    engines under their tags, other numbers of a dict under `output/<key>`.

    A loop that divides its loss for gradient accumulation and returns the quotient is shown the
    quotient: return the loss, or multiply in `output_transform`.

    Tags: `loss/total`, `loss/<component>`; `output/<key>`.

    Args:
        writer: Where the values go.
        every: How often, in iterations, or a `Sampler` shared with other monitors.
        output_transform: Makes of `engine.state.output` what `as_step_output` understands.
        trainer: Given, the monitor belongs on an evaluator.

    Cost:
        Nothing on a trainer but to hand the tensors on; two launches per value and batch on an
        evaluator.

    Example:
        >>> from ignite.engine import Engine
        >>> from trainkit.writers import MemoryWriter
        >>> writer = MemoryWriter()
        >>> trainer = Engine(lambda engine, batch: {"loss": batch, "losses": {"mse": batch}})
        >>> handle = LossMonitor(writer).attach(trainer)
        >>> _ = trainer.run([4.0, 2.0])
        >>> writer.scalars["loss/mse"]
        [(1, 4.0), (2, 2.0)]
    """

    def totals(self, output: StepOutput) -> LossTotals | None:
        """The weighted values of one batch."""
        values: dict[str, Number] = {}
        if output.loss is not None:
            values["loss/total"] = output.loss
        values |= {f"loss/{name}": value for name, value in output.losses.items()}
        values |= output.scalars
        if output.loss is None:
            self.leave_out(
                "loss/total",
                "the engine's output has no loss; return a dict with 'loss', or pass "
                f'output_transform=lambda output: {{"loss": {_likely(values)}}}'
                + (f" (written instead: {', '.join(values)})" if values else ""),
            )
        if not values:
            return None
        if self.trainer is None:  # one batch, whose values are written as they are
            return LossTotals(values, {})
        n = output.batch_size
        weighted = {
            tag: value.to(wide(value.device)) * n if isinstance(value, Tensor) else value * n
            for tag, value in values.items()
        }
        return LossTotals(weighted, dict.fromkeys(values, n))

    def write(self, step: int, totals: LossTotals) -> None:
        """Write the values, or their means over the pass."""
        self.writer.write_scalars(step, totals.sums if self.trainer is None else totals.means())


def _likely(values: Mapping[str, Number]) -> str:
    """How the loss is found in the output, if the name of one value suggests it."""
    keys = [tag.removeprefix("output/") for tag in values]
    found = [key for key in keys if "loss" in key.lower()]
    total = [key for key in found if "total" in key.lower()]
    chosen = total if len(total) == 1 else found
    return f"output[{chosen[0]!r}]" if len(chosen) == 1 else "..."
