"""What a person sees while a run goes on: a bar, and a row per evaluation."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from textwrap import fill
from time import perf_counter

from ignite.engine import Engine, Events

from trainkit.screen import (
    Bar,
    Column,
    Guard,
    Table,
    duration,
    has_color,
    number,
    values_text,
    width_of,
)
from trainkit.training.pace import Pace

__all__ = ["Evaluated", "Progress", "evaluation_line"]

REDRAWN_EVERY = 0.1  # seconds
HEARTBEAT_EVERY = 60.0

Values = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Evaluated:
    """One evaluation, as it is shown.

    Args:
        epoch: Of the trainer.
        iteration: Of the trainer.
        values: Part of the data → name → value.
        decided_by: The validation metric that picks the best checkpoint.
        change: Of that one since the evaluation before; None: it was the first.
        improved: That change is one for the better.
        best: It is the best value so far.
    """

    epoch: int
    iteration: int
    values: Values
    decided_by: str = "loss"
    change: float | None = None
    improved: bool = False
    best: bool = False


class Progress:
    """A bar on standard error, and a row per evaluation on standard output.

    The bar is there on terminals. Where it is not, a line a minute says how far a long epoch is.
    Nothing here reads the device: the loss beside the bar is the newest that is on the host.

    Args:
        pace: How far the run is, and how fast.
        guards: Of standard output and error.
        epochs: Of the whole run.
        with_iterations: Rows show the iteration too: there are several in an epoch.
        show_bar: Show the bar.
        newest_loss: The newest loss that is known on the host, if any.
        quiet: Show nothing at all (in all processes but one).
    """

    def __init__(
        self,
        pace: Pace,
        guards: tuple[Guard | None, Guard | None] = (None, None),
        *,
        epochs: int = 1,
        with_iterations: bool = False,
        show_bar: bool = True,
        newest_loss: Callable[[], float | None] = lambda: None,
        quiet: bool = False,
    ) -> None:
        self._pace = pace
        self._epochs = epochs
        self._with_iterations = with_iterations
        self._newest_loss = newest_loss
        self._quiet = quiet
        self._bar = Bar(*guards, show=show_bar and not quiet)
        self._table: Table | None = None
        self._warming = True  # the first iteration tells nothing about the others
        self._drawn = self._said = self._row_begun = perf_counter()

    def attach(self, trainer: Engine) -> None:
        """Follow the trainer."""
        self._drawn = self._said = self._row_begun = perf_counter()
        self._pace.begin(trainer.state.iteration if trainer.state else 0)
        if not self._quiet:
            trainer.add_event_handler(Events.ITERATION_COMPLETED, self._advance)

    def say(self, text: str) -> None:
        """Print lines on standard output; the bar makes way for them."""
        if not self._quiet:
            self._said = perf_counter()
            print(text, flush=True)

    @contextmanager
    def evaluating(self, iteration: int) -> Iterator[None]:
        """Meanwhile no iteration is made: that time tells nothing about how fast they are."""
        if not self._quiet and self._bar.shown:
            text = f"iteration {iteration}/{self._pace.iterations}  evaluating"
            self._bar.draw(self._pace.done(iteration), text)
        with self._pace.evaluating():
            yield

    def evaluated(self, evaluated: Evaluated) -> None:
        """Show a row; under the header if it is the first."""
        if self._quiet:
            return
        if self._table is None:
            self._table = self._table_for(evaluated)
            if self._table.left_out:
                names = dict.fromkeys(c.group or c.title for c in self._table.left_out)
                text = f"(too narrow for {', '.join(names)}: see history.csv)"
                self.say(fill(text, max(width_of(sys.stdout) or len(text), 20)))
            self.say("\n".join(self._table.header()))
        now = perf_counter()
        took, self._row_begun = now - self._row_begun, now
        cells, styles = _cells(evaluated, self._epochs, took)
        self.say(self._table.row(cells, styles))

    def close(self) -> None:
        """Take the bar away; harmless when it is gone."""
        self._bar.close()

    def _table_for(self, evaluated: Evaluated) -> Table:
        columns = _columns(evaluated, self._epochs, self._with_iterations)
        return Table(columns, width_of(sys.stdout), color=has_color(sys.stdout))

    def _advance(self, trainer: Engine) -> None:
        if self._warming:
            self._warming = False
            self._pace.begin(trainer.state.iteration)
        now = perf_counter()
        if now - self._drawn < REDRAWN_EVERY:
            return
        self._drawn = now
        if self._bar.shown:
            iteration = trainer.state.iteration
            self._bar.draw(self._pace.done(iteration), self._now(trainer))
        elif now - self._said >= HEARTBEAT_EVERY:
            self.say(f"... {self._now(trainer)}")

    def _now(self, trainer: Engine) -> str:
        pace, iteration = self._pace, trainer.state.iteration
        loss = self._newest_loss()
        parts = [
            f"epoch {trainer.state.epoch}/{self._epochs}",
            f"iteration {iteration}/{pace.iterations}",
            "" if loss is None else f"loss {number(loss)}",
            pace.speed(iteration),
            f"{duration(pace.remaining(iteration))} left",
        ]
        return "  ".join(part for part in parts if part)


def evaluation_line(evaluated: Evaluated, epochs: int) -> str:
    """Losses and metrics of an evaluation on one line, for `run.log`.

    Example:
        >>> values = {"train": {"loss": 0.5}, "validation": {"loss": 0.75}}
        >>> evaluation_line(Evaluated(2, 34, values), 20)
        'epoch  2/20  iteration 34  train: loss 0.5  validation: loss 0.75'
    """
    head = f"epoch {evaluated.epoch:>{len(str(epochs))}}/{epochs}"
    text = values_text(evaluated.values)
    return "  ".join(part for part in (head, f"iteration {evaluated.iteration}", text) if part)


def _columns(evaluated: Evaluated, epochs: int, with_iterations: bool) -> list[Column]:
    """What a row shows: loss and the deciding metric, then all the rest."""
    values = evaluated.values
    names = list(dict.fromkeys(name for numbers in values.values() for name in numbers))
    metrics = [name for name in names if name != "loss" and not name.startswith("loss/")]
    main = evaluated.decided_by if evaluated.decided_by in metrics else None
    first = [name for name in ("loss", main or (metrics[0] if metrics else None)) if name in names]
    rest = [name for name in names if name not in first]

    def of(name: str, rank: int) -> list[Column]:
        shown = name.removeprefix("loss/")
        parts = [part for part, numbers in values.items() if name in numbers]
        share = -(-len(shown) // len(parts))  # of the name, which stands above all parts
        return [Column(f"{part}: {name}", part, shown, max(9, share), rank) for part in parts]

    digits = len(str(epochs))
    columns = [Column("epoch", "epoch", width=2 * digits + 1)]
    if with_iterations:
        columns.append(Column("iteration", "iteration", width=7, rank=1))
    columns.append(Column("time", "time", width=7, rank=3))
    columns += [column for i, name in enumerate(first) for column in of(name, 1 + i)]
    columns += [
        Column("change", "change", width=8, rank=4),
        Column("best", "best", width=4, rank=1),
    ]
    return columns + [column for name in rest for column in of(name, 5)]


def _cells(evaluated: Evaluated, epochs: int, took: float) -> tuple[dict[str, str], dict[str, str]]:
    cells = {
        "epoch": f"{evaluated.epoch}/{epochs}",
        "iteration": str(evaluated.iteration),
        "time": duration(took),
    }
    styles = {"time": "dim"}
    for part, numbers in evaluated.values.items():
        for name, value in numbers.items():
            cells[f"{part}: {name}"] = f"{value:#.4g}"
            if not isfinite(value):
                styles[f"{part}: {name}"] = "bad"
    if evaluated.change is not None:
        cells["change"] = f"{evaluated.change:+#.3g}" if isfinite(evaluated.change) else "nan"
        styles["change"] = "good" if evaluated.improved else "bad"
    if evaluated.best:
        cells["best"], styles["best"] = "*", "good"
    return cells, styles
