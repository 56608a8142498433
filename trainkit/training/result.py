"""What a finished run hands back, and how it is told to a person."""

import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from trainkit.training.progress import numbers_text, values_text

__all__ = ["RunResult", "summary"]


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Args:
        directory: Where everything of it lies.
        models: As they were trained, with the last weights, by name (one model: `model`).
        iterations: Of the trainer.
        epochs: Begun passes over the training data.
        seconds: Of wall-clock time, evaluation and monitoring included.
        best_metric: The validation metric that picked the best checkpoint.
        best_iteration: When it was best; None: it never had a finite value.
        best: Values of the evaluation at that iteration: part of the data → name → value.
        last: Values of the last evaluation, in the same form.
        test: Values on the test data with the best weights (the last, where none were kept).
        tested_with: `best` or `last`.
        monitoring: Share of the time that the monitoring took, as measured, but for the first
            sample; None: not monitored.
        first_sample_seconds: What that took: it imports, works out names and allocates.
        every: Iterations between samples at the end; None: not monitored.
        non_finite: Tag → first step at which it was NaN or infinite (or counted some).
        disabled: Monitor → why it was disabled.
    """

    directory: Path
    models: Mapping[str, nn.Module]
    iterations: int
    epochs: int
    seconds: float
    best_metric: str
    best_iteration: int | None
    best: Mapping[str, Mapping[str, float]]
    last: Mapping[str, Mapping[str, float]]
    test: Mapping[str, float]
    tested_with: str = "best"
    monitoring: float | None = None
    first_sample_seconds: float = 0.0
    every: int | None = None
    non_finite: Mapping[str, int] = field(default_factory=dict)
    disabled: Mapping[str, str] = field(default_factory=dict)

    @property
    def iterations_per_second(self) -> float:
        """Over the whole run."""
        return self.iterations / self.seconds if self.seconds > 0 else 0.0


def summary(result: RunResult) -> str:
    """What a person wants to know at the end of a run, on a few lines."""
    lines = ["", f"last        iteration {result.iterations}  {values_text(result.last)}"]
    if result.best_iteration == result.iterations:
        lines.append(f"best        by {result.best_metric}: the last")
    elif result.best_iteration is not None:
        lines.append(
            f"best        iteration {result.best_iteration}, by {result.best_metric}  "
            f"{values_text(result.best)}"
        )
    if result.test:
        lines.append(
            f"test        with the {result.tested_with} weights  {numbers_text(result.test)}"
        )
    lines.append(
        f"time        {_duration(result.seconds)}: {result.iterations} iterations in "
        f"{result.epochs} epochs, {result.iterations_per_second:.4g} iterations/s"
    )
    if result.monitoring is not None:
        every = f", every {result.every} iterations at the end" if result.every else ""
        first = result.first_sample_seconds
        lines.append(
            f"monitoring  {100 * result.monitoring:.2g} % of the time{every}"
            + (f"; the first sample took {first:.2g} s" if first else "")
        )
    lines.append(f"non-finite  {_non_finite(result.non_finite)}")
    lines += [f"disabled    {name}: {why}" for name, why in result.disabled.items()]
    lines.append(f"dashboard   {_program()} board {shlex.quote(_short(result.directory))}")
    return "\n".join(lines)


def _program() -> str:
    """How this shell can call trainkit: a newcomer's environment is not on its path."""
    own = Path(sys.executable).with_name("trainkit")
    found = shutil.which("trainkit")
    if found and Path(found).resolve() == own.resolve():
        return "trainkit"
    return shlex.quote(_short(own)) if own.exists() else f"{sys.executable} -m trainkit"


def _short(path: Path) -> str:
    """As seen from the working folder, where it is inside of it."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _non_finite(tags: Mapping[str, int]) -> str:
    if not tags:
        return "nothing"
    first = sorted(tags.items(), key=lambda item: item[1])
    shown = ", ".join(f"{tag} from iteration {step}" for tag, step in first[:5])
    more = f" and {len(first) - 5} more tags" if len(first) > 5 else ""
    return f"{shown}{more}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest:.0f} s" if minutes else f"{rest:.1f} s"
