"""The summary that is printed when a run has ended."""

import sys
from collections.abc import Mapping

from trainkit.screen import (
    again_command,
    board_command,
    counted,
    duration,
    has_color,
    is_of_sweep,
    numbers_text,
    resume_command,
    shown_path,
    titled,
    width_of,
)
from trainkit.training.result import RunResult

__all__ = ["summary"]

_SHORT = 100  # With fewer samples than this, the fifty guaranteed samples dominate the cost.


def summary(result: RunResult, ended: str = "", *, best_kept: bool = True) -> str:
    """Alarms first; then why it ended, last and best, where everything is, what to do next.

    Args:
        result: Of a run that has ended, in whatever way.
        ended: In place of its reason, where that is told elsewhere.
        best_kept: Whether `checkpoints/best.pt` was asked for.
    """
    lines = ["", *(_alarm(alarm) for alarm in result.alarms)]
    lines.append(_line("ended", ended or result.reason or result.status))
    if result.iterations:
        lines += _values("last", f"iteration {result.iterations}", result.last)
    kept = "" if best_kept else " (not kept: checkpoint.best=false)"
    if result.best_iteration is not None:
        at = f"iteration {result.best_iteration}, by {result.best_metric}{kept}"
        is_last = result.best_iteration == result.iterations
        lines += _values("best", at + (": the last" if is_last else ""),
                         {} if is_last else result.best)  # fmt: skip
    if result.test:
        weights = f"with the {result.tested_with} weights"
        lines += _values("test", weights, {"": result.test})
    lines.append(
        _line(
            "time",
            f"{duration(result.seconds)}: {counted(result.iterations, 'iteration')} in "
            f"{counted(result.epochs, 'epoch')}, {result.iterations_per_second:.4g} iterations/s",
        )
    )
    if result.monitoring is not None:
        lines.append(_line("monitoring", _monitoring(result)))
    lines.append(_line("non-finite", _non_finite(result.non_finite)))
    files = [name for name in ("run.log", "history.csv") if (result.directory / name).exists()]
    inside = f" ({', '.join(files)})" if files else ""
    lines.append(_line("folder", f"{shown_path(result.directory)}{inside}"))
    saved = [f"{name}.pt (iteration {at})" for name, at in sorted(result.saved.items())]
    lines.append(_line("saved", f"checkpoints/: {', '.join(saved)}" if saved else "no checkpoint"))
    # Not wrapped: these lines are meant to be copied.
    commands = [] if is_of_sweep(result.directory) else [board_command(result.directory)]
    if (result.directory / "config.yaml").exists():
        commands.append(again_command(result.directory))
        if result.status != "completed" and "last" in result.saved:
            commands.insert(0, resume_command(result.directory))
    lines += [titled("" if i else "next", command) for i, command in enumerate(commands)]
    return "\n".join(lines)


def _line(title: str, text: str) -> str:
    return titled(title, text, width_of(sys.stdout))


def _alarm(text: str) -> str:
    line = _line("alarm", text)
    return f"\x1b[31m{line}\x1b[0m" if has_color(sys.stdout) else line


def _values(title: str, head: str, values: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Values on one line if they fit, else one line per part of the data."""
    texts = [
        f"{part}: {numbers_text(numbers)}" if part else numbers_text(numbers)
        for part, numbers in values.items()
        if numbers
    ]
    line = titled(title, "  ".join([head, *texts]))
    width = width_of(sys.stdout)
    if width is None or len(line) <= width:
        return [line]
    return [_line(title, head), *(_line("", text) for text in texts)]


def _monitoring(result: RunResult) -> str:
    share = result.monitoring or 0.0
    if not result.samples:
        return "no iteration was sampled"
    if not share:
        return (
            f"too short to measure; the first sample took {duration(result.first_sample_seconds)}"
        )
    text = f"{result.samples:,} of {counted(result.iterations, 'iteration')} sampled"
    budget = "" if result.budget is None else _percent(result.budget)
    if result.budget is not None and share > result.budget and result.samples <= _SHORT:
        spent = duration(result.monitoring_seconds)
        text += f" (a whole run gets 50), {spent}; the budget of {budget} is for longer runs"
    else:
        text += f", {_percent(share)} of the time" + (f" (budget {budget})" if budget else "")
    if result.first_sample_seconds >= 0.05:
        text += f"; the first sample took {duration(result.first_sample_seconds)}"
    return text


def _percent(share: float) -> str:
    """Two digits, never in powers of ten.

    Example:
        >>> _percent(0.0234), _percent(1.5)
        ('2.3 %', '150 %')
    """
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def _non_finite(tags: Mapping[str, int]) -> str:
    if not tags:
        return "nothing"
    # The loss's own name first among those of the same iteration: the others follow from it.
    first = sorted(tags.items(), key=lambda item: (item[1], not item[0].startswith("loss/")))
    shown = ", ".join(f"{tag} from iteration {step}" for tag, step in first[:5])
    more = f" and {len(first) - 5} more tags" if len(first) > 5 else ""
    return f"{shown}{more}"
