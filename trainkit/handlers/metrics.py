"""Every Ignite metric of an engine."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from ignite.engine import Engine, Events, RemovableEventHandle
from torch import Tensor

from trainkit.handlers.evaluation import PassMonitor
from trainkit.handlers.output import Number, is_number
from trainkit.writers.protocol import Writer

__all__ = ["MetricMonitor"]

_log = logging.getLogger("trainkit")

_LONGEST = 64  # elements of a vector that become a series each
_LARGEST = 512  # rows of a matrix that becomes an image


class MetricMonitor(PassMonitor):
    """Writes every entry of `engine.state.metrics`, at the end of each pass.

    On an evaluator (with `trainer` given) a pass is a run, and the step is the trainer's
    iteration; on a trainer a pass is an epoch. Metrics are seen if they are attached by the
    time the pass starts, before this monitor or after it.

    A number is written as it is; the elements of a vector or mapping one by one, under
    `<name>/<index or key>`; a square matrix of counts (`ConfusionMatrix`) as an image, each row
    divided by its sum; a text as a text. Left out, with one line in the log, is everything else.

    Tags: `metrics/<name>`, `metrics/<name>/<index or key>`.

    Args:
        writer: Where the metrics go.
        trainer: The engine whose iteration is the step; None on the trainer itself.

    Cost:
        Nothing in an iteration.

    Example:
        >>> from trainkit.writers import MemoryWriter
        >>> writer, trainer = MemoryWriter(), Engine(lambda engine, batch: None)
        >>> evaluator = Engine(lambda engine, batch: batch)
        >>> handle = MetricMonitor(writer, trainer=trainer).attach(evaluator)
        >>> @evaluator.on(Events.EPOCH_COMPLETED)
        ... def measure(engine):
        ...     engine.state.metrics["accuracy"] = 0.5
        >>> _ = evaluator.run([1])
        >>> writer.scalars["metrics/accuracy"]
        [(0, 0.5)]
    """

    def __init__(self, writer: Writer, *, trainer: Engine | None = None) -> None:
        super().__init__(writer, trainer=trainer)
        self._told: set[str] = set()
        self._last: RemovableEventHandle | None = None

    def attach(self, engine: Engine) -> RemovableEventHandle:
        """Write the metrics of `engine` from now on.

        Returns:
            Ignite's handle; after its `remove()` no handler is left.

        Raises:
            ValueError: The monitor is attached already.
        """
        start = Events.EPOCH_STARTED if self.trainer is None else Events.STARTED
        return self.listen(engine, (start, self.start_pass))

    def start_pass(self, engine: Engine) -> None:
        """Come last at the end of this pass, behind every metric that is attached by now."""
        self._let_go()
        end = Events.EPOCH_COMPLETED if self.trainer is None else Events.COMPLETED
        self._last = engine.add_event_handler(end, self.guard.wrap(self.end_pass))

    def end_pass(self, engine: Engine) -> None:
        """Write what the metrics are now."""
        step = (engine if self.trainer is None else self.trainer).state.iteration
        if not self.first_at(step, engine):
            return
        scalars: dict[str, Number] = {}
        images: dict[str, Tensor] = {}
        texts: dict[str, str] = {}
        for name, value in _once(engine.state.metrics):
            tag = f"metrics/{name}"
            if isinstance(value, str):
                texts[tag] = value
            elif isinstance(value, Tensor) and _is_matrix_of_counts(value):
                images[tag] = _picture(value.detach())
            else:
                found = dict(_numbers(tag, value))
                scalars |= found
                if not found:
                    self._leave_out(name, value)
        if scalars:
            self.writer.write_scalars(step, scalars)
        if images:
            self.writer.write_images(step, images)
        if texts:
            self.writer.write_texts(step, texts)

    def observe(self, engine: Engine) -> None:
        """Nothing to do in an iteration: metrics take in their batches themselves."""

    def end(self, engine: Engine) -> None:
        """Nothing to measure in an iteration."""

    def cancel(self) -> None:
        """Take every handler away; harmless at any time."""
        super().cancel()
        self._let_go()

    def _let_go(self) -> None:
        if self._last is not None:
            self._last.remove()
            self._last = None

    def _leave_out(self, name: str, value: Any) -> None:
        if name not in self._told:
            self._told.add(name)
            kind = type(value).__name__
            _log.warning("metrics/%s is left out: no chart shows a %s like it", name, kind)


def _once(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The entries, but none twice: Ignite keeps a mapping, and each of its items beside it."""
    inside = [value for value in metrics.values() if isinstance(value, Mapping)]
    for name, value in metrics.items():
        if not any(name in mapping and mapping[name] is value for mapping in inside):
            yield str(name), value


def _numbers(tag: str, value: Any) -> Iterator[tuple[str, Number]]:
    if is_number(value):
        yield tag, value.detach() if isinstance(value, Tensor) else value
    elif isinstance(value, bool):
        yield tag, float(value)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _numbers(f"{tag}/{key}", item)
    elif isinstance(value, list | tuple) and len(value) <= _LONGEST:
        for i, item in enumerate(value):
            yield from _numbers(f"{tag}/{i}", item)
    elif isinstance(value, Tensor) or hasattr(value, "__array__"):
        vector = torch.as_tensor(value).detach()
        if vector.numel() == 1 and not vector.is_complex():
            yield tag, vector.reshape(())
        elif vector.ndim == 1 and vector.numel() <= _LONGEST and not vector.is_complex():
            yield from ((f"{tag}/{i}", element) for i, element in enumerate(vector.unbind()))


def _is_matrix_of_counts(value: Tensor) -> bool:
    rows = value.shape[0] if value.ndim == 2 else 0
    return 2 <= rows <= _LARGEST and value.shape[1] == rows and not value.is_complex()


def _picture(matrix: Tensor) -> Tensor:
    """Light where a row has most of its sum; at least 200 pixels wide."""
    matrix = matrix.float()
    shares = (matrix / matrix.sum(1, keepdim=True)).nan_to_num(0).clamp(0, 1)
    pixels = -(-200 // matrix.shape[0])
    return shares.repeat_interleave(pixels, 0).repeat_interleave(pixels, 1)
