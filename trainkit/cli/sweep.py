"""The output of a sweep: a heading for each job, and a table at the end."""

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainkit.screen.commands import board_command
from trainkit.screen.wording import counted

if TYPE_CHECKING:
    from trainkit.config.sweeping import SweepJob

__all__ = ["Outcome", "ranking"]

_SIGNAL = 128  # exit statuses from here on are those of an interrupt


@dataclass(frozen=True)
class Outcome:
    """How one job of a sweep ended.

    Args:
        job: Which it was.
        directory: Of its run.
        status: Its exit status; None: it was not begun.
        metric: What picked its best weights, a validation metric or the loss.
        larger: Whether more of that is better.
        values: Of the validation data, where that was best.
    """

    job: "SweepJob"
    directory: Path
    status: int | None
    metric: str = ""
    larger: bool = False
    values: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, job: "SweepJob", directory: Path, result: Any, mode: str) -> "Outcome":
        """Of a run that was completed."""
        values = result.best or result.last
        part = values.get("validation") or values.get("train") or {}
        return cls(job, directory, 0, result.best_metric, mode == "max", part)

    @classmethod
    def done_before(cls, job: "SweepJob", directory: Path, facts: Mapping[str, Any]) -> "Outcome":
        """Of a run that was completed earlier, by its `run.json`."""
        best = facts.get("best") or {}
        values = best.get("values") or facts.get("last") or {}
        part = values.get("validation") or values.get("train") or {}
        found = {name: float(value) for name, value in part.items()}
        return cls(job, directory, 0, best.get("metric") or "", best.get("mode") == "max", found)

    @property
    def best(self) -> float:
        """The value that it is ranked by; NaN where there is none."""
        return float(self.values.get(self.metric, math.nan))


def ranking(outcomes: Sequence[Outcome]) -> str:
    """A table of the jobs, the best first, failed ones last, and what to call for the dashboard.

    Jobs that were judged by different metrics stay in their order.
    """
    metrics = {(each.metric, each.larger) for each in outcomes if each.status == 0}
    comparable = len(metrics) == 1 and not any("experiment=" in d for o in outcomes for d in
                                               o.job.differs)  # fmt: skip
    ordered = sorted(outcomes, key=_order) if comparable else list(outcomes)
    names = _shown_names(ordered)
    rows = [["", *names, ""]] if names else []
    rows += [_row(i, each, names, comparable) for i, each in enumerate(ordered)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    left = max(shutil.get_terminal_size((80, 24)).columns - sum(widths) - 2 * len(widths), 20)
    lines = [
        "  ".join([*(cell.rjust(w) for cell, w in zip(row, widths, strict=False)),
                   _cut(row[-1], left)]).rstrip()
        for row in rows
    ]  # fmt: skip
    done = sum(each.status == 0 for each in outcomes)
    total = outcomes[0].job.total or len(outcomes)
    if len(outcomes) < total:
        lines.append(f"{counted(total - len(outcomes), 'other job')} not begun")
    head = f"sweep       {done} of {total} jobs done"
    if comparable:
        ((metric, larger),) = metrics
        head += f"; best first, by validation {metric} ({'more' if larger else 'less'} is better)"
    folder = outcomes[0].directory.parent
    return "\n".join(["", head, *lines, f"dashboard   {board_command(folder)}"])


def _order(outcome: Outcome) -> tuple[bool, bool, float, int]:
    value = outcome.best
    signed = -value if outcome.larger else value
    bad = math.isnan(value)
    return (outcome.status != 0, bad, 0.0 if bad else signed, outcome.job.number)


def _shown_names(outcomes: Sequence[Outcome]) -> list[str]:
    """The deciding metric, the loss, and one more, where jobs have them."""
    names: dict[str, None] = {}
    for each in outcomes:
        names |= dict.fromkeys([each.metric] if each.metric in each.values else [])
    for each in outcomes:
        names |= dict.fromkeys(name for name in each.values if "/" not in name)
    return list(names)[:3]


def _row(i: int, outcome: Outcome, names: Sequence[str], comparable: bool) -> list[str]:
    what = " ".join(outcome.job.short) or f"job {outcome.job.number}"
    if outcome.status != 0:
        status = outcome.status
        how = "not begun" if status is None else "interrupted" if status >= _SIGNAL else "failed"
        return ["-", *([how] + [""] * (len(names) - 1))[: len(names)], what] if names else [
            "-", f"{how}: {what}"
        ]  # fmt: skip
    values = [f"{outcome.values[n]:.4g}" if n in outcome.values else "-" for n in names]
    return [str(i + 1) if comparable else str(outcome.job.number), *values, what]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."
