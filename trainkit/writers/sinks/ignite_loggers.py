"""A logger of Ignite's as a writer: W&B, MLflow, Ignite's own TensorBoard."""

from collections.abc import Callable, Sequence
from typing import Any

from trainkit.writers.delivery import Delivery
from trainkit.writers.front import Gatherer
from trainkit.writers.gathering_writer import GatheringWriter
from trainkit.writers.sinks.ignite_services import clearml, mlflow, tensorboard, wandb
from trainkit.writers.step.host_step import HostStep, step_by_step
from trainkit.writers.step.pending import Gathering
from trainkit.writers.step.to_host import read_steps
from trainkit.writers.step.tracks import Block

__all__ = ["IgniteLoggerWriter"]

# By the name of the logger's class (or of a class it derives from): importing Ignite's would
# import every one of these services.
_SINKS: dict[str, Callable[[Any], Callable[[HostStep], None]]] = {
    "ClearMLLogger": clearml,
    "MLflowLogger": mlflow,
    "TensorboardLogger": tensorboard,
    "WandBLogger": wandb,
}


class IgniteLoggerWriter(GatheringWriter):
    """Writes to the service behind one of Ignite's loggers.

    Works with `TensorboardLogger`, `MLflowLogger`, `WandBLogger` and `ClearMLLogger`, and with
    what derives from them. Characters that MLflow refuses in names become `_`. MLflow has no
    histograms: what can be drawn as a number (mean, minimum, maximum, non-finite count) is.

    A service that cannot be reached raises nothing: one line in the log says so, and one when it
    can again, with what was lost. About a million numbers are kept until then.

    Everything happens in the calling thread, at the pace of the service: put it into the
    background, as `BackgroundWriter(IgniteLoggerWriter(logger))`.

    Args:
        logger: It stays its owner's to close, after this writer.

    Raises:
        TypeError: Some other logger.

    Example:
        >>> import tempfile
        >>> from ignite.handlers import TensorboardLogger
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     with TensorboardLogger(log_dir=directory) as logger:
        ...         writer = IgniteLoggerWriter(logger)
        ...         writer.write_scalars(1, {"loss/total": 0.5})
        ...         writer.close()
    """

    def __init__(self, logger: Any) -> None:
        kind = next((c.__name__ for c in type(logger).__mro__ if c.__name__ in _SINKS), None)
        if kind is None:
            raise TypeError(
                f"logger must be one of Ignite's {', '.join(_SINKS)}, got "
                f"{type(logger).__name__}; for anything else write a class with the verbs of "
                "trainkit.writers.Writer"
            )
        self._logger = logger
        sink = _SINKS[kind](logger)
        self._delivery = Delivery(
            f"{kind} (a logger of Ignite's)",
            lambda items: [sink(host_step) for host_step in step_by_step(items)],
            together=False,
        )
        self._closed = False
        super().__init__(Gatherer(self._write, self._check))

    def __repr__(self) -> str:
        return f"IgniteLoggerWriter({type(self._logger).__name__})"

    @property
    def failing(self) -> BaseException | None:
        """What keeps it from writing now; None where all is well."""
        return self._delivery.outage.error

    def write_steps(self, host_steps: Sequence[HostStep]) -> None:
        """Write everything of some steps that is on the host already."""
        self._check()
        self._gatherer.seal()
        self._delivery.write(host_steps)

    def flush(self) -> None:
        """Hand everything to the logger."""
        self._check()
        self._gatherer.seal()
        self._delivery.retry()

    def close(self) -> None:
        """Hand everything to the logger, which stays open."""
        if not self._closed:
            self._gatherer.seal(ended=True)
            self._closed = True
            self._delivery.close(lambda: None)

    def _write(self, gathering: Gathering | Block) -> None:
        self._delivery.write(read_steps([gathering]))

    def _check(self) -> None:
        if self._closed:
            raise RuntimeError(f"{self!r} is closed; make a new one")
