"""Plain objects in, a finished run out."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from torch import nn

from trainkit.handlers.parts import check_monitors
from trainkit.masking import masked, masked_config
from trainkit.processes.channel import Channel
from trainkit.processes.group import broadcast, differences
from trainkit.processes.peers import Peers
from trainkit.rundir import (
    Bookkeeping,
    RunDirectory,
    RunLock,
    interruption,
    logged_to,
    seed_everything,
)
from trainkit.screen import guarded_streams
from trainkit.settings import CheckpointSettings, MonitorSettings, TrainerSettings
from trainkit.training.build import Built, build
from trainkit.training.check_names import check_metric_names, check_optimizers, check_patterns
from trainkit.training.conduct import Prepared, conduct
from trainkit.training.device import deterministic_algorithms, device_of
from trainkit.training.dry_run import rehearse
from trainkit.training.earlier import earlier_run
from trainkit.training.go_on import go_on, record
from trainkit.training.header import built_lines, first_lines
from trainkit.training.loss_warnings import OfProbabilities
from trainkit.training.own_handlers import check_handlers
from trainkit.training.result import RunResult
from trainkit.training.run_sinks import check_sinks

__all__ = ["run"]

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
    sinks: Mapping[str, Any] | None = None,
    trainer: TrainerSettings | None = None,
    monitor: MonitorSettings | None = None,
    checkpoint: CheckpointSettings | None = None,
    config: str = "",
    overrides: Sequence[str] = (),
    hparams: Mapping[str, bool | float | str] | None = None,
    notes: Sequence[str] = (),
    name: str = "",
    resume: bool = False,
) -> RunResult:
    """Train, evaluate, watch, keep: one run, with everything of it in one folder.

    Everything that is a `functools.partial` waits for run-time objects and is completed by
    parameter name: `device`, `seed`, `data`, `iterations` (optimizer steps in the whole run),
    `iterations_per_epoch`, `model`, `models`, `params`, `optimizer`.

    Args:
        model: A module, or several by name.
        data: A `Data`.
        optimizer: A torch optimizer or what makes one from `params`; several by name.
        directory: Of this run; it must not hold another one, unless that is resumed.
        loss: Called with `(y_pred, y)`: see `Losses`. None where the engine has its own.
        scheduler: One of `trainkit.schedules`, or of torch's, or several by optimizer name.
        metrics: Ignite metrics by name, for training, validation and test data.
        engine: Makes the `Engines`; supervised training by default.
        samples: Tag → function that makes an image tensor or a text to show after evaluations.
        handlers: Handlers of the trainer by name, attached behind everything of the run: see
            `attach_handlers`.
        sinks: Where everything is written beside the event files, by name: a `Sink`, or what makes
            one from `directory`, `run` (its id), `name` and `resumed_at`.
        trainer: The loop.
        monitor: What is watched.
        checkpoint: Which states are kept.
        config: The resolved config, YAML: written into the folder and the dashboard.
        overrides: Those of the command line.
        hparams: What the dashboard's HPARAMS table shows; by default the settings of the loop.
        notes: What to tell the user and the log when the run begins, a line each.
        name: What the user calls the run; shown, and kept in `run.json`.
        resume: Go on with the run that the folder holds, from its last state. The parts must be
            those of that run. `trainer.resume="auto"` does so where the folder holds one.

    Returns:
        Values, models with their last weights, and what the monitoring found.

    Raises:
        TypeError, ValueError: The parts do not fit; nothing was trained and no folder was made.
            Or the folder is in use by another process, or holds what cannot be resumed.
        Interrupted: INT (Ctrl-C), TERM, HUP, USR1 or USR2, after the state was saved as
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
    with ExitStack() as stack:
        guards = stack.enter_context(guarded_streams())
        stack.enter_context(deterministic_algorithms(settings.deterministic))
        peers = None
        if idist.get_world_size() > 1:
            peers = stack.enter_context(Peers(Channel.open()))
        earlier = None
        if resume or (settings.resume == "auto" and broadcast(place.holds_a_run())):
            stack.enter_context(_only_run_in(place))
            earlier = earlier_run(place, required=True)
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
        _check_lengths(built)
        check_metric_names(built, kept)
        attached = check_handlers(handlers, built.known, ["loss", *built.metrics])
        further = check_sinks(sinks)
        check_monitors(watched.monitors, {**built.known, "directory": None}, "monitor.parts")
        shapes: dict[nn.Module, str] = {}
        doubts = rehearse(built, shapes)
        notes = [*notes, *built.notes, *check_optimizers(built), *doubts]
        check_patterns(built, watched)
        # Again, so that the training does not depend on what building has drawn; every process
        # draws numbers of its own.
        seed_everything(settings.seed + idist.get_rank())
        if earlier is None:
            _claim(place, stack)
        else:
            notes += [*earlier.notes, *go_on(built, earlier)]
        numbers = masked_config(hparams if hparams is not None else _numbers_of(settings))
        config = masked(config)
        books = Bookkeeping()
        if not first:
            stack.enter_context(logged_to(place.log_of(idist.get_rank()), screen=False))
        if first:
            stack.enter_context(logged_to(place.log))
            books.keep("the record of code and environment",
                       lambda: record(place, config, overrides, earlier))  # fmt: skip
            for note in notes:
                _notes.warning("%s", note)
            _print(built_lines(built, place.path))
        return conduct(
            Prepared(
                built=built,
                settings=settings,
                monitor=watched,
                checkpoint=kept,
                place=place,
                bookkeeping=books,
                interruption=stack.enter_context(interruption()),
                guards=guards,
                config=config,
                hparams=numbers,
                overrides=overrides,
                name=name,
                handlers=attached,
                sinks=further,
                told_of_probabilities=any(isinstance(each, OfProbabilities) for each in doubts),
                shapes=shapes,
                earlier=earlier,
                peers=peers,
            )
        )


def _check_lengths(built: Built) -> None:
    """With another number of batches in each process they would wait for each other for ever."""
    if idist.get_world_size() == 1:
        return
    differ = differences({"the length of an epoch of data.train": len(built.source)})
    if differ:
        raise ValueError(
            f"{differ[0]}: every process must train on as many batches; shuffle=True or "
            "trainer.epoch_length makes them so"
        )


def _print(lines: Sequence[str]) -> None:
    print("\n".join(lines), flush=True)


@contextmanager
def _only_run_in(place: RunDirectory) -> Iterator[None]:
    """Hold the lock of a folder; in several processes the first one does."""
    lock = RunLock(place.lock)
    if idist.get_rank() == 0:
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _claim(place: RunDirectory, stack: ExitStack) -> None:
    """Make the folder, in one process; if that one cannot, none goes on."""
    refusal = ""
    if idist.get_rank() == 0:
        try:
            place.create()
            stack.enter_context(_only_run_in(place))
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
