"""The monitors and writers of a run, and what they reported."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from trainkit.dashboard.descriptions import describe
from trainkit.handlers.attach import attach_monitors
from trainkit.handlers.handle import AttachedMonitors
from trainkit.handlers.monitors.metrics import MetricMonitor
from trainkit.handlers.monitors.predictions import Kind, check_kind
from trainkit.handlers.parameters.selection import check_detail
from trainkit.handlers.parts import CHECKLIST, check_monitors
from trainkit.handlers.sampling.budget import Budget
from trainkit.handlers.sampling.cadence import Every
from trainkit.handlers.sampling.metered import Metered
from trainkit.handlers.sampling.visible_loss import loss_in_sight
from trainkit.rundir import Bookkeeping, RunDirectory, preserved_random_state
from trainkit.settings import MonitorSettings
from trainkit.training.about import About, preserved_modes
from trainkit.training.build import Built
from trainkit.training.evaluating import Evaluation
from trainkit.training.run_sinks import RunSinks
from trainkit.training.saving import EventPositions
from trainkit.writers import BackgroundWriter
from trainkit.writers.protocol import Writer
from trainkit.writers.sinks.event_file import EventFileSink
from trainkit.writers.sinks.latest_values import LatestValues
from trainkit.writers.tensorboard.positions import synced_positions

__all__ = ["Monitoring"]

_log = logging.getLogger("trainkit.training")

# Monitors that measure nothing in an iteration.
_WITHOUT_SAMPLES = {"metrics", "calibration", "pictures", "cost"}


class Monitoring:
    """Watches a run as its settings say; whatever goes wrong here never ends the run.

    The trainer writes to `train/`, the evaluators to `validation/` and `test/`. An evaluation of
    the training data adds its metrics to `train/`; the losses there are those of single batches.
    With everything switched off no event file is written.

    Args:
        place: The folder of the run.
        settings: What is watched.
        built: What takes part in the run.
        evaluations: By part of the data.
        books: Keeps a full disk from ending the run.
        enabled: False in all processes but the first.
        alarm: Told of a step and its training tags that were not finite for the first time; in a
            writer's thread.
        said: What the user was told already, in the monitors' own words.
        resumed_at: The first iteration that is still to come, where the run is resumed.
        sinks: The user's own, by name, checked.
        run: Its id.
        name: What the user calls it.
    """

    def __init__(
        self,
        place: RunDirectory,
        settings: MonitorSettings,
        built: Built,
        evaluations: Mapping[str, Evaluation],
        *,
        books: Bookkeeping,
        enabled: bool = True,
        alarm: Callable[[int, Sequence[str]], None] | None = None,
        said: Iterable[str] = (),
        resumed_at: int | None = None,
        sinks: Mapping[str, Any] | None = None,
        run: str = "",
        name: str = "",
    ) -> None:
        self._said = tuple(said)
        self._resumed_at = resumed_at
        self._alarm = alarm
        self._place = place
        self._books = books
        self._settings = settings
        self._built = built
        self._evaluators = {name: each.engine for name, each in evaluations.items()}
        self._known = {**built.known, "directory": place.path}
        self._parts = check_monitors(settings.monitors, self._known, "monitor.parts")
        self._enabled = enabled and bool(self._parts.keys() - {"cost"})
        self._attached: AttachedMonitors | None = None
        self._cadence: Metered | None = None
        self._writers: dict[str, BackgroundWriter] = {}
        self._sinks = dict(sinks or {})
        self._users_sinks = {f"sinks.{name}" for name in self._sinks}
        self._for_sinks = {"directory": place.path, "run": run, "name": name,
                           "resumed_at": resumed_at or 0}  # fmt: skip
        self._further: RunSinks | None = None
        #: Tells the dashboard what the run is and how it ended; None: nothing is written.
        self.about: About | None = None
        self._newest: dict[str, LatestValues] = {}
        self._faults: dict[str, str] = {}
        self.unwritten: dict[str, str] = {}  # what could not be written at the end → why

    def attach(self) -> None:
        """Open the event files and attach the monitors.

        Raises:
            TypeError, ValueError: The settings do not fit the run.
        """
        if not self._enabled:
            return
        try:
            about = About(self._place, self._built, self._settings, self._keep_in)
            if self._resumed_at is None:
                about.prepare()
            for part in ("train", *(name for name in self._evaluators if name != "train")):
                self._writers[part] = self._open(part)
        except OSError as error:
            self._fault("event files", error)
            return
        self.about = about
        self._further = RunSinks(self._sinks, self._for_sinks, self._keep_in)
        for part, writer in self._writers.items():
            self._further.join(writer, part)
        settings, built = self._settings, self._built
        automatic = settings.every == "auto"
        self._cadence = Budget(settings.budget) if automatic else Metered(Every(settings.every))
        single = list(built.models) == ["model"]
        alone = list(built.optimizers) == ["optimizer"]
        self._attached = attach_monitors(
            built.engines.trainer,
            model=built.models["model"] if single else built.models,
            optimizers=built.optimizers["optimizer"] if alone else built.optimizers,
            writer=self._writers,
            evaluators=self._evaluators if built.engines.step_output else {},
            loss_fn=built.loss_fn,
            predictions=_kind(settings.predictions, built.engines.predictions),
            every=self._cadence,
            detail=check_detail(settings.detail),
            include=settings.include,
            exclude=settings.exclude,
            histograms_every=settings.histograms_every,
            scheduled=built.engines.scheduled,
            monitors={**dict.fromkeys(CHECKLIST), **self._parts},
            known=self._known,
            class_names=built.engines.classes or tuple(getattr(built.data, "classes", ())),
        )
        self._attached.said.update(self._said)

        if "metrics" in self._parts and not built.engines.step_output:
            for name, evaluator in self._evaluators.items():
                monitor = MetricMonitor(self._writers[name], trainer=built.engines.trainer)
                self._attached.add(name, evaluator, monitor)

    def describe(
        self,
        config: str,
        hparams: Mapping[str, bool | float | str],
        shapes: Mapping[nn.Module, str],
        *,
        began: float | None = None,
        resumed: bool = False,
    ) -> None:
        """Write what the run was started with; of a run that is resumed it is there already.

        Args:
            config: Resolved, YAML.
            hparams: Of the row in the table of runs.
            shapes: Module → shape of what it returns.
            began: When the run began, in seconds since the epoch; None: now.
            resumed: It is resumed now.
        """
        train = self._writers.get("train")
        if train is not None and self.about is not None:
            self.about.started(train, config, hparams, shapes, self._books, began, resumed)
            if self._further is not None:
                self._further.describe(hparams)
            # Now, and not beside the first iterations: these are TensorBoard's protobuf classes,
            # which take long to import and would be taken for what a sample costs.
            self._keep_in("texts about the run", train.flush)

    def tell_of_changes(self, step: int, config: str, shapes: Mapping[nn.Module, str]) -> None:
        """Write once more with what the run goes on: it was resumed with other settings.

        Args:
            step: The iteration from which it goes on.
            config: Resolved, YAML.
            shapes: Module → shape of what it returns.
        """
        if self.about is not None:
            self.about.changed(step, config, shapes)

    def event_positions(self) -> EventPositions:
        """Begin to find out how far the event files reach now, without waiting for it."""
        waits: list[Callable[[], None]] = []
        found: dict[str, dict[str, int]] = {}

        def look(part: str) -> None:
            found[part] = synced_positions(self._place.events(part))

        for part, writer in self._writers.items():
            if not writer.closed:
                waits.append(writer.after_flush(partial(look, part)))
        return EventPositions(waits, found)

    def state_dict(self) -> dict[str, Any]:
        """What the monitors know from earlier iterations, and what the monitoring has cost."""
        return {
            "monitors": {} if self._attached is None else self._attached.state_dict(),
            "cadence": None if self._cadence is None else self._cadence.state_dict(),
            "non_finite": {part: dict(each.non_finite) for part, each in self._newest.items()},
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from there; monitors that are new, or were taken away, are no fault."""
        if self._attached is not None:
            self._attached.load_state_dict(state_dict["monitors"])
        if self._cadence is not None and state_dict["cadence"] is not None:
            self._cadence.load_state_dict(state_dict["cadence"])
        for part, newest in self._newest.items():
            newest.non_finite.update(state_dict["non_finite"].get(part, {}))

    def show(self, step: int, samples: Mapping[str, Callable[[], Tensor | str]]) -> None:
        """Make the samples and write them, under `generated/<name>` (a name with `/` as it is).

        A maker that fails once is not asked again.
        """
        train = self._writers.get("train")
        if train is None:
            return
        for tag, make in samples.items():
            if tag not in self._faults:
                self._keep_in(tag, partial(self._show, train, step, tag, make))

    def newest_loss(self) -> float | None:
        """The newest training loss that can be had without asking a device.

        In main memory that is the last iteration's; elsewhere the last that was sampled.
        """
        loss = loss_in_sight(self._built.engines.trainer.state.output)
        if loss is not None:
            return loss
        newest = self._newest.get("train")
        return None if newest is None else newest.values.get("loss/total")

    @property
    def overhead(self) -> float | None:
        """Share of the training time that the monitoring took, as it measured itself."""
        return None if self._cadence is None else self._cadence.overhead_fraction

    @property
    def first_sample_seconds(self) -> float:
        """What the first sample took, which imports and allocates: no part of that share."""
        return 0.0 if self._cadence is None else self._cadence.first_sample_seconds

    @property
    def seconds(self) -> float:
        """What the monitoring took, as it measured itself, but for the first sample."""
        return 0.0 if self._cadence is None else self._cadence.spent

    @property
    def budget(self) -> float | None:
        """The share of the time that it may take; None: there is no limit."""
        return self._settings.budget if isinstance(self._cadence, Budget) else None

    @property
    def every(self) -> int | None:
        """Iterations between samples, now."""
        return None if self._cadence is None else self._cadence.every

    @property
    def samples(self) -> int:
        """Iterations that were sampled; none where only evaluations are watched."""
        if self._cadence is None or not self._parts.keys() - _WITHOUT_SAMPLES:
            return 0
        return self._cadence.samples

    @property
    def beyond_budget(self) -> int:
        """Samples that the budget did not pay for: a run gets fifty, whatever they cost."""
        return self._cadence.beyond if isinstance(self._cadence, Budget) else 0

    @property
    def non_finite(self) -> dict[str, int]:
        """Tag → first step at which it was NaN or infinite; of evaluations with their part."""
        return {
            tag if part == "train" else f"{part}: {tag}": step
            for part, newest in self._newest.items()
            for tag, step in newest.non_finite.copy().items()
        }

    @property
    def disabled(self) -> dict[str, str]:
        """What failed and was disabled → why."""
        failures = self._attached.failures if self._attached is not None else {}
        return self._faults | {
            name: f"{type(error).__name__}: {error}" for name, error in failures.items()
        }

    def facts(self) -> dict[str, Any]:
        """What `run.json` says about the monitoring."""
        return {
            "monitoring": {
                "overhead_fraction": self.overhead,
                "first_sample_seconds": self.first_sample_seconds,
                "every": self.every,
                "samples": self.samples,
                "budget": self.budget,
                "beyond_budget": self.beyond_budget,
                "non_finite": self.non_finite,
                "disabled": self.disabled,
                "unwritten": self.unwritten,
            }
        }

    def close(self, completed: bool = False) -> None:
        """Take the monitors off and complete the event files; harmless when that is done.

        Args:
            completed: Whether the training came to its end.
        """
        if self._attached is not None:
            self._keep_in("removal of the monitors", self._attached.remove)
        for part, writer in self._writers.items():
            self._keep_in(f"{part} event file", writer.close)
            # A last try was made: what was not written is lost.
            for sink, error in writer.failures.items():
                what = sink if sink in self._users_sinks else f"the event files of {part}"
                self.unwritten[what] = f"{type(error).__name__}: {error}"
        if self._further is not None:
            self._further.close(completed)

    def _open(self, part: str) -> BackgroundWriter:
        alarm = self._alarm if part == "train" else None
        newest = self._newest[part] = LatestValues("loss/total", alarm=alarm)
        # In one background writer, so that the device is read once for both.
        folder, first = self._place.events(part), self._resumed_at or 0
        return BackgroundWriter(EventFileSink(folder, describe, first), newest)

    def _show(self, writer: Writer, step: int, tag: str, make: Callable[[], Tensor | str]) -> None:
        with preserved_random_state(), preserved_modes(self._built.models), torch.no_grad():
            shown = make()
        if "/" not in tag:
            tag = f"generated/{tag}"  # the first section on TensorBoard's page of images
        if isinstance(shown, str):
            writer.write_texts(step, {tag: shown})
        else:
            writer.write_images(step, {tag: shown})

    def _keep_in(self, what: str, function: Callable[[], object]) -> None:
        try:
            function()
        except Exception as error:
            self._fault(what, error)

    def _fault(self, what: str, error: Exception) -> None:
        self._faults[what] = f"{type(error).__name__}: {error}"
        _log.error("%s: failed; the run goes on: %s", what, error, exc_info=error)


def _kind(wanted: bool | str, of_engine: str | None) -> Kind | Literal["auto"] | None:
    """What predictions are: as the settings say, else as the engine knows; None: not watched."""
    if not wanted or of_engine is None:
        return None
    found = of_engine if wanted in (True, "auto") else str(wanted)
    return "auto" if found == "auto" else check_kind(found)
