"""The end of a run: save the state, complete the files of the run, print the summary."""

import logging

import ignite.distributed as idist

from trainkit.dashboard.texts import ending_text
from trainkit.masking import masked
from trainkit.rundir import Bookkeeping, History, RunDirectory, Status
from trainkit.settings import CheckpointSettings, TrainerSettings
from trainkit.tracing import StepReport
from trainkit.training.build import Built
from trainkit.training.end_summary import summary
from trainkit.training.finite import LossWatch
from trainkit.training.locate import located
from trainkit.training.monitoring import Monitoring
from trainkit.training.progress import Progress
from trainkit.training.result import RunResult
from trainkit.training.saving import Saving
from trainkit.training.stopping import Stopping
from trainkit.training.training import Training

__all__ = ["Ending"]

_log = logging.getLogger("trainkit.training")


class Ending:
    """Completes the files of a run, and prints the summary.

    Args:
        built: What took part.
        settings: Of the loop.
        checkpoint: Which states are kept.
        place: The folder of the run.
        training: What was trained.
        monitoring: To be closed.
        progress: To be closed; shows the summary.
        history: Of the evaluations.
        status: Told; None in all processes but the first.
        bookkeeping: What could not be written.
        watch: Whether the loss was finite.
        saving: Is completed.
        stopping: Knows the time, and why the training was ended.
        config: Of the run, YAML, masked.
        name: What the user calls the run.
    """

    def __init__(
        self,
        built: Built,
        settings: TrainerSettings,
        checkpoint: CheckpointSettings,
        *,
        place: RunDirectory,
        training: Training,
        monitoring: Monitoring,
        progress: Progress,
        history: History,
        status: Status | None,
        bookkeeping: Bookkeeping,
        watch: LossWatch,
        saving: Saving,
        stopping: Stopping,
        name: str,
        config: str = "",
    ) -> None:
        self._built = built
        self._settings = settings
        self._checkpoint = checkpoint
        self._place = place
        self._training = training
        self._monitoring = monitoring
        self._progress = progress
        self._history = history
        self._status = status
        self._bookkeeping = bookkeeping
        self._watch = watch
        self._saving = saving
        self._stopping = stopping
        self._name = name
        self._config = config
        self._report: StepReport | None = None
        self._found: list[str] = []

    def completed(self) -> RunResult:
        """Training is complete."""
        reason = self._why()
        if not self._watch.ends_finite:
            reason += f"; the loss is not finite since iteration {self._watch.first}"
        return self._end("completed", reason)

    def early(self, error: BaseException) -> None:
        """An exception ends the run; what fails on the way does not hide it.

        An interrupt comes between two iterations, and so do most failures of metrics, evaluators
        and handlers: the state is saved first. In the middle of an iteration there is none.
        """
        where = self._where()
        if isinstance(error, KeyboardInterrupt):
            status, reason = "interrupted", f"stopped by {error or 'SIGINT'} at {where}"
            _log.info("%s", reason)
            save = not getattr(error, "at_once", True)
        else:
            status, reason = "failed", f"{type(error).__name__}: {error}"
            _log.error("training failed at %s: %s", where, reason, exc_info=error)
            save = self._training.between_iterations
        try:
            if save:
                self._training.save_last()
        except Exception as fault:
            _log.error("the state could not be saved: %s", fault, exc_info=fault)
        try:
            self._end(status, reason, "" if status == "interrupted" else f"failed at {where}")
        except Exception as fault:
            _log.error("the end could not be told: %s", fault, exc_info=fault)

    def _end(self, status: str, reason: str, shown: str = "") -> RunResult:
        self._progress.close()
        training, monitoring = self._training, self._monitoring
        unsaved = self._saving.complete()
        first = self._watch.first
        if first is not None and status != "interrupted" and idist.get_world_size() == 1:
            self._progress.say("looking for what produced the first value that is not finite ...")
            self._report, self._found = located(self._built, self._place, first, self._config)
        if unsaved:
            training.alarms.append(f"the state of the run cannot be saved: {unsaved}")
        self._conclude(status, reason)
        monitoring.close(status == "completed")
        if self._status is not None:
            facts = monitoring.facts()
            facts["monitoring"]["non_finite"] = self._non_finite()
            if self._report is not None:
                found = self._report.as_dict()
                facts["first_non_finite"] = {k: v for k, v in found.items() if k != "calls"}
            self._status.end(status, reason, **training.facts(), **facts)
        state = self._built.engines.trainer.state
        result = RunResult(
            directory=self._place.path,
            models=self._built.models,
            iterations=state.iteration,
            epochs=state.epoch,
            seconds=self._stopping.seconds,
            best_metric=training.best.metric,
            best_iteration=training.best.iteration or None,
            best=training.best_values,
            last=training.last_values,
            test=training.test_values,
            tested_with=training.tested_with,
            history=self._history.rows,
            monitoring=monitoring.overhead,
            budget=monitoring.budget,
            first_sample_seconds=monitoring.first_sample_seconds,
            monitoring_seconds=monitoring.seconds,
            every=monitoring.every,
            samples=monitoring.samples,
            non_finite=self._non_finite(),
            disabled=monitoring.disabled,
            status=status,
            reason=reason,
            alarms=self._alarms(),
            saved={
                checkpoint: iteration
                for checkpoint, iteration in training.saved.items()
                if (self._place.checkpoints / f"{checkpoint}.pt").exists()
            },
            name=self._name,
        )
        self._progress.say(summary(result, shown, best_kept=self._checkpoint.best))
        return result

    def _conclude(self, status: str, reason: str) -> None:
        """Tell the dashboard how the run ended."""
        training, watch, about = self._training, self._watch, self._monitoring.about
        if about is None:
            return
        iteration = self._built.engines.trainer.state.iteration
        alarms = self._alarms()
        outcome = status
        if watch.first is not None and not watch.ends_finite:
            outcome = "diverged"
            alarms.append(
                "a loss that is NaN or infinite does not come back: lower the learning rate, clip "
                "the gradients, or look for the first bad value in TIME SERIES, `gradients` and "
                "`tensors`"
            )
        values = {
            "best": training.best_values,
            "last": training.last_values,
            f"test, {training.tested_with} weights": {"test": training.test_values},
        }
        text = ending_text(outcome, reason, alarms=alarms, values=values)
        about.ended(iteration, masked(text))  # the text of an exception may contain a secret
        about.record(
            iteration, training.best_values, training.last_values, training.test_values, outcome
        )

    def _non_finite(self) -> dict[str, int]:
        """Tags with values that were not finite, and the loss, which is always checked."""
        loss = {} if self._watch.first is None else {"loss/total": self._watch.first}
        return loss | self._monitoring.non_finite

    def _alarms(self) -> list[str]:
        watch, alarms = self._watch, []
        if watch.first is not None:
            until = "" if watch.ends_finite else " and at the end"
            alarms.append(f"the loss was not finite at iteration {watch.first}{until}")
        alarms += self._found
        alarms += self._training.alarms
        alarms += [
            f"{what} is not written: {why}" for what, why in self._bookkeeping.failing.items()
        ]
        disabled = self._monitoring.disabled.items()
        alarms += [
            f"{what} could not be written at the end ({why}): run.log says what was lost"
            for what, why in self._monitoring.unwritten.items()
        ]  # fmt: skip
        return alarms + [f"{name} is disabled: {' '.join(why.split())}" for name, why in disabled]

    def _where(self) -> str:
        state = self._built.engines.trainer.state
        return (
            f"iteration {state.iteration} of {self._built.iterations} "
            f"(epoch {state.epoch} of {self._training.epochs})"
        )

    def _why(self) -> str:
        iteration = self._built.engines.trainer.state.iteration
        if self._stopping.reason:
            return self._stopping.reason
        if iteration < self._built.iterations:
            return f"ended by its engine at {self._where()}"
        limit = self._settings.max_iterations
        if limit is not None and iteration == limit:
            return f"trainer.max_iterations={limit} is reached"
        return f"trainer.epochs={self._settings.epochs} is reached"
