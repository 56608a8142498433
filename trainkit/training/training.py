"""What happens around the iterations: schedules, evaluations, checkpoints."""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ignite.engine import Engine, Events

from trainkit.rundir import (
    Best,
    History,
    Interrupted,
    RunDirectory,
    Status,
)
from trainkit.settings import CheckpointSettings, TrainerSettings
from trainkit.training.build import Built
from trainkit.training.evaluating import Evaluation
from trainkit.training.finite import LossWatch, all_finite
from trainkit.training.monitoring import Monitoring
from trainkit.training.progress import Evaluated, Progress, evaluation_line
from trainkit.training.requests import Requests
from trainkit.training.rows import change, history_row
from trainkit.training.saving import Mark, Saving
from trainkit.training.state import start_from
from trainkit.training.stopping import Stopping
from trainkit.training.testing import tested_with_best

__all__ = ["Training"]

_log = logging.getLogger("trainkit.training")
_notes = logging.getLogger("trainkit.training.notes")

# Ignite's last event, when what comes next is an iteration. Behind GET_BATCH_COMPLETED a batch has
# been taken that the next iteration would miss.
_BETWEEN = frozenset(
    {
        Events.STARTED, Events.EPOCH_STARTED, Events.GET_BATCH_STARTED,
        Events.DATALOADER_STOP_ITERATION, Events.ITERATION_COMPLETED, Events.EPOCH_COMPLETED,
        Events.COMPLETED, Events.TERMINATE,
    }
)  # fmt: skip

Values = dict[str, dict[str, float]]


class Training:
    """One run of the trainer, with everything that has its place between two iterations.

    After an iteration: schedules that move per iteration, an evaluation if one is due. After an
    epoch: schedules that move per epoch, then the evaluation. After an evaluation: schedules
    that wait for its value, and a line for the reader. Then come the user's handlers. The
    checkpoint is last, so that it holds what all of them have done, and then a request to stop is
    heard.

    Args:
        built: What takes part.
        settings: Of the loop.
        checkpoint: Which states are kept.
        evaluations: By part of the data; `test` runs once, at the end.
        directory: Of the run.
        best: The best values so far.
        saving: Saves the state.
        stopping: Ends the training early.
        status: Told of every evaluation; None in all processes but the first.
        history: Told of every evaluation.
        progress: Shown to a person.
        monitoring: Told when a good moment for samples has come.
        watch: Looks whether the loss is finite.
        requests: Hears requests to stop.
    """

    def __init__(
        self,
        built: Built,
        settings: TrainerSettings,
        checkpoint: CheckpointSettings,
        *,
        evaluations: Mapping[str, Evaluation],
        directory: RunDirectory,
        best: Best,
        saving: Saving,
        stopping: Stopping,
        status: Status | None,
        history: History,
        progress: Progress,
        monitoring: Monitoring,
        watch: LossWatch,
        requests: Requests,
    ) -> None:
        self._built = built
        self._settings = settings
        self._checkpoint = checkpoint
        self._evaluations = evaluations
        self._directory = directory
        self._saving = saving
        self._stopping = stopping
        self._status = status
        self._history = history
        self._progress = progress
        self._monitoring = monitoring
        self._watch = watch
        self._requests = requests
        self._stepped: set[str] = set()
        self._warned: set[str] = set()
        # The iteration of the last evaluation; where one was begun and is not complete, how far
        # the monitoring was before it; whether its state is not saved yet, and the best.
        self._evaluated = 0
        self._pending: Mark | None = None
        self._unsaved = self._unsaved_best = False
        self.alarms: list[str] = []
        #: Called with the values of each evaluation, by part of the data.
        self.listeners: list[Callable[[Mapping[str, Any]], None]] = []
        self.best = best
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

    @property
    def saved(self) -> dict[str, int]:
        """Checkpoint → iteration."""
        return self._saving.saved

    def run(
        self,
        attach: Callable[[], None] | None = None,
        resumed: Mapping[str, Any] | None = None,
    ) -> None:
        """Train to the end, then evaluate the test data with the best weights.

        Args:
            attach: Called when everything of the run is attached to the trainer.
            resumed: The state that was put into what was built: the training goes on from there.
        """
        trainer = self._built.engines.trainer
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
            handles += [
                trainer.add_event_handler(Events.ITERATION_COMPLETED, self._close_iteration),
                trainer.add_event_handler(Events.EPOCH_COMPLETED, self._close),
            ]
            over = resumed is not None and self._go_on(resumed)
            if resumed is None:
                trainer.state.iteration = trainer.state.epoch = 0
                # What an early end, and the search for the first NaN, begin from.
                self._save(last=self._checkpoint.last)
            self._requests.check(trainer.state.iteration)
            if not over:
                source = self._built.source
                trainer.run(source, max_iters=self._built.iterations, epoch_length=len(source))
        finally:
            for hook in hooks:
                hook.remove()
            for handle in handles:
                handle.remove()
        if self._evaluated != trainer.state.iteration:
            self._evaluate(trainer)
            self._close(trainer)
        self._test()

    def save_last(self) -> None:
        """Save the state of a run that ends early; one that has gone bad replaces no good one."""
        self._saving.complete()
        if "last" in self.saved and not all_finite(self._built.models):
            _log.warning("the weights are not finite: checkpoints/last.pt stays the one before")
        elif self._built.engines.trainer.state.iteration:
            self._save(last=True)

    def state_dict(self) -> dict[str, Any]:
        """The values so far, and whether an evaluation was begun and is not complete."""
        return {
            "best_values": self.best_values,
            "last_values": self.last_values,
            "evaluated": self._evaluated,
            "pending": self._pending is not None,
            "alarms": self.alarms,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.best_values = state_dict["best_values"]
        self.last_values = state_dict["last_values"]
        self._evaluated = state_dict["evaluated"]
        self.alarms = list(state_dict["alarms"])

    def _go_on(self, resumed: Mapping[str, Any]) -> bool:
        """Have the trainer go on from a state; whether nothing is left to train."""
        trainer, state = self._built.engines.trainer, self._built.engines.trainer.state
        start_from(resumed)
        state.epoch = resumed["epoch"]
        ended = resumed["parts"]["stopping"]["stopped"]
        if self._built.iterations > resumed["iterations"]:
            self._stopping.go_on()
            ended = False
        if resumed["parts"]["training"]["pending"]:
            self._evaluate(trainer)
            self._close(trainer)
        if ended or self._stopping.stopped:
            return True
        if state.iteration >= self._built.iterations:
            return True
        state.epoch, within = divmod(state.iteration, len(self._built.source))
        events = [Events.STARTED, *([Events.EPOCH_STARTED(once=state.epoch + 1)] if within else [])]
        # Behind all others: what they draw here was drawn before the run was interrupted.
        for event in events:
            trainer.add_event_handler(event, partial(start_from, resumed))
        return False

    def _save(self, *, last: bool) -> None:
        self._move_schedules()  # an exception may have come before they were made
        best, self._unsaved, self._unsaved_best = self._unsaved_best, False, False
        facts = {"values": self.last_values, "evaluated": self._evaluated}
        best = best and self._checkpoint.best
        self._saving.save(facts, last=last, best=best, mark=self._pending)

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

    def _after_epoch(self, trainer: Engine) -> None:
        for schedule in self._built.schedules.values():
            schedule.after_epoch()
        if self._settings.evaluate_every is None or self._due(trainer):
            self._evaluate(trainer)

    def _close_iteration(self, trainer: Engine) -> None:
        if trainer.state.iteration % len(self._built.source) or trainer.should_terminate:
            self._close(trainer)

    def _close(self, trainer: Engine) -> None:
        """Behind all handlers of an iteration or epoch: save what is due, and stop if asked to."""
        iteration, saving = trainer.state.iteration, self._saving
        self._requests.look()
        self._unsaved |= saving.due(iteration)
        asked = self._requests.saves(iteration, late=saving.late)
        if asked or (self._unsaved and self._requests.may_save(iteration)):
            self._watch.look_at_device(iteration)  # may end the run, unsaved
            self._save(last=self._checkpoint.last)
        self._requests.check(iteration)

    def _due(self, trainer: Engine) -> bool:
        every = self._settings.evaluate_every
        return every is not None and trainer.state.iteration % every == 0

    def _evaluate(self, trainer: Engine) -> None:
        iteration = trainer.state.iteration
        # Where this is interrupted, the run goes on with the whole evaluation.
        self._pending = self._saving.mark()
        try:
            with self._progress.evaluating(iteration):
                values = {
                    part: evaluation.run()
                    for part, evaluation in self._evaluations.items()
                    if part != "test"
                }
        except Interrupted as stop:
            if stop.at_once:
                raise
            return  # it is heard behind the handlers that are still to come
        self._take(trainer, values)
        self._pending = None

    def _take(self, trainer: Engine, values: Values) -> None:
        """What follows from the values of an evaluation."""
        iteration = trainer.state.iteration
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
        self._unsaved, self._unsaved_best = True, better
        state = trainer.state
        self._history.add(
            history_row(
                state.iteration, state.epoch, self._stopping.seconds, self._built.optimizers, values
            )
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
            "seconds": round(self._stopping.seconds, 3),
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
        self._saving.complete()
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
