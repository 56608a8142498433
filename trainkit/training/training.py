"""What happens around the iterations: schedules, evaluations, checkpoints."""

import logging
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events

from trainkit.rundir import (
    Best,
    Bookkeeping,
    History,
    Interruption,
    RunDirectory,
    Status,
    save_checkpoint,
)
from trainkit.settings import CheckpointSettings, TrainerSettings
from trainkit.training.build import Built
from trainkit.training.evaluating import Evaluation
from trainkit.training.finite import LossWatch
from trainkit.training.monitoring import Monitoring
from trainkit.training.progress import Evaluated, Progress, evaluation_line
from trainkit.training.rows import change, history_row
from trainkit.training.state import run_state
from trainkit.training.testing import tested_with_best

__all__ = ["Training"]

_log = logging.getLogger("trainkit.training")
_notes = logging.getLogger("trainkit.training.notes")

# Ignite's last event, when what comes next is an iteration.
_BETWEEN = frozenset(
    {
        Events.STARTED, Events.EPOCH_STARTED, Events.GET_BATCH_STARTED, Events.GET_BATCH_COMPLETED,
        Events.DATALOADER_STOP_ITERATION, Events.ITERATION_COMPLETED, Events.EPOCH_COMPLETED,
        Events.COMPLETED, Events.TERMINATE,
    }
)  # fmt: skip

Values = dict[str, dict[str, float]]


class Training:
    """One run of the trainer, with everything that has its place between two iterations.

    After an iteration: schedules that move per iteration, an evaluation if one is due. After an
    epoch: schedules that move per epoch, then the evaluation. After an evaluation: schedules
    that wait for its value, the checkpoints, a line for the reader. A request to stop is heard
    last, so that what is saved then is the state between two iterations.

    Args:
        built: What takes part.
        settings: Of the loop.
        checkpoint: Which states are kept.
        evaluations: By part of the data; `test` runs once, at the end.
        directory: Where checkpoints go.
        status: Told of every evaluation; None in all processes but the first.
        history: Told of every evaluation.
        bookkeeping: Keeps a checkpoint that cannot be written from ending the training.
        progress: Shown to a person.
        monitoring: Told when a good moment for samples has come.
        watch: Looks whether the loss is finite.
        interruption: Whether somebody asked to stop.
    """

    def __init__(
        self,
        built: Built,
        settings: TrainerSettings,
        checkpoint: CheckpointSettings,
        *,
        evaluations: Mapping[str, Evaluation],
        directory: RunDirectory,
        status: Status | None,
        history: History,
        bookkeeping: Bookkeeping,
        progress: Progress,
        monitoring: Monitoring,
        watch: LossWatch,
        interruption: Interruption,
    ) -> None:
        self._built = built
        self._settings = settings
        self._checkpoint = checkpoint
        self._evaluations = evaluations
        self._directory = directory
        self._status = status
        self._history = history
        self._bookkeeping = bookkeeping
        self._progress = progress
        self._monitoring = monitoring
        self._watch = watch
        self._interruption = interruption
        self._stepped: set[str] = set()
        self._evaluated = 0
        self._warned: set[str] = set()
        self._begun = perf_counter()
        self.saved: dict[str, int] = {}
        self.alarms: list[str] = []
        #: Called with the values of each evaluation, by part of the data.
        self.listeners: list[Callable[[Mapping[str, Any]], None]] = []
        self.best = Best.of(checkpoint)
        self.best_values: Values = {}
        self.last_values: Values = {}
        self.test_values: dict[str, float] = {}
        self.tested_with = "last"

    @property
    def epochs(self) -> int:
        """Passes over the training data in the whole run, the last perhaps in part."""
        return -(-self._built.iterations // len(self._built.source))

    @property
    def between_iterations(self) -> bool:
        """Whether the state is complete: the next iteration could start from it."""
        return self._built.engines.trainer.last_event_name in _BETWEEN

    def run(self, attach: Callable[[], None] | None = None) -> None:
        """Train to the end, then evaluate the test data with the best weights.

        Args:
            attach: Called when everything of the run is attached to the trainer.
        """
        trainer = self._built.engines.trainer
        self._begun = perf_counter()
        hooks = [
            optimizer.register_step_post_hook(lambda *_, name=name: self._stepped.add(name))
            for name, optimizer in self._built.optimizers.items()
            if name in self._built.schedules
        ]
        handles = [
            trainer.add_event_handler(Events.ITERATION_COMPLETED, self._after_iteration),
            trainer.add_event_handler(Events.EPOCH_COMPLETED, self._after_epoch),
        ]
        try:
            if attach is not None:
                attach()
            source = self._built.source
            trainer.run(source, max_iters=self._built.iterations, epoch_length=len(source))
        finally:
            for hook in hooks:
                hook.remove()
            for handle in handles:
                handle.remove()
        if self._evaluated != trainer.state.iteration:
            self._evaluate(trainer)
        self._test()

    def save_last(self) -> None:
        """Save the state of a run that ends early; one that has gone bad replaces no good one."""
        if self.saved.get("last") and not self._finite():
            _log.warning("the weights are not finite: checkpoints/last.pt stays the one before")
        elif self._built.engines.trainer.state.iteration:
            self.save("last")

    def save(self, name: str) -> None:
        """Write the state as `checkpoints/<name>.pt`; a full disk is told, and ends nothing."""
        if idist.get_rank() != 0:
            return
        self._move_schedules()  # an exception may have come before they were made
        state = run_state(self._built, self.best, self.last_values, self._evaluated)
        path = self._directory.checkpoints / f"{name}.pt"

        def write() -> None:
            path.parent.mkdir(parents=True, exist_ok=True)  # the folder may have been removed
            save_checkpoint(path, state)

        if self._bookkeeping.keep(f"checkpoints/{path.name}", write):
            self.saved[name] = state["iteration"]

    def _finite(self) -> bool:
        parameters = [p for module in self._built.models.values() for p in module.parameters()]
        return all(bool(p.isfinite().all()) for p in parameters)

    def _move_schedules(self) -> None:
        while self._stepped:
            self._built.schedules[self._stepped.pop()].after_iteration()

    def _after_iteration(self, trainer: Engine) -> None:
        self._move_schedules()
        self._watch.look(trainer)
        if trainer.state.iteration % len(self._built.source) == 0:
            return  # the end of an epoch, too: all the rest belongs behind it
        if self._due(trainer):
            self._evaluate(trainer)
        self._interruption.check()

    def _after_epoch(self, trainer: Engine) -> None:
        for schedule in self._built.schedules.values():
            schedule.after_epoch()
        if self._settings.evaluate_every is None or self._due(trainer):
            self._evaluate(trainer)
        self._interruption.check()

    def _due(self, trainer: Engine) -> bool:
        every = self._settings.evaluate_every
        return every is not None and trainer.state.iteration % every == 0

    def _evaluate(self, trainer: Engine) -> None:
        iteration = trainer.state.iteration
        with self._progress.evaluating(iteration):
            values = {
                part: evaluation.run()
                for part, evaluation in self._evaluations.items()
                if part != "test"
            }
        before, self.last_values, self._evaluated = self.last_values, values, iteration
        validation = values.get("validation", {})
        for schedule in self._built.schedules.values():
            if schedule.moves == "plateau":
                value = self._value(validation, schedule.metric)
                if value is not None:
                    schedule.after_evaluation(value)
        better = False
        if validation:
            value = self._value(validation, self.best.metric)
            better = value is not None and self.best.improve(value, iteration)
        if better:
            self.best_values = values
        if better and self._checkpoint.best:
            self.save("best")
        if self._checkpoint.last:
            self.save("last")
        state, seconds = trainer.state, perf_counter() - self._begun
        self._history.add(
            history_row(state.iteration, state.epoch, seconds, self._built.optimizers, values)
        )
        if self._status is not None:
            self._status.update(**self.facts())
        self._monitoring.show(iteration, self._built.samples)
        if self._monitoring.about is not None:
            self._monitoring.about.record(iteration, self.best_values, values)
        self._tell(trainer, values, before, best=better)
        self._watch.look_at_device(iteration)
        self._watch.look_at_values(iteration, values)
        for listener in self.listeners:
            listener(values)

    def _tell(self, trainer: Engine, values: Values, before: Values, *, best: bool) -> None:
        """Print a row with the values, and log what it does not show."""
        shown, newest = values, self._monitoring.newest_loss()
        if "train" not in values and newest is not None:
            shown = {"one batch": {"loss": newest}, **values}
        changed, improved = change(self.best, values, before)
        evaluated = Evaluated(
            trainer.state.epoch, trainer.state.iteration, shown, self.best.metric,
            changed, improved, best,
        )  # fmt: skip
        self._progress.evaluated(evaluated)
        _log.info("%s", evaluation_line(evaluated, self.epochs))
        for part, evaluation in self._evaluations.items():
            if part not in values:
                continue
            for name in evaluation.engine.state.metrics:
                if name not in values[part] and name not in self._warned:
                    self._warned.add(name)
                    _notes.warning(
                        "metrics.%s is not one number: it is not on the screen nor in "
                        "history.csv; TensorBoard has it", name,
                    )  # fmt: skip

    def facts(self) -> dict[str, Any]:
        """What `run.json` says about how far the run is and how good."""
        state = self._built.engines.trainer.state
        best = self.best
        return {
            "iteration": state.iteration,
            "epoch": state.epoch,
            "last": self.last_values,
            "best": {
                "metric": best.metric,
                "mode": best.mode,
                "value": best.value,
                "iteration": best.iteration or None,
                "values": self.best_values,
            },
            "test": self.test_values,
        }

    def _test(self) -> None:
        evaluation = self._evaluations.get("test")
        if evaluation is None:
            return
        best, iteration = self.best.iteration, self._built.engines.trainer.state.iteration
        if not self._checkpoint.best or best in (0, iteration):
            self.tested_with = "best" if self._checkpoint.best and best else "last"
            self.test_values = evaluation.run()
            return
        path = self._directory.checkpoints / "best.pt"
        tested = tested_with_best(evaluation, self._built.models, path, best)
        self.test_values, self.tested_with = tested.values, tested.weights
        if tested.alarm:
            self.alarms.append(tested.alarm)

    def _value(self, values: Mapping[str, float], metric: str) -> float | None:
        if metric not in values and metric not in self._warned:
            self._warned.add(metric)
            _log.warning(
                "the evaluation gives no %r (it gives: %s); nothing is decided by it",
                metric,
                ", ".join(values) or "nothing",
            )
        return values.get(metric)
