"""What happens around the iterations: schedules, evaluations, checkpoints."""

import logging
from collections.abc import Mapping
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events

from trainkit.rundir import (
    Best,
    Interruption,
    RunDirectory,
    Status,
    load_checkpoint,
    save_checkpoint,
)
from trainkit.settings import CheckpointSettings, TrainerSettings
from trainkit.training.building import Built
from trainkit.training.evaluating import Evaluation
from trainkit.training.monitoring import Monitoring
from trainkit.training.progress import Progress, evaluation_line
from trainkit.training.state import load_models, run_state

__all__ = ["Training"]

_log = logging.getLogger("trainkit.training")

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
        progress: Shown to a person.
        monitoring: Told when a good moment for samples has come.
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
        progress: Progress,
        monitoring: Monitoring,
        interruption: Interruption,
    ) -> None:
        self._built = built
        self._settings = settings
        self._checkpoint = checkpoint
        self._evaluations = evaluations
        self._directory = directory
        self._status = status
        self._progress = progress
        self._monitoring = monitoring
        self._interruption = interruption
        self._stepped: set[str] = set()
        self._evaluated = 0
        self._warned: set[str] = set()
        self.best = Best.of(checkpoint)
        self.best_values: Values = {}
        self.last_values: Values = {}
        self.test_values: dict[str, float] = {}
        self.tested_with = "last"

    @property
    def epochs(self) -> int:
        """Passes over the training data in the whole run, the last perhaps in part."""
        return -(-self._built.iterations // len(self._built.data.train))

    def run(self) -> None:
        """Train to the end; then evaluate on the test data with the best weights."""
        trainer = self._built.engines.trainer
        hooks = [
            optimizer.register_step_post_hook(lambda *_, name=name: self._stepped.add(name))
            for name, optimizer in self._built.optimizers.items()
            if name in self._built.schedules
        ]
        handles = [
            trainer.add_event_handler(Events.EPOCH_STARTED, self._start_epoch),
            trainer.add_event_handler(Events.ITERATION_COMPLETED, self._after_iteration),
            trainer.add_event_handler(Events.EPOCH_COMPLETED, self._after_epoch),
        ]
        try:
            train = self._built.data.train
            trainer.run(train, max_iters=self._built.iterations, epoch_length=len(train))
        finally:
            for hook in hooks:
                hook.remove()
            for handle in handles:
                handle.remove()
        if self._evaluated != trainer.state.iteration:
            self._evaluate(trainer)
        self._test()

    def save(self, name: str) -> None:
        """Write the state as `checkpoints/<name>.pt`."""
        if idist.get_rank() == 0:
            state = run_state(self._built, self.best, self.last_values, self._evaluated)
            save_checkpoint(self._directory.checkpoints / f"{name}.pt", state)

    def _start_epoch(self, trainer: Engine) -> None:
        train: Any = self._built.data.train
        inside = (getattr(train, name, None) for name in ("sampler", "batch_sampler"))
        for part in (train, *inside):
            if part is not None and hasattr(part, "set_epoch"):
                part.set_epoch(trainer.state.epoch - 1)

    def _after_iteration(self, trainer: Engine) -> None:
        for name in self._stepped:
            self._built.schedules[name].after_iteration()
        self._stepped.clear()
        if trainer.state.iteration % len(self._built.data.train) == 0:
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
        values = {
            part: evaluation.run()
            for part, evaluation in self._evaluations.items()
            if part != "test"
        }
        self.last_values, self._evaluated = values, iteration
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
        if self._status is not None:
            self._status.update(**self.facts())
        self._monitoring.show(iteration, self._built.samples)
        shown = values
        newest = self._monitoring.newest_loss()
        if "train" not in values and newest is not None:
            shown = {"train (one batch)": {"loss": newest}, **values}
        line = evaluation_line(trainer.state.epoch, self.epochs, iteration, shown)
        self._progress.say(line)
        _log.info("%s", line)

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
        models = self._built.models
        path = self._directory.checkpoints / "best.pt"
        iteration = self._built.engines.trainer.state.iteration
        if self._checkpoint.best and self.best.iteration:
            self.tested_with = "best"
        if not self._checkpoint.best or self.best.iteration in (0, iteration):
            self.test_values = evaluation.run()
            return
        last = {
            name: {key: _copy(value) for key, value in module.state_dict().items()}
            for name, module in models.items()
        }
        first = idist.get_rank() == 0
        load_models(models, load_checkpoint(path)["models"] if first else None)
        try:
            self.test_values = evaluation.run()
        finally:
            for name, module in models.items():
                module.load_state_dict(last[name])

    def _value(self, values: Mapping[str, float], metric: str) -> float | None:
        if metric not in values and metric not in self._warned:
            self._warned.add(metric)
            _log.warning(
                "the evaluation gives no %r (it gives: %s); nothing is decided by it",
                metric,
                ", ".join(values) or "nothing",
            )
        return values.get(metric)


def _copy(value: object) -> object:
    return value.clone() if hasattr(value, "clone") else value
