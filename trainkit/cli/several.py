"""Run one config in several processes: those that a launcher has started, or of one's own."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from trainkit.config.directories import give_back, reserve
from trainkit.config.errors import ConfigError
from trainkit.masking import masked_config
from trainkit.processes.errors import LaunchError
from trainkit.processes.launched import (
    RankInfo,
    launched,
    note_of_lone_process,
    quiet_torch,
)
from trainkit.processes.spawn import run_processes

if TYPE_CHECKING:
    from trainkit.config.compose import Composed

__all__ = ["Ended", "joined", "place_of", "start", "with_note"]


def place_of(composed: "Composed") -> RankInfo | None:
    """The place of this process among those that a launcher has started; None: it is alone.

    Raises:
        ConfigError: The launcher's environment makes no sense, or does not fit the config.
    """
    try:
        place = launched()
    except LaunchError as error:
        raise ConfigError(str(error)) from error
    count = composed.config.trainer.processes
    if place is not None and count not in (1, place.world):
        raise ConfigError(
            f"trainer.processes={count}, but {place.by} has started {place.world}: leave "
            "trainer.processes out"
        )
    if place is None or place.world == 1:
        return None
    quiet_torch()
    return place


def with_note(composed: "Composed") -> "Composed":
    """With a line for a job of several tasks of which only this process was started."""
    note = note_of_lone_process() if composed.config.trainer.processes == 1 else ""
    return replace(composed, notes=(*composed.notes, note)) if note else composed


@contextmanager
def joined(place: RankInfo, composed: "Composed") -> Iterator["Composed"]:
    """Meet the other processes; the config then has the folder of the first one.

    Only the first process prints. After a restart by torchrun the run of the earlier attempt goes
    on.

    Args:
        place: Of this process.
        composed: What it is to run.

    Raises:
        ConfigError: The processes do not meet, or their configs differ.
    """
    from trainkit.processes.group import differences, process_group

    trainer = composed.config.trainer
    try:
        with process_group(
            place,
            backend=trainer.backend,
            device=trainer.device,
            timeout=timedelta(minutes=trainer.timeout_minutes),
            name="" if composed.sweep is None else f"/{composed.sweep.number}",
        ) as rendezvous:
            differ = differences(_leaves(composed))
            if differ:
                more = f" (and {len(differ) - 3} more)" if len(differ) > 3 else ""
                raise ConfigError(
                    f"the processes must have the same config: {'; '.join(differ[:3])}{more}"
                )
            named = composed.chosen or composed.resume

            def own() -> str:
                return str(composed.directory if named else reserve(composed.directory))

            found, again = rendezvous.directory(own)
            directory = Path(found)
            if directory != composed.directory:
                give_back(composed.directory, reserved=False)
            if again:
                composed.config.trainer.resume = "auto"
            with _quiet(place.rank):
                yield replace(composed, directory=directory, chosen=True)
    except LaunchError as error:
        raise ConfigError(str(error)) from error


@dataclass(frozen=True)
class Ended:
    """What a sweep's table needs of a run that other processes have made.

    Args:
        best: Values of the best evaluation, by part of the data.
        last: Of the last one.
        best_metric: What picked the best.
    """

    best: dict[str, dict[str, float]]
    last: dict[str, dict[str, float]]
    best_metric: str


def start(composed: "Composed") -> tuple[int, Ended | None, str]:
    """Start the processes that the config asks for, and wait for them.

    Returns:
        The exit status, what came of it if it was completed, and whether its metric is to be
        `min` or `max`.
    """
    from trainkit.cli.failure import shows_traces
    from trainkit.config.start_run import check_config

    check_config(composed)  # an error is said once, and before anything is started
    if not (composed.chosen or composed.resume):
        composed = replace(composed, directory=reserve(composed.directory), chosen=True)
    # Of the schema, whose classes exist in this process only, nothing is needed any more.
    plain: Any = OmegaConf.create(OmegaConf.to_container(composed.config, resolve=False))
    sys.stdout.flush()
    given = replace(composed, config=plain), shows_traces()
    status = run_processes(plain.trainer.processes, _in_a_process, given)
    return (0, *_ended(composed.directory)) if status == 0 else (status, None, "min")


def _ended(directory: Path) -> tuple[Ended, str]:
    """Read from `run.json`, where NaN is a text."""
    facts = json.loads((directory / "run.json").read_text(encoding="utf-8"))
    best, last = (
        {part: {name: float(value) for name, value in values.items()} for part, values in
         found.items()}
        for found in (facts["best"]["values"], facts["last"])
    )  # fmt: skip
    return Ended(best, last, facts["best"]["metric"]), facts["best"]["mode"]


def _in_a_process(place: RankInfo, given: tuple["Composed", bool]) -> int:
    composed, traces = given
    if not traces:  # set by Hydra in the process that has started this one
        os.environ.pop("HYDRA_FULL_ERROR", None)
    from trainkit.cli.main import guarded
    from trainkit.cli.run import run_in

    # A console script does not put the working folder on the path.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    return guarded(lambda: run_in(place, composed)[0])


@contextmanager
def _quiet(rank: int) -> Iterator[None]:
    if rank == 0:
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        yield


def _leaves(composed: "Composed") -> dict[str, Any]:
    """Key → value of the config, without secrets."""
    found: dict[str, Any] = {}
    try:
        config = OmegaConf.to_container(composed.config, resolve=True)
    except OmegaConfBaseException:  # said later, with its place
        config = OmegaConf.to_container(composed.config, resolve=False)

    def walk(key: str, value: Any) -> None:
        if isinstance(value, Mapping) and value:
            for name, inner in value.items():
                walk(f"{key}.{name}" if key else str(name), inner)
        else:
            found[key] = str(value)

    walk("", masked_config(config))
    return found
