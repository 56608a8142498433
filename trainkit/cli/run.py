"""`trainkit run`: compose a config and train."""

import os
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from trainkit.cli import completion
from trainkit.cli.failure import status_of, tell
from trainkit.cli.flags import FLAGS
from trainkit.cli.sweep import Outcome, ranking
from trainkit.config.directories import give_back, reserve
from trainkit.config.errors import ConfigError
from trainkit.masking import forget_secrets

if TYPE_CHECKING:
    from trainkit.config.compose import Composed
    from trainkit.processes.launched import RankInfo

__all__ = ["main", "run_one"]


def main(arguments: list[str]) -> int:
    """Train what the arguments say; with `--multirun` several times.

    Args:
        arguments: Hydra's overrides and flags, and `--from RUN_DIR`.

    Returns:
        The exit status; of a sweep 1 if any of its jobs failed.
    """
    if completion.is_installing(arguments):
        return completion.main(arguments)
    if arguments in (["--version"], ["-V"]):
        from trainkit.cli.main import main as trainkit

        return trainkit(["--version"])
    if "--hydra-help" in arguments:  # Hydra's own help offers options that do not exist here
        print(FLAGS, end="")
        return 0
    completion.forget_the_command()
    forget_secrets()
    from trainkit.config.compose import compose_and_run

    jobs = _Jobs()
    try:
        compose_and_run(arguments, jobs.run)
    except ConfigError as error:
        jobs.ends.append(status_of(error))
    finally:
        if jobs.outcomes and os.environ.get("RANK", "0") == "0":
            print(ranking(jobs.outcomes))
            print(f"run: {jobs.outcomes[0].directory.parent}", flush=True)
    if jobs.outcomes and any(jobs.ends):
        return 1
    return max(jobs.ends, default=0)


class _Jobs:
    """The one run of a config, or those of a sweep, one after the other."""

    def __init__(self) -> None:
        self.ends: list[int] = []
        self.outcomes: list[Outcome] = []
        self._stopped = False

    def run(self, composed: "Composed") -> None:
        """Run one config; its folder is the last line, unless nothing was begun."""
        job = composed.sweep
        if job is None:
            self.ends.append(run_one(composed)[0])
            return
        if self._stopped:
            give_back(composed.directory, reserved=False)
            self.outcomes.append(Outcome(job, composed.directory, None))
            return
        from trainkit.config.done_before import done_before

        facts = done_before(composed)
        gap = "" if job.number == 0 else "\n"
        print(f"{gap}{job.heading}{'' if facts is None else ': done before'}", flush=True)
        if facts is not None:
            self.ends.append(0)
            self.outcomes.append(Outcome.done_before(job, composed.directory, facts))
            return
        try:
            status, result, mode = run_one(composed)
        except KeyboardInterrupt:  # ends the sweep; the finished jobs are shown
            self.outcomes.append(Outcome(job, composed.directory, 128 + signal.SIGINT))
            raise
        self.ends.append(status)
        if status == 0 and result is not None:
            self.outcomes.append(Outcome.of(job, composed.directory, result, mode))
            return
        self.outcomes.append(Outcome(job, composed.directory, status))
        self._stopped = composed.config.sweep.on_failure == "stop"
        rest = "no other job is begun" if self._stopped else "the other jobs go on"
        tell(f"job {job.heading} failed; {rest} (sweep.on_failure)")


def run_one(composed: "Composed") -> tuple[int, Any, str]:
    """Run one config, and say where: the last line, unless nothing was begun.

    Returns:
        The exit status, the result if there is one, and whether its metric is to be min or max.
    """
    from trainkit.cli import several

    try:
        place = several.place_of(composed)
        if place is not None:
            return run_in(place, composed)
        if composed.config.trainer.processes > 1:
            return several.start(composed)
    except ConfigError as error:
        give_back(composed.directory, reserved=False)
        return status_of(error), None, "min"
    return _run_alone(several.with_note(composed))


def run_in(place: "RankInfo", composed: "Composed") -> tuple[int, Any, str]:
    """Run one config as one of several processes; returns as `run_one`."""
    from trainkit.cli import several

    try:
        with several.joined(place, composed) as shared:
            return _run_alone(shared)
    except ConfigError as error:
        return status_of(error), None, "min"


def _run_alone(composed: "Composed") -> tuple[int, Any, str]:
    from trainkit.config.start_run import run_config

    if not composed.chosen:
        composed = replace(composed, directory=reserve(composed.directory))
    directory, begun, end = composed.directory, True, 0
    result, mode = None, "min"
    try:
        result, mode = run_config(composed)
    except (
        Exception,
        SystemExit,
    ) as error:  # a model may call sys.exit(); training has failed then
        begun, end = _has_begun(error), status_of(error)
    except BaseException as interrupt:
        begun = _has_begun(interrupt)
        raise
    finally:
        if begun:
            print(f"run: {directory}", flush=True)
        else:
            give_back(directory, reserved=not composed.chosen)
    return end, result, mode


def _has_begun(error: BaseException) -> bool:
    """Whether the run had begun: what is raised by then says where it is."""
    return any(note.startswith("run: ") for note in getattr(error, "__notes__", ()))
