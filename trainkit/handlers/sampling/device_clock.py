"""Measure the CUDA time of monitoring without synchronizing."""

import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

__all__ = ["DeviceClock"]

_EVENT = partial(torch.cuda.Event, enable_timing=True)

_log = logging.getLogger("trainkit")


def _stream(device: torch.device) -> torch.cuda.Stream | None:
    with torch.cuda.device(device):
        # Events would become a part of the graph.
        capturing = torch.cuda.is_current_stream_capturing()
        return None if capturing else torch.cuda.current_stream()


class DeviceClock:
    """Times stretches of a CUDA stream with events, and reads them when the device is past them.

    Between the two events of a stretch lies what was launched in it; or, where the device has
    nothing to do, the time that the host took to launch it.

    Args:
        device: A CUDA device.
        event: Makes an event that takes the time.
        stream: The stream of that device to be timed; None while a graph of it is captured.
    """

    def __init__(
        self,
        device: torch.device,
        event: Callable[[], Any] = _EVENT,
        stream: Callable[[torch.device], Any] = _stream,
    ) -> None:
        self._device = device
        self._make, self._find = event, stream
        self._broken = False
        self._idle: list[Any] = []
        # Begin, end, and what the host took, of stretches that the device may not be past yet.
        self._open: deque[tuple[Any, Any, float]] = deque()

    def start(self) -> Any:
        """A stretch begins; returns what `stop` wants: None while a CUDA graph is captured."""
        return self._mark()

    def stop(self, start: Any, host_seconds: float) -> None:
        """The stretch that `start` began ends.

        Args:
            start: What `start` returned.
            host_seconds: What it took of the host, which is counted by somebody else.
        """
        end = None if start is None else self._mark()
        if end is not None:
            self._open.append((start, end, host_seconds))

    def beyond(self) -> float:
        """Seconds that the stretches took of the device beyond what they took of the host.

        Of those that the device is past; each of them is told once.
        """
        seconds = 0.0
        try:
            while self._open and self._open[0][1].query():
                start, end, host_seconds = self._open.popleft()
                seconds += max(0.0, start.elapsed_time(end) / 1e3 - host_seconds)
                self._idle += (start, end)
        except Exception:
            self._give_up()
        return seconds

    def _mark(self) -> Any:
        if self._broken:
            return None
        try:
            stream = self._find(self._device)
            if stream is None:
                return None
            event = self._idle.pop() if self._idle else self._make()
            event.record(stream)
        except Exception:
            self._give_up()
            return None
        return event

    def _give_up(self) -> None:
        # Whatever a device does not allow, it is not worth a training run.
        self._broken = True
        self._open.clear()
        _log.exception("what monitoring takes of %s cannot be timed", self._device)
