"""Plain objects in, a finished run out."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Events
from torch import nn

from trainkit.data import length_of
from trainkit.handlers.output.wrong_predictions import looks_wrong
from trainkit.handlers.parts import check_monitors
from trainkit.masking import masked, masked_config
from trainkit.rundir import (
    Bookkeeping,
    History,
    Interrupted,
    Interruption,
    RunDirectory,
    Status,
    capture,
    interruption,
    logged_to,
    seed_everything,
)
from trainkit.screen import Guard, guarded_streams
from trainkit.settings import CheckpointSettings, MonitorSettings, TrainerSettings
from trainkit.training.build import Built, build
from trainkit.training.check_names import check_metric_names, check_optimizers, check_patterns
from trainkit.training.device import deterministic_algorithms, device_of
from trainkit.training.dry_run import rehearse
from trainkit.training.evaluating import Evaluation, in_order
from trainkit.training.finish import Ending
from trainkit.training.finite import LossWatch
from trainkit.training.header import built_lines, first_lines
from trainkit.training.loss_warnings import OfProbabilities
from trainkit.training.monitoring import Monitoring
from trainkit.training.own_handlers import attach_handlers, check_handlers
from trainkit.training.pace import Pace
from trainkit.training.progress import Progress
from trainkit.training.result import RunResult
from trainkit.training.source import OnePass
from trainkit.training.training import Training

__all__ = ["run"]

_log = logging.getLogger("trainkit.training")
_notes = logging.getLogger("trainkit.training.notes")


def run(
    *,
    model: Any,
    data: Any,
    optimizer: Any,
    directory: Path | str,
    loss: Any = None,
    scheduler: Any = None,
    metrics: Mapping[str, Any] | None = None,
    engine: Any = None,
    samples: Mapping[str, Any] | None = None,
    handlers: Mapping[str, Any] | None = None,
    trainer: TrainerSettings | None = None,
    monitor: MonitorSettings | None = None,
    checkpoint: CheckpointSettings | None = None,
    config: str = "",
    overrides: Sequence[str] = (),
    hparams: Mapping[str, bool | float | str] | None = None,
    notes: Sequence[str] = (),
    name: str = "",
) -> RunResult:
    """Train, evaluate, watch, keep: one run, with everything of it in one folder.

    Everything that is a `functools.partial` waits for run-time objects and is completed by
    parameter name: `device`, `seed`, `data`, `iterations` (optimizer steps in the whole run),
    `iterations_per_epoch`, `model`, `models`, `params`, `optimizer`.

    Args:
        model: A module, or several by name.
        data: A `Data`.
        optimizer: A torch optimizer or what makes one from `params`; several by name.
        directory: Of this run; it must not hold another one.
        loss: Called with `(y_pred, y)`: see `Losses`. None where the engine has its own.
        scheduler: One of `trainkit.schedules`, or of torch's, or several by optimizer name.
        metrics: Ignite metrics by name, for training, validation and test data.
        engine: Makes the `Engines`; supervised training by default.
        samples: Tag → function that makes an image tensor or a text to show after evaluations.
        handlers: Handlers of the trainer by name, attached behind everything of the run: see
            `attach_handlers`.
        trainer: The loop.
        monitor: What is watched.
        checkpoint: Which states are kept.
        config: The resolved config, YAML: written into the folder and the dashboard.
        overrides: Those of the command line.
        hparams: What the dashboard's HPARAMS table shows; by default the settings of the loop.
        notes: What to tell the user and the log when the run begins, a line each.
        name: What the user calls the run; shown, and kept in `run.json`.

    Returns:
        Values, models with their last weights, and what the monitoring found.

    Raises:
        TypeError, ValueError: The parts do not fit; nothing was trained and no folder was made.
        Interrupted: INT (Ctrl-C), TERM, HUP or USR1, after the state was saved as
            `checkpoints/last.pt`.
        Exception: Training failed; the exception carries the note `run: PATH`. If that was between
            two iterations, the state was saved first.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from trainkit import Batches, Data, TrainerSettings, run
        >>> x = torch.linspace(-1, 1, 64)[:, None]
        >>> data = Data(Batches(x, 2 * x, batch_size=16), Batches(x, 2 * x, batch_size=16))
        >>> model = torch.nn.Linear(1, 1)
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     result = run(
        ...         model=model,
        ...         data=data,
        ...         loss=torch.nn.MSELoss(),
        ...         optimizer=torch.optim.SGD(model.parameters(), lr=0.5),
        ...         trainer=TrainerSettings(epochs=10, device="cpu", progress_bar=False),
        ...         directory=f"{directory}/mine",
        ...     )
        folder ...
        next ... board ...
        >>> result.iterations, result.best["validation"]["loss"] < 0.01
        (40, True)
    """
    settings = trainer or TrainerSettings()
    watched, kept = monitor or MonitorSettings(), checkpoint or CheckpointSettings()
    device = device_of(settings.device)
    place = RunDirectory(directory)
    first = idist.get_rank() == 0
    with guarded_streams() as guards, deterministic_algorithms(settings.deterministic):
        if first:
            _print(first_lines(place.path, device))
        seed_everything(settings.seed)
        built = build(
            model=model,
            data=data,
            loss=loss,
            optimizer=optimizer,
            scheduler=scheduler,
            metrics=metrics,
            engine=engine,
            samples=samples,
            settings=settings,
            device=device,
        )
        check_metric_names(built, kept)
        attached = check_handlers(handlers, built.known, ["loss", *built.metrics])
        check_monitors(watched.monitors, {**built.known, "directory": None}, "monitor.parts")
        shapes: dict[nn.Module, str] = {}
        doubts = rehearse(built, shapes)
        notes = [*notes, *check_optimizers(built), *doubts]
        check_patterns(built, watched)
        # Again, so that the training does not depend on what building has drawn; every process
        # draws numbers of its own.
        seed_everything(settings.seed + idist.get_rank())
        _claim(place)
        numbers = masked_config(hparams if hparams is not None else _numbers_of(settings))
        config = masked(config)
        books = Bookkeeping()
        with ExitStack() as stack:
            if first:
                stack.enter_context(logged_to(place.log))
                books.keep("the record of code and environment",
                           lambda: capture(place.path, config, overrides))  # fmt: skip
                for note in notes:
                    _notes.warning("%s", note)
                _print(built_lines(built, place.path))
            stop = stack.enter_context(interruption())
            return _train(
                built,
                settings,
                watched,
                kept,
                place,
                books,
                stop,
                guards,
                config,
                numbers,
                name,
                attached,
                any(isinstance(doubt, OfProbabilities) for doubt in doubts),
                shapes,
            )


def _train(
    built: Built,
    settings: TrainerSettings,
    watched: MonitorSettings,
    kept: CheckpointSettings,
    place: RunDirectory,
    books: Bookkeeping,
    stop: Interruption,
    guards: tuple[Guard | None, Guard | None],
    config: str,
    hparams: Mapping[str, bool | float | str],
    name: str,
    handlers: Mapping[str, Any],
    told_of_probabilities: bool,
    shapes: Mapping[nn.Module, str],
) -> RunResult:
    first = idist.get_rank() == 0
    facts = {"name": name} if name else {}
    status = (
        Status(place.status, books, seed=settings.seed, iterations=built.iterations, **facts)
        if first
        else None
    )
    evaluations = _evaluations(built, settings, stop)
    watch = LossWatch(stop=settings.on_non_finite == "stop", scaled=settings.amp == "fp16")
    monitoring = Monitoring(
        place,
        watched,
        built,
        evaluations,
        books=books,
        enabled=first,
        alarm=watch.hear,
        said=[looks_wrong("logits")] if told_of_probabilities else (),
    )
    epochs = -(-built.iterations // len(built.source))
    every = settings.evaluate_every
    progress = Progress(
        Pace(built.iterations, epochs if every is None else -(-built.iterations // every)),
        guards,
        epochs=epochs,
        with_iterations=every is not None,
        show_bar=settings.progress_bar,
        newest_loss=monitoring.newest_loss,
        quiet=not first,
    )
    history = History(place.history if first else None, books)
    training = Training(
        built,
        settings,
        kept,
        evaluations=evaluations,
        directory=place,
        status=status,
        history=history,
        bookkeeping=books,
        progress=progress,
        monitoring=monitoring,
        watch=watch,
        interruption=stop,
    )
    ending = Ending(
        built,
        settings,
        kept,
        place=place,
        training=training,
        monitoring=monitoring,
        progress=progress,
        history=history,
        status=status,
        bookkeeping=books,
        watch=watch,
        name=name,
    )
    process = os.getpid()
    try:
        monitoring.attach()
        monitoring.describe(config, hparams, shapes)
        progress.attach(built.engines.trainer)
        with _workers_that_were_stopped_too(built, stop):
            training.run(
                partial(
                    attach_handlers, handlers, built.known,
                    trainer=built.engines.trainer,
                    evaluators={part: each.engine for part, each in evaluations.items()},
                    on_evaluation=training.listeners.append,
                    directory=place.path,
                )
            )  # fmt: skip
        return ending.completed()
    except BaseException as error:
        # A forked child that leaves by an exception comes here too: the run is its parent's.
        if os.getpid() == process:
            error.add_note(f"run: {place.path}")
            ending.early(error)
        raise


def _print(lines: Sequence[str]) -> None:
    print("\n".join(lines), flush=True)


@contextmanager
def _workers_that_were_stopped_too(built: Built, stop: Interruption) -> Iterator[None]:
    """Ctrl-C may have reached a loader's workers first; the missing batch is then no failure."""
    try:
        yield
    except Exception as error:
        waiting = built.engines.trainer.last_event_name == Events.GET_BATCH_STARTED
        if stop.asked is not None and waiting:
            raise Interrupted(stop.asked) from error
        raise


def _evaluations(
    built: Built, settings: TrainerSettings, stop: Interruption
) -> dict[str, Evaluation]:
    make, data = built.engines.evaluator, built.data
    if make is None:
        return {}
    train = data.train if settings.evaluate_train else None
    if train is not None and length_of(train) is None:
        _log.info("data.train has no length, and may have no end: it is not evaluated")
        train = None
    parts = {
        "train": None if train is None else in_order(train),
        "validation": data.validation,
        "test": data.test,
    }
    return {
        name: Evaluation(make(), OnePass(part, f"data.{name}"), built.metrics, stop, built.loss_fn)
        for name, part in parts.items()
        if part is not None
    }


def _claim(place: RunDirectory) -> None:
    """Make the folder, in one process; if that one cannot, none goes on."""
    refusal = ""
    if idist.get_rank() == 0:
        try:
            place.create()
        except (ValueError, OSError) as error:
            refusal = str(error)
    if idist.get_world_size() > 1:
        refusal = str(idist.broadcast(refusal, src=0, safe_mode=True))
    if refusal:
        raise ValueError(refusal)


def _numbers_of(settings: TrainerSettings) -> dict[str, bool | float | str]:
    return {
        f"trainer.{name}": value
        for name, value in vars(settings).items()
        if isinstance(value, bool | int | float | str)
    }
