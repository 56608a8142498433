"""Train what was built, watch it, and complete the files of the run."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import uuid4

import ignite.distributed as idist
from ignite.engine import Events
from torch import nn

from trainkit.data import length_of
from trainkit.handlers.output.wrong_predictions import looks_wrong
from trainkit.processes.errors import OtherProcessError
from trainkit.processes.peers import Peers
from trainkit.rundir import (
    Best,
    Bookkeeping,
    CheckpointFolder,
    History,
    Interrupted,
    Interruption,
    RunDirectory,
    Status,
    end_for_another,
)
from trainkit.screen import Guard
from trainkit.settings import CheckpointSettings, MonitorSettings, TrainerSettings
from trainkit.training.build import Built
from trainkit.training.earlier import Earlier
from trainkit.training.evaluating import Evaluation, EvaluationData, in_order
from trainkit.training.finish import Ending
from trainkit.training.finite import LossWatch, all_finite
from trainkit.training.monitoring import Monitoring
from trainkit.training.own_handlers import HandlerStates, attach_handlers
from trainkit.training.pace import Pace
from trainkit.training.progress import Progress
from trainkit.training.requests import Requests
from trainkit.training.result import RunResult
from trainkit.training.saving import Saving
from trainkit.training.source import OnePass
from trainkit.training.stopping import Stopping
from trainkit.training.training import Training

__all__ = ["Prepared", "conduct"]

_log = logging.getLogger("trainkit.training")


@dataclass(frozen=True)
class Prepared:
    """What a run is made of, when all of it was checked and the folder is there.

    Args:
        built: What takes part.
        settings: Of the loop.
        monitor: What is watched.
        checkpoint: Which states are kept.
        place: The folder, locked.
        bookkeeping: Keeps a full disk from ending the run.
        interruption: Hears of signals.
        guards: Of standard output and error.
        config: Resolved, YAML, masked.
        hparams: Of the table of runs.
        overrides: Of the command line.
        name: What the user calls the run.
        handlers: The user's own, checked.
        sinks: The user's own, checked.
        told_of_probabilities: The user was told that the predictions look wrong.
        shapes: Module → shape of what it returns.
        earlier: The run that goes on; its state is in `built`. None: a new one begins.
        peers: The other processes of the run; None: there are none.
    """

    built: Built
    settings: TrainerSettings
    monitor: MonitorSettings
    checkpoint: CheckpointSettings
    place: RunDirectory
    bookkeeping: Bookkeeping
    interruption: Interruption
    guards: tuple[Guard | None, Guard | None]
    config: str
    hparams: Mapping[str, bool | float | str]
    overrides: Sequence[str]
    name: str
    handlers: Mapping[str, Any]
    sinks: Mapping[str, Any]
    told_of_probabilities: bool
    shapes: Mapping[nn.Module, str]
    earlier: Earlier | None
    peers: Peers | None = None


def conduct(prepared: Prepared) -> RunResult:
    """Train to the end.

    Raises:
        BaseException: Whatever ends the training early, with the note `run: PATH`.
    """
    built, settings, place = prepared.built, prepared.settings, prepared.place
    books, stop, earlier = prepared.bookkeeping, prepared.interruption, prepared.earlier
    first = idist.get_rank() == 0
    trainer = built.engines.trainer
    state = None if earlier is None else earlier.state
    run = (earlier.run if earlier is not None else None) or uuid4().hex
    facts = {"name": prepared.name} if prepared.name else {}
    if earlier is not None:
        facts |= earlier.facts(prepared.overrides)
    status = (
        Status(place.status, books, run=run, seed=settings.seed, iterations=built.iterations,
               **facts) if first else None
    )  # fmt: skip
    peers = prepared.peers
    # A process that left an evaluation by itself would leave the others waiting at its end.
    evaluations = _evaluations(built, settings, stop if peers is None else None)
    folder = CheckpointFolder(place.checkpoints)
    watch = LossWatch(
        settings.on_non_finite,
        scaled=settings.amp == "fp16",
        weights_are_finite=lambda: all_finite(built.models),
        on_first=lambda: saving.keep_before_non_finite(),
    )
    monitoring = Monitoring(
        place,
        prepared.monitor,
        built,
        evaluations,
        books=books,
        enabled=first,
        alarm=watch.hear,
        said=[looks_wrong("logits")] if prepared.told_of_probabilities else (),
        resumed_at=None if state is None else state["iteration"] + 1,
        sinks=prepared.sinks,
        run=run,
        name=prepared.name,
    )
    epochs = -(-built.iterations // len(built.source))
    every = settings.evaluate_every
    progress = Progress(
        Pace(built.iterations, epochs if every is None else -(-built.iterations // every)),
        prepared.guards,
        epochs=epochs,
        with_iterations=every is not None,
        show_bar=settings.progress_bar,
        newest_loss=monitoring.newest_loss,
        quiet=not first,
    )
    history = History(
        place.history if first else None, books, () if earlier is None else earlier.history()
    )
    best = Best.of(prepared.checkpoint)
    stopping = Stopping(trainer, settings.max_minutes)
    saving = Saving(
        built,
        prepared.checkpoint,
        folder,
        run=run,
        best=best,
        positions=monitoring.event_positions,
        bookkeeping=books,
        channel=None if peers is None else peers.channel,
    )
    requests = Requests(
        peers, stop, stopping, steps=settings.accumulation_steps, epoch=len(built.source)
    )
    training = Training(
        built,
        settings,
        prepared.checkpoint,
        evaluations=evaluations,
        directory=place,
        best=best,
        saving=saving,
        stopping=stopping,
        status=status,
        history=history,
        progress=progress,
        monitoring=monitoring,
        watch=watch,
        requests=requests,
    )
    ending = Ending(
        built,
        settings,
        prepared.checkpoint,
        place=place,
        training=training,
        monitoring=monitoring,
        progress=progress,
        history=history,
        status=status,
        bookkeeping=books,
        watch=watch,
        saving=saving,
        stopping=stopping,
        name=prepared.name,
        config=prepared.config,
    )
    states = HandlerStates()
    saving.parts |= {
        "training": training, "stopping": stopping, "watch": watch, "monitoring": monitoring,
        "handlers": states,
        "evaluation_data": EvaluationData(built.data),
    }  # fmt: skip

    def attach() -> None:
        states.handlers |= attach_handlers(
            prepared.handlers,
            built.known,
            trainer=trainer,
            evaluators={part: each.engine for part, each in evaluations.items()},
            on_evaluation=training.listeners.append,
            stop=stopping.stop,
            directory=place.path,
        )
        if state is not None:
            saving.load(state)

    process = os.getpid()
    if peers is not None and status is not None:
        peers.on_stuck = partial(status.end, "failed")
    try:
        monitoring.attach()
        monitoring.describe(
            prepared.config,
            prepared.hparams,
            prepared.shapes,
            began=_began(status),
            resumed=state is not None,
        )
        if state is not None and prepared.overrides:
            monitoring.tell_of_changes(state["iteration"], prepared.config, prepared.shapes)
        progress.attach(trainer)
        with _workers_that_were_stopped_too(built, stop):
            training.run(attach, state)
        return ending.completed()
    except BaseException as error:
        # A forked child that leaves by an exception comes here too: the run is its parent's.
        if os.getpid() == process:
            lost = "" if peers is None else peers.reason(error)
            if peers is not None:
                peers.training_ended()
                peers.fail(error)
            told = OtherProcessError(lost) if lost else error
            told.add_note(f"run: {place.path}")
            ending.early(told)
            if lost and not first:
                with suppress(OSError, ValueError):  # the first process says it, if it lives
                    end_for_another(place.status, f"{type(told).__name__}: {lost}")
            if lost:
                raise told from error
        raise


def _began(status: Status | None) -> float | None:
    """When the run began, in seconds since the epoch; a resumed one has its first start."""
    if status is None:
        return None
    return datetime.fromisoformat(str(status.facts["started"])).timestamp()


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
    built: Built, settings: TrainerSettings, stop: Interruption | None
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
