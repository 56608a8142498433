"""A logger of Ignite's as a writer: W&B, MLflow, Ignite's own TensorBoard."""

from collections.abc import Callable, Sequence
from typing import Any

from trainkit.writers.delivery import Delivery
from trainkit.writers.front import SinkWriter
from trainkit.writers.sinks.ignite_services import Service, clearml, mlflow, tensorboard, wandb
from trainkit.writers.step.host_step import Step

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
        service = _Service(f"{kind} (a logger of Ignite's)", _SERVICES[kind](logger))
        super().__init__(_StepByStep(service))

    def __repr__(self) -> str:
        return f"IgniteLoggerWriter({type(self._logger).__name__})"


class _Service:
    """The service as a sink, which takes one step at a time."""

    def __init__(self, name: str, service: Service) -> None:
        self._name = name
        self._service = service

    def __repr__(self) -> str:
        return self._name

    def write(self, steps: Sequence[Step]) -> None:
        for step in steps:
            self._service(step)

    def flush(self) -> None:
        """The service decides when it sends."""

    def close(self) -> None:
        """It stays its owner's to close."""


class _StepByStep:
    """Hands steps to a service one by one: after a failure only that one is sent again."""

    def __init__(self, service: _Service) -> None:
        self._delivery = Delivery(service, one_by_one=True)

    def __repr__(self) -> str:
        return repr(self._delivery.sink)

    @property
    def failing(self) -> BaseException | None:
        return self._delivery.failing

    def write(self, steps: Sequence[Step]) -> None:
        self._delivery.write(steps)

    def flush(self) -> None:
        self._delivery.flush()

    def close(self) -> None:
        self._delivery.close()
