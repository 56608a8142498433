"""The loss and each of its components."""

import logging
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

import torch
from ignite.engine import Engine
from torch import Tensor

from trainkit.handlers.curves.loss_curve import Curves
from trainkit.handlers.evaluation.loss_totals import LossTotals, mean_of, on_device, with_shared
from trainkit.handlers.evaluation.output_monitor import OutputMonitor
from trainkit.handlers.output.as_step_output import Number, StepOutput, describe, is_number
from trainkit.handlers.output.known_losses import KnownLoss, known_losses
from trainkit.handlers.output.mappings import targets_in
from trainkit.handlers.output.prediction_kind import named_loss
from trainkit.handlers.output.transform_hint import several_losses, transform_for
from trainkit.handlers.output.wrong_predictions import looks_wrong, no_scores
from trainkit.handlers.sampling.cadence import Cadence
from trainkit.handlers.sampling.moment import Moment
from trainkit.handlers.sampling.sampler import Sampler
from trainkit.handlers.say_once import listed
from trainkit.stats.precision import wide
from trainkit.writers.checked import Checked
from trainkit.writers.protocol import Scalars, Sink, Writer

__all__ = ["LossMonitor", "LossTotals"]

_log = logging.getLogger("trainkit")

# Finding the values may take so small a part of an iteration in every iteration.
_DEAR = 200.0


class LossMonitor(OutputMonitor[LossTotals]):
    """Writes the total loss and the weighted contribution of each component.

    On a trainer: the values of a sampled iteration. On an evaluator (with `trainer` given): once,
    over the whole pass:

    - The step returns the loss: Σ_b n_b·l_b / Σ_b n_b over batches b. With `loss_fn` one that is
      known (see `known_losses`) and targets in the output or in the batch, n_b is what that
      loss averages over (tokens that are not ignored, the sum of class weights, elements), and
      the result is the loss of the whole set. Else n_b is the number of samples in the batch.
    - It does not, but predictions and targets: a known `loss_fn` is computed, exactly as over the
      whole set at once (with `reduction="sum"` it is the sum over the set). No other loss is
      called: it might draw random numbers, count its calls or keep state, and the training would
      change. Then the loss is left out, with a line in the log.

    A computed loss is left out where the predictions cannot be what the loss takes: probabilities
    where it takes logits, class indices, targets that are no class index.

    Whatever else the step returns as numbers is written too: the `scalars` of trainkit's own
    engines under their tags, other numbers of a dict under `output/<key>`.

    A loop that divides its loss for gradient accumulation and returns the quotient is shown the
    quotient: return the loss, or multiply in `output_transform`.

    Tags: `loss/total`, `loss/<component>`; `output/<key>`; on evaluators `metrics/loss`, the same
    as `loss/total`: beside that of the training data it is the loss over the whole set.

    Args:
        writer: Where the values go.
        every: How often, in iterations, or a `Sampler` shared with other monitors.
        loss_fn: What the trainer minimizes; looked at on evaluators only.
        output_transform: Makes of `engine.state.output` what `as_step_output` understands.
        trainer: Given, the monitor belongs on an evaluator.
        every_iteration: On a trainer, write the values of every iteration, sampled or not, as
            points of a `Curve`. No device is read for it.
        evaluated_only: On an evaluator, write `metrics/loss` and nothing else: for the training
            data, whose `loss/…` are those of the iterations.

    Cost:
        Nothing on a trainer but to hand the tensors on; in every iteration 3 to 6 µs by
        themselves where they are in main memory (`benchmarks/curves.py`; several times that where
        the training has emptied the caches), and one launch elsewhere. An `output_transform` that
        takes more than a two-hundredth of an iteration (random numbers that it draws are put
        back) is applied in sampled iterations only. On an evaluator two launches per value
        and batch, and those of the loss where it is computed.

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

    engines = ("trainer", "evaluators", "train")

    def __init__(
        self,
        writer: Writer | Sink,
        every: int | Cadence | Sampler = 1,
        *,
        loss_fn: Callable[..., Any] | None = None,
        output_transform: Callable[[Any], Any] | None = None,
        trainer: Engine | None = None,
        every_iteration: bool = False,
        evaluated_only: bool = False,
    ) -> None:
        super().__init__(writer, every, output_transform=output_transform, trainer=trainer)
        self._every_iteration = every_iteration and trainer is None
        self._evaluated_only = evaluated_only
        self._curves = Curves(self.writer, "What the step of an iteration returned.")
        # What it takes to read an output that is not read in a few operations.
        self._reading = 0.0
        self.loss_fn = loss_fn
        self._known = None if trainer is None or loss_fn is None else known_losses(loss_fn)
        self._finish: Checked | None = None
        #: What is to be said once there are predictions. `attach_monitors` gives its monitors one.
        self.untold: list[str] = []

    def totals(self, output: StepOutput) -> LossTotals | None:
        """The weighted values of one batch."""
        if self.untold and (output.y_pred is not None or is_number(output.seen)):
            _log.warning("%s", self.untold.pop())
        values: dict[str, Number] = {}
        if output.loss is not None:
            values["loss/total"] = output.loss
        if output.losses:
            values |= {f"loss/{name}": value for name, value in output.losses.items()}
        for tag, value in output.scalars.items():
            if tag in values:
                self.leave_out(f"the scalar {tag}", "the loss has that tag; give it another")
            else:
                values[tag] = value
        for what, why in output.left_out.items():
            self.leave_out(what, why)
        if self.trainer is None:  # a single batch: its values are written unchanged
            if output.loss is None:
                self._leave_out_loss(output, values)
            return LossTotals(values) if values else None
        found = self._computed(output) if output.loss is None and not output.losses else None
        if output.loss is None and found is None:
            self._leave_out_loss(output, values)
        if not values:
            return found
        weighted = self._weighted(output, values)
        return weighted if found is None else weighted + found

    def moments(self) -> Mapping[Moment, Callable[..., Any]]:
        """At the end of the sampled iterations, or of all; on an evaluator as its base class."""
        if self._every_iteration:
            return {Moment.EVERY_ITERATION_COMPLETED: self.look, Moment.CANCELLED: self.cancel}
        return super().moments()

    def look(self, engine: Engine) -> float | None:
        """Write the values of this iteration, wherever they are found quickly."""
        state = engine.state
        if self.output_transform is None and self._curves.write_again(
            state.iteration, state.output
        ):
            return self._curves.loss
        if self.output_transform is not None and not self.sampler.is_due:
            usual = getattr(self.sampler.cadence, "iteration_seconds", 0.0)
            if self._reading > usual / _DEAR > 0:
                return None
        start = perf_counter()
        totals = self._measured(engine, self.sampler.outputs if self.sampler.is_due else {})
        if totals is not None:
            self._curves.write(state.iteration, state.output, totals.sums)
        seconds = perf_counter() - start
        # Do not count the first time, which imports and allocates.
        self._reading = min(seconds, self._reading) if self._reading else seconds
        return None

    def end_pass(self, engine: Engine) -> None:
        """Write the means of the whole pass: over all processes, where the pass is shared."""
        if self._totals is not None:
            self._totals = with_shared(engine, self._totals)
        super().end_pass(engine)

    def write(self, step: int, totals: LossTotals) -> None:
        """Write the values, or their means over the pass."""
        if self.trainer is None:
            self.writer.write_scalars(step, totals.sums)
            return
        means = totals.means()
        if "loss/total" in means:
            means["metrics/loss"] = means["loss/total"]
        if self._evaluated_only:
            means = {tag: mean for tag, mean in means.items() if tag == "metrics/loss"}
        if means:
            self.writer.write_scalars(step, means)
        if totals.computed:
            self._write_computed(step, totals)

    def _weighted(self, output: StepOutput, values: Mapping[str, Number]) -> LossTotals:
        """What the step returned, with what each value is a mean of."""
        n = output.batch_size
        counts: dict[str, Number] = dict.fromkeys(values, n)
        add_up: tuple[str, ...] = ()
        known = self._known or {}
        y_pred, y = output.pair()
        if known and y is None:  # what a loss counts can be told by the batch's
            y = targets_in(output.batch)
        if known and isinstance(y, Tensor):
            if "" in known and len(output.losses) < 2:  # the loss, and its one component
                count = _count(known[""], y_pred, y, n)
                counts |= {tag: count for tag in values if tag.startswith("loss/")}
            elif known.keys() == output.losses.keys():
                found = {name: _count(part, y_pred, y, n) for name, part in known.items()}
                counts |= {f"loss/{name}": count for name, count in found.items()}
                add_up = tuple(f"loss/{name}" for name in found)
        sums = {tag: _times(value, counts[tag]) for tag, value in values.items()}
        return LossTotals(sums, counts, add_up=add_up)

    def _computed(self, output: StepOutput) -> LossTotals | None:
        """What `loss_fn` would return, where it can be computed without calling it."""
        if self._known is None:
            return None
        y_pred, y = output.pair()
        if not isinstance(y_pred, Tensor) or not isinstance(y, Tensor):
            return None
        if not y_pred.is_floating_point():
            self.leave_out("what is made of predictions", no_scores(y_pred), fact="classes")
            return LossTotals()
        n = output.batch_size
        try:
            computed = {name: part.sum(y_pred, y, n) for name, part in self._known.items()}
        except Exception as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            self.leave_out("loss/total", f"{reason}; or return the loss too, in a dict with 'loss'")
            return LossTotals()
        forms = {part.kind for part in self._known.values()} - {None, "values"}
        looks = output.appearance(str(forms.pop())) if len(forms) == 1 else None
        return LossTotals(computed=computed, looks=looks)

    def _write_computed(self, step: int, totals: LossTotals) -> None:
        parts = totals.computed
        first = next(iter(parts.values())).total
        device = first.device if isinstance(first, Tensor) else torch.device("cpu")
        means = [mean_of(part.total, part.count) for part in parts.values()]
        values = torch.stack([on_device(mean, device) for mean in means])
        tags = [f"loss/{name}" for name in parts if name]
        total = values.sum()[None] if tags else values
        values = torch.cat((*((values,) if tags else ()), total, total))
        tags += ["loss/total", "metrics/loss"]
        if self._evaluated_only:
            tags, values = tags[-1:], values[-1:]
        bad = torch.stack([on_device(part.bad, device) for part in parts.values()]).sum()
        complaints = [
            f"{self.prefix}the loss is left out: some targets are no class index of the "
            "predictions; return the loss too, in a dict with 'loss'"
        ]
        flags = [bad.float()]
        if totals.looks is not None:
            complaints.append(looks_wrong(totals.looks.form))
            flags.append(totals.looks.is_wrong())
        if self._finish is None or self._finish.complaints != tuple(complaints):
            self._finish = Checked(None, tuple(complaints), self.said, self.prefix)
        both = (values, torch.stack(flags))
        self.writer.write_scalars(step, Scalars(tags, both, finish=self._finish))

    def _leave_out_loss(self, output: StepOutput, values: Mapping[str, Number]) -> None:
        if "loss/total" in output.left_out:
            return
        some = [*list(values)[:5], *(["..."] if len(values) > 5 else [])]
        written = f" (written instead: {', '.join(some)})" if values else ""
        predicted = output.y_pred is not None and output.y is not None
        if self.trainer is not None and self.loss_fn is not None and predicted:
            if self._known is None:
                why = (
                    f"the evaluator returns no loss, and {named_loss(self.loss_fn)} is not called "
                    "for it: it might draw random numbers or keep state. Return the loss too, in a "
                    "dict with 'loss', or, if calls of it change nothing, say so: loss_fn.pure = "
                    "True"
                )
            else:
                why = (
                    f"the loss cannot be computed of {describe(output.y_pred)} and "
                    f"{describe(output.y)}; return it too, in a dict with 'loss'"
                )
            self.leave_out("loss/total", why + written)
            return
        if self._known is not None and output.y_pred is None:
            self.leave_out(
                "losses and predictions",
                "the engine's output has no loss, and no y_pred and y of which to compute it; "
                f"{self.hint(output, 'y_pred', 'y')}{written}",
                fact="predictions",
            )
            return
        if output.y_pred is None and transform_for(output.seen, ("y_pred",)) is not None:
            self.leave_out(
                "losses and predictions",
                "the engine's output has no loss and no y_pred; "
                f"{self.hint(output, 'loss', 'y_pred', 'y')}{written}",
                fact="predictions",
            )
            return
        several = several_losses(output.seen)
        fact = None
        if several:
            why = (
                f"the engine's output has several losses and no total, {listed(several)}; if they "
                f"are parts of one, return their sum as 'loss'{self.transform(output, 'loss')}"
            )
        elif self.trainer is not None and self.loss_fn is None and predicted:
            fact = "loss_fn"  # another line may already have said it
            why = (
                "the evaluator returns none; pass loss_fn to have it computed, or return it too, "
                "in a dict with 'loss'"
            )
        else:
            why = f"the engine's output has no loss; {self.hint(output, 'loss')}"
        self.leave_out("loss/total", why + written, fact)


def _times(value: Number, count: Number) -> Number:
    if isinstance(count, Tensor):
        # The mean of nothing is NaN, and counts nothing.
        return torch.where(count > 0, value * count, 0)
    n = count or 1
    return value.to(wide(value.device)) * n if isinstance(value, Tensor) else value * n


def _count(known: KnownLoss, y_pred: Any, y: Tensor, samples: int) -> Number:
    try:
        return known.count(y_pred, y, samples)
    except Exception:  # it is not of these that the step computed its loss
        return samples
