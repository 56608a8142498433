"""What a person sees while a run goes on: a bar, and a line per evaluation."""

import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

from ignite.engine import Engine, Events
from tqdm import tqdm

__all__ = ["Progress", "evaluation_line", "number", "numbers_text", "values_text"]


class Progress:
    """A progress bar on standard error and a line per evaluation on standard output.

    Nothing here reads the device: the loss beside the bar is the newest that is on the host.

    Args:
        iterations: Of the whole run.
        show_bar: Show the bar.
        newest_loss: The newest loss that is known on the host, if any.
        quiet: Show nothing at all (in all processes but one).
    """

    def __init__(
        self,
        iterations: int,
        *,
        show_bar: bool = True,
        newest_loss: Callable[[], float | None] = lambda: None,
        quiet: bool = False,
    ) -> None:
        self._newest_loss = newest_loss
        self._shown: float | None = None
        self._quiet = quiet
        terminal = self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._bar: Any = tqdm(
            total=iterations,
            disable=quiet or not show_bar or sys.stderr is None,
            unit="it",
            leave=False,
            dynamic_ncols=terminal,
            # In a log file every refresh is a line.
            mininterval=0.1 if terminal else 10.0,
        )

    def attach(self, trainer: Engine) -> None:
        """Follow the trainer."""
        if not self._bar.disable:
            trainer.add_event_handler(Events.ITERATION_COMPLETED, self._advance)

    def say(self, text: str) -> None:
        """Print a line on standard output, without tearing the bar."""
        if self._quiet:
            return
        # Only a terminal can take a bar away; elsewhere every redrawn bar would be one more line.
        with tqdm.external_write_mode() if self._terminal else nullcontext():
            print(text, flush=True)

    def close(self) -> None:
        """Take the bar away; harmless when it is gone."""
        self._bar.close()

    def _advance(self) -> None:
        loss = self._newest_loss()
        if loss != self._shown:
            self._shown = loss
            self._bar.set_postfix_str(f"loss {number(loss)}", refresh=False)
        self._bar.update()


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


def evaluation_line(
    epoch: int, epochs: int, iteration: int, values: Mapping[str, Mapping[str, float]]
) -> str:
    """Losses and metrics of an evaluation on one line.

    Example:
        >>> evaluation_line(2, 20, 34, {"train": {"loss": 0.5}, "validation": {"loss": 0.75}})
        'epoch  2/20  iteration 34  train: loss 0.5  validation: loss 0.75'
    """
    head = f"epoch {epoch:>{len(str(epochs))}}/{epochs}"
    return "  ".join(part for part in (head, f"iteration {iteration}", values_text(values)) if part)
