"""A logger of Ignite's as a writer: W&B, MLflow, Ignite's own TensorBoard."""

from collections.abc import Callable
from typing import Any

from trainkit.writers.front import SinkWriter
from trainkit.writers.sinks.ignite_services import Service, clearml, mlflow, tensorboard, wandb
from trainkit.writers.sinks.service_sink import ServiceSink

__all__ = ["IgniteLoggerWriter"]

# By the name of the logger's class (or of a class it derives from): importing Ignite's would
# import every one of these services.
_SERVICES: dict[str, Callable[[Any], Service]] = {
    "ClearMLLogger": clearml,
    "MLflowLogger": mlflow,
    "TensorboardLogger": tensorboard,
    "WandBLogger": wandb,
}


class IgniteLoggerWriter(SinkWriter):
    """Writes to the service behind one of Ignite's loggers.

    Works with `TensorboardLogger`, `MLflowLogger`, `WandBLogger` and `ClearMLLogger`, and with
    what derives from them. Characters that MLflow refuses in names become `_`. MLflow has no
    histograms: what can be drawn as a number (mean, minimum, maximum, non-finite count) is.

    A service that cannot be reached raises nothing: one line in the log says so, and one when it
    can again, with what was lost. Up to 16 MiB are kept until then.

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
        kind = next((c.__name__ for c in type(logger).__mro__ if c.__name__ in _SERVICES), None)
        if kind is None:
            raise TypeError(
                f"logger must be one of Ignite's {', '.join(_SERVICES)}, got "
                f"{type(logger).__name__}; for anything else write a class with the methods of "
                "trainkit.Sink: write, flush and close"
            )
        self._logger = logger
        name = f"{kind} (a logger of Ignite's)"
        super().__init__(ServiceSink(name, _SERVICES[kind](logger)))

    def __repr__(self) -> str:
        return f"IgniteLoggerWriter({type(self._logger).__name__})"
