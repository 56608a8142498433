"""A tracking service as a sink."""

from collections.abc import Callable, Sequence

from trainkit.writers.delivery import Delivery
from trainkit.writers.sinks.ignite_services import Service
from trainkit.writers.step.host_step import Step

__all__ = ["ServiceSink"]


class ServiceSink:
    """Hands steps to a service one by one; after a failure only the step that failed is sent again.

    It raises nothing: `failing` is what is wrong now. Up to 16 MiB are kept until it works again.

    Args:
        name: What the log calls it.
        service: Sends one step.
        end: Called when the sink is closed, with `completed`; None: the service stays open.

    Example:
        >>> sent = []
        >>> sink = ServiceSink("mine", lambda step: sent.append(step.step))
        >>> sink.write([Step.of(1, {"loss/total": 0.5}), Step.of(2, {"loss/total": 0.4})])
        >>> sent
        [1, 2]
    """

    def __init__(
        self, name: str, service: Service, end: Callable[[bool], object] | None = None
    ) -> None:
        self._name = name
        #: Whether the run was completed, where that is known when the sink is closed.
        self.completed = False
        self._delivery = Delivery(_Service(self, service, end), one_by_one=True)

    def __repr__(self) -> str:
        return self._name

    @property
    def failing(self) -> BaseException | None:
        """What keeps the service from taking steps now."""
        return self._delivery.failing

    def write(self, steps: Sequence[Step]) -> None:
        """Send each of them."""
        self._delivery.write(steps)

    def flush(self) -> None:
        """Send again what has failed; the service decides when it passes steps on."""
        self._delivery.flush()

    def close(self) -> None:
        """Try a last time, and tell the service that the run has ended."""
        self._delivery.close()


class _Service:
    """The service itself, which may raise."""

    def __init__(
        self, sink: ServiceSink, service: Service, end: Callable[[bool], object] | None
    ) -> None:
        self._sink = sink
        self._service = service
        self._end = end

    def __repr__(self) -> str:
        return repr(self._sink)

    def write(self, steps: Sequence[Step]) -> None:
        for step in steps:
            self._service(step)

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        if self._end is not None:
            self._end(self._sink.completed)
