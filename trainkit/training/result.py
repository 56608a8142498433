"""What a run hands back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from torch import nn

from trainkit.screen import counted, duration, number, shown_path

__all__ = ["RunResult"]


@dataclass(frozen=True, repr=False)
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
        history: A row per evaluation, as `history.csv` has them: column → value.
        monitoring: Share of the time that the monitoring took, as measured, but for the first
            sample; None: not monitored.
        budget: The share that it was allowed; None: there was no limit.
        first_sample_seconds: What that took: it imports, works out names and allocates.
        monitoring_seconds: What that share is in seconds.
        every: Iterations between samples at the end; None: not monitored.
        samples: Iterations in which all statistics were taken.
        non_finite: Tag → first step at which it was NaN or infinite (or counted some).
        disabled: Monitor → why it was disabled.
        status: `completed`, `interrupted` or `failed`.
        reason: Why it ended.
        alarms: What should be looked at first, a line each.
        saved: Which checkpoints there are, each with its iteration.
        name: What the user calls it.

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
        ...         trainer=TrainerSettings(epochs=2, device="cpu", progress_bar=False),
        ...         directory=f"{directory}/mine",
        ...     )
        folder ...
        next ... board ...
        >>> result.status, result.best_metric, result.best_iteration
        ('completed', 'loss', 8)
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
    history: Sequence[Mapping[str, float | None]] = ()
    monitoring: float | None = None
    budget: float | None = None
    first_sample_seconds: float = 0.0
    monitoring_seconds: float = 0.0
    every: int | None = None
    samples: int = 0
    non_finite: Mapping[str, int] = field(default_factory=dict)
    disabled: Mapping[str, str] = field(default_factory=dict)
    status: str = "completed"
    reason: str = ""
    alarms: Sequence[str] = ()
    saved: Mapping[str, int] = field(default_factory=dict)
    name: str = ""

    @property
    def iterations_per_second(self) -> float:
        """Over the whole run."""
        return self.iterations / self.seconds if self.seconds > 0 else 0.0

    def __repr__(self) -> str:
        facts = [
            self.status,
            counted(self.iterations, "iteration"),
            *(f"{part} {_few(values)}" for part, values in self._tables().items()),
            repr(str(self.directory)),
        ]
        return f"RunResult({', '.join(facts)})"

    def _repr_html_(self) -> str:
        """In a notebook: a table of last, best and test values."""
        tables = self._tables()
        names = list(dict.fromkeys(name for values in tables.values() for name in values))
        head = "".join(f"<th>{escape(name)}</th>" for name in names)
        rows = "".join(
            f"<tr><th>{escape(part)}</th>"
            + "".join(f"<td>{number(values.get(name))}</td>" for name in names)
            + "</tr>"
            for part, values in tables.items()
        )
        told = [
            f"<b>{escape(self.name or self.directory.name)}</b>: {escape(self.status)} "
            f"({escape(self.reason)}), {counted(self.iterations, 'iteration')}, "
            f"{duration(self.seconds)}",
            *(f"<b>{escape(alarm)}</b>" for alarm in self.alarms),
            f"<code>{escape(shown_path(self.directory))}</code>",
        ]
        return f"<p>{'<br>'.join(told)}</p><table><tr><th></th>{head}</tr>{rows}</table>"

    def _tables(self) -> dict[str, Mapping[str, float]]:
        last = {f"last {part}": values for part, values in self.last.items()}
        best = {f"best {part}": values for part, values in self.best.items() if part != "train"}
        return {k: v for k, v in {**last, **best, "test": self.test}.items() if v}


def _few(values: Mapping[str, float]) -> str:
    shown = [(name, value) for name, value in values.items() if not name.startswith("loss/")]
    return " ".join(f"{name}={number(value)}" for name, value in shown[:2])
