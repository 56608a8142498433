"""Accept a sink, or a writer that is used as a sink."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from io import IOBase
from typing import TypeGuard

from trainkit.writers.protocol import Sink, Writer
from trainkit.writers.sinks.verbs import VerbsSink
from trainkit.writers.step.host_step import Step

__all__ = ["StepWriter", "as_sink", "is_sink"]

_log = logging.getLogger("trainkit")


class StepWriter(ABC):
    """A writer that takes finished steps too: behind another writer it is used as a sink."""

    @property
    def has_own_verbs(self) -> bool:
        """Whether a subclass or a user has replaced a verb, which must be called then."""
        return False

    @abstractmethod
    def write(self, steps: Sequence[Step]) -> None:
        """Write everything of some steps that are finished already."""

    @abstractmethod
    def flush(self) -> None:
        """Return when everything written so far can be read by others."""

    @abstractmethod
    def close(self) -> None:
        """Flush and release everything; closing twice is harmless."""


def is_sink(target: object) -> TypeGuard[Sink]:
    """Whether it is a sink and no writer: something with `write`, `flush` and `close`."""
    return (
        not callable(getattr(target, "write_scalars", None))
        and not isinstance(target, IOBase)
        and all(callable(getattr(target, name, None)) for name in ("write", "flush", "close"))
    )


def as_sink(target: Sink | Writer) -> Sink:
    """A sink itself; of a writer, the sink that writes to it.

    Raises:
        TypeError: It is neither.
    """
    if hasattr(target, "write_steps"):
        _log.warning(
            "%s.write_steps is not called any more: rename it to write(steps); step.scalars maps "
            "each tag to its number",
            type(target).__name__,
        )
    if isinstance(target, StepWriter) and not target.has_own_verbs:
        return target
    if callable(getattr(target, "write_scalars", None)):
        return VerbsSink(target)  # type: ignore[arg-type]
    if not is_sink(target):
        raise TypeError(
            "needed a sink (with write(steps), flush() and close()) or a writer (with "
            f"write_scalars and the other verbs), got {type(target).__name__} {target!r:.80}"
        )
    return target
