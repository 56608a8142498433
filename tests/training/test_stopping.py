"""Why a training ends before its last iteration, and where that stands."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ignite.engine import Engine, Events
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.training.parts import FULL, go
from tests.training.resuming import check_same, interrupted, resumable
from trainkit.rundir import read_history, read_status
from trainkit.settings import TrainerSettings
from trainkit.training import early_stopping, stop_at_target
from trainkit.training.stopping import Stopping

SETTINGS = TrainerSettings(epochs=30, progress_bar=False, device="cpu")


def outcome(directory: Path) -> str:
    events = EventAccumulator(str(directory / "train"), size_guidance={"tensors": 0}).Reload()
    last = events.Tensors("about/1_outcome")[-1]
    return str(last.tensor_proto.string_val[0].decode())


def test_a_target_that_is_reached(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = partial(stop_at_target, metric="accuracy", value=0.8)
    result = go(tmp_path, trainer=SETTINGS, monitor=FULL, handlers={"target": target})
    reached = [row["validation/accuracy"] for row in read_history(tmp_path / "history.csv")]
    assert (reached[-1] or 0) >= 0.8
    assert all((value or 0) < 0.8 for value in reached[:-1])
    reason = f"target reached: validation accuracy is {reached[-1]:.4g}, asked for 0.8"
    assert result.reason == read_status(tmp_path / "run.json")["reason"] == reason
    assert result.status == "completed"
    assert f"ended       {reason}" in capsys.readouterr().out
    assert f"**Completed:** {reason}" in outcome(tmp_path)


@pytest.mark.parametrize("options", [{"value": float("nan")}, {"value": 1.0, "mode": "up"}])
def test_a_target_that_cannot_be(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"value must be finite|mode"):
        go(tmp_path, handlers={"target": partial(stop_at_target, **options)})


def test_early_stopping_says_why(tmp_path: Path) -> None:
    stopping = partial(early_stopping, patience=2, min_delta=10.0)
    result = go(tmp_path, trainer=SETTINGS, handlers={"early_stopping": stopping})
    assert result.epochs == 3
    assert result.reason.startswith(
        "early stopping: validation loss has not improved for 2 evaluations (best"
    )


class Clock:
    """A second for each time that it is asked."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_the_time_limit_counts_all_parts() -> None:
    def trained(before: dict[str, Any] | None) -> tuple[int, Stopping]:
        trainer = Engine(lambda engine, batch: None)
        stopping = Stopping(trainer, max_minutes=1.0, clock=Clock())
        if before is not None:
            stopping.load_state_dict(before)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, stopping.look)
        state = trainer.run(range(1000))
        return state.iteration, stopping

    alone, stopping = trained(None)
    assert alone == 60  # each look takes a second, and one before them
    assert stopping.reason.startswith("trainer.max_minutes=1 is reached, after 1:00")
    # A run that was interrupted after 40 seconds has 20 left.
    resumed, _ = trained({"seconds": 40.0, "reason": "", "stopped": False})
    assert resumed == 20


def test_the_time_limit_in_a_run(tmp_path: Path) -> None:
    trainer = TrainerSettings(epochs=10_000, progress_bar=False, device="cpu", max_minutes=0.02)
    result = go(tmp_path, trainer=trainer)
    assert result.status == "completed"
    assert result.reason.startswith("trainer.max_minutes=0.02 is reached")
    assert result.iterations < 70_000


def test_a_run_that_ended_early_stays_ended(tmp_path: Path) -> None:
    """Killed in its last evaluation: resumed, it does not train on."""
    handlers = {"target": partial(stop_at_target, metric="accuracy", value=0.8)}
    go_on = resumable(trainer=SETTINGS, monitor=FULL, handlers=handlers)
    result = go_on(tmp_path / "whole")
    interrupted(go_on, tmp_path / "parts", result.iterations)
    again = go_on(tmp_path / "parts", resume=True)
    assert (again.iterations, again.reason) == (result.iterations, result.reason)
    once_more = go_on(tmp_path / "parts", resume=True)
    assert once_more.iterations == result.iterations
    check_same(tmp_path / "whole", tmp_path / "parts")
