"""Name what produced the first value of a run that was not finite."""

import logging
from typing import Any

import torch

from trainkit.rundir import CheckpointFolder, RunDirectory, preserved_random_state, snapshot
from trainkit.screen import replay_command
from trainkit.tracing import StepReport
from trainkit.training.build import Built
from trainkit.training.bundle import write_bundle
from trainkit.training.repeat import NotFoundError, first_non_finite
from trainkit.training.state import restore, run_state

__all__ = ["located"]

_log = logging.getLogger("trainkit.training")


def located(
    built: Built, place: RunDirectory, first: int, config: str
) -> tuple[StepReport | None, list[str]]:
    """Find the producer from the newest checkpoint before a loss that was not finite.

    Writes `non_finite/bundle.pt`, from which the step can be made again, and
    `non_finite/report.txt`. Models, optimizers and the trainer's state are put back afterwards.

    Args:
        built: What took part.
        place: The folder of the run.
        first: The first iteration whose loss was known not to be finite.
        config: Of the run, masked.

    Returns:
        The report, if the producer was found; and what the user should read, a line each.
    """
    state = _state_before(CheckpointFolder(place.checkpoints), first)
    if state is None:
        return None, [
            f"what produced it is not known: no checkpoint from before iteration {first} is kept "
            "(checkpoint.last=true keeps one)"
        ]
    state_now = built.engines.trainer.state
    now, epoch = snapshot(run_state(built, state["run"])), state_now.epoch
    try:
        with preserved_random_state():
            bundle, report = first_non_finite(built, state, first, config)
    except NotFoundError as error:
        return None, [f"what produced it was not found: {error}"]
    except Exception as error:
        _log.error("the search for the first non-finite value failed: %s", error, exc_info=error)
        return None, [f"what produced it was not found: {type(error).__name__}: {error}"]
    finally:
        restore(built, now)
        state_now.epoch = epoch
    lines = [f"first non-finite value: {report.line()}"]
    folder = place.path / "non_finite"
    try:
        folder.mkdir(exist_ok=True)
        (folder / "report.txt").write_text("\n".join(report.lines()) + "\n", encoding="utf-8")
        write_bundle(folder / "bundle.pt", bundle, report)
        lines.append(f"the step can be made again: {replay_command(folder / 'bundle.pt')}")
    except (OSError, ValueError) as error:
        lines.append(f"the step is not kept: {error}")
    return report, lines


def _state_before(folder: CheckpointFolder, first: int) -> dict[str, Any] | None:
    """The newest state from before an iteration in which all weights are finite."""
    found = [
        state for state in folder.sound() if state["iteration"] < first and _finite(state["models"])
    ]
    return max(found, key=lambda state: state["iteration"], default=None)


def _finite(models: dict[str, dict[str, Any]]) -> bool:
    return all(
        bool(torch.isfinite(value).all())
        for weights in models.values()
        for value in weights.values()
        if isinstance(value, torch.Tensor) and value.is_floating_point()
    )
