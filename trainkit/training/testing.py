"""The evaluation on the test data, with the best weights where they can be had."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from torch import nn

from trainkit.rundir import load_checkpoint
from trainkit.training.evaluating import Evaluation
from trainkit.training.state import load_models

__all__ = ["FinalTest", "tested_with_best"]

_notes = logging.getLogger("trainkit.training.notes")


@dataclass(frozen=True)
class FinalTest:
    """How it went.

    Args:
        values: On the test data.
        weights: `best` or `last`: with which.
        alarm: Why it was not the best, where it should have been.
    """

    values: dict[str, float]
    weights: str
    alarm: str = ""


def tested_with_best(
    evaluation: Evaluation, models: Mapping[str, nn.Module], path: Path, iteration: int
) -> FinalTest:
    """Evaluate with the weights of a checkpoint; then the models have their own again.

    A checkpoint that is not what it should be is told; the test is made with the last weights.

    Args:
        evaluation: Of the test data.
        models: By name.
        path: Of the checkpoint.
        iteration: That it must hold.
    """
    states, alarm = None, ""
    if idist.get_rank() == 0:
        states, alarm = _loaded(path, iteration)
    found = states is not None
    if idist.get_world_size() > 1:  # what the first process has found, in every process
        found = bool(idist.broadcast(float(found), src=0))
    if not found:
        return FinalTest(evaluation.run(), "last", alarm)
    last = {
        name: {key: _copy(value) for key, value in module.state_dict().items()}
        for name, module in models.items()
    }
    load_models(models, states)
    try:
        return FinalTest(evaluation.run(), "best")
    finally:
        for name, module in models.items():
            module.load_state_dict(last[name])


def _loaded(path: Path, iteration: int) -> tuple[dict[str, Any] | None, str]:
    try:
        state = load_checkpoint(path)
        if state["iteration"] != iteration:
            raise ValueError(f"it holds iteration {state['iteration']}, not {iteration}")
        models: dict[str, Any] = state["models"]
    except Exception as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        alarm = f"{path} cannot be used ({why}): tested with the last weights"
        _notes.warning("%s", alarm)
        return None, alarm
    return models, ""


def _copy(value: object) -> object:
    return value.clone() if hasattr(value, "clone") else value
