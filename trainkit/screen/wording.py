"""Numbers in words: counts, durations, losses and metrics."""

from collections.abc import Mapping
from textwrap import wrap

__all__ = [
    "counted", "duration", "number", "numbers_text", "titled", "values_text",
]  # fmt: skip

_INDENT = 12


def titled(title: str, text: str, width: int | None = None) -> str:
    """A fact under its title; on a terminal lines are broken between words, and indented.

    Example:
        >>> print(titled("device", "cpu, 2 threads"))
        device      cpu, 2 threads
        >>> print(titled("data", "train 100, validation 20", width=32))
        data        train 100,
                    validation 20
    """
    if width is None or len(text) + _INDENT <= width:
        return f"{title:<{_INDENT}}{text}"
    lines = wrap(text, max(width - _INDENT, 20), break_long_words=False, break_on_hyphens=False)
    return "\n".join(f"{title if i == 0 else '':<{_INDENT}}{line}" for i, line in enumerate(lines))


def counted(n: int, noun: str) -> str:
    """A count and its noun, in the plural unless it is one.

    Example:
        >>> counted(1, "epoch"), counted(1200, "iteration"), counted(2, "batch")
        ('1 epoch', '1,200 iterations', '2 batches')
    """
    hissing = noun.endswith(("ch", "ss")) and noun != "epoch"
    ending = "" if n == 1 else "es" if hissing else "s"
    return f"{n:,} {noun}{ending}"


def duration(seconds: float) -> str:
    """A time span, short enough for a column.

    Example:
        >>> duration(0.0123), duration(7.26), duration(75), duration(7325)
        ('0.01 s', '7.3 s', '1:15', '2:02:05')
    """
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 0.995 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def number(value: float | None) -> str:
    """A number as it is read most easily: four significant digits.

    Example:
        >>> number(0.98765), number(1e-5), number(float("nan")), number(None)
        ('0.9877', '1e-05', 'nan', '-')
    """
    return "-" if value is None else f"{value:.4g}"


def values_text(values: Mapping[str, Mapping[str, float]]) -> str:
    """Losses and metrics by part of the data; the components of a loss in brackets behind it.

    Example:
        >>> values_text({"train": {"loss": 0.5, "loss/mse": 0.4, "loss/l2": 0.1, "mae": 0.2}})
        'train: loss 0.5 (mse 0.4, l2 0.1), mae 0.2'
    """
    return "  ".join(
        f"{part}: {numbers_text(numbers)}" for part, numbers in values.items() if numbers
    )


def numbers_text(numbers: Mapping[str, float]) -> str:
    """Losses and metrics of one part of the data: see `values_text`."""
    components = [
        f"{name.removeprefix('loss/')} {number(value)}"
        for name, value in numbers.items()
        if name.startswith("loss/")
    ]
    shown = []
    for name, value in numbers.items():
        if not name.startswith("loss/"):
            behind = f" ({', '.join(components)})" if name == "loss" and components else ""
            shown.append(f"{name} {number(value)}{behind}")
    return ", ".join(shown)
