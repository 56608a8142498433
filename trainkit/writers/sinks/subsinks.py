"""Sub-runs of any sink."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from trainkit.writers.as_sink import as_sink
from trainkit.writers.folder_names import check_name
from trainkit.writers.protocol import Sink
from trainkit.writers.step.host_step import (
    HostBlock,
    HostItem,
    ScalarChunk,
    Step,
    Steps,
    items_of,
)

__all__ = ["PrefixSink", "sub_sink"]

_Value = TypeVar("_Value")


def sub_sink(sink: Sink, name: str) -> Sink:
    """The sub-run of a sink: its own, or the sink with the name before each tag.

    Args:
        sink: Of the run.
        name: Of the sub-run: a name that a folder can have.

    Raises:
        TypeError, ValueError: It is no such name, e.g. `../x`.
    """
    check_name(name)
    own = getattr(sink, "subrun", None)
    if own is None:
        return PrefixSink(sink, name)
    return as_sink(own(name))


class PrefixSink:
    """Hands everything to another sink, under `<prefix>/<tag>`.

    Args:
        sink: Where it goes. It stays its owner's to close.
        prefix: Without the slash.
    """

    def __init__(self, sink: Sink, prefix: str) -> None:
        self._sink = sink
        self._prefix = f"{prefix}/"
        # The tags of a run repeat at every step.
        self._known: dict[tuple[str, ...], tuple[str, ...]] = {}

    def __repr__(self) -> str:
        return f"PrefixSink({self._sink!r}, {self._prefix[:-1]!r})"

    def write(self, steps: Sequence[Step]) -> None:
        """Write all of them, under other tags."""
        self._sink.write(Steps([self._renamed(item) for item in items_of(steps)]))

    def flush(self) -> None:
        """Flush the other sink."""
        self._sink.flush()

    def close(self) -> None:
        """Flush the other sink; it stays open."""
        self._sink.flush()

    def _renamed(self, item: HostItem) -> HostItem:
        if isinstance(item, HostBlock):
            tags = self._tags(item.tags)
            return HostBlock(tags, item.steps, item.times, item.values, item.description)
        return Step(
            item.step,
            item.wall_time,
            [ScalarChunk(self._tags(chunk.tags), chunk.values) for chunk in item.chunks],
            self._under(item.histograms),
            self._under(item.texts),
            self._under(item.images),
            self._under(item.hparams),
            self._under(item.pr_curves),
            self._under(item.descriptions),
        )

    def _under(self, values: Mapping[str, _Value]) -> dict[str, _Value]:
        return {self._prefix + tag: value for tag, value in values.items()}

    def _tags(self, tags: tuple[str, ...]) -> tuple[str, ...]:
        known = self._known.get(tags)
        if known is None:
            if len(self._known) == 16:
                self._known.clear()
            self._known[tags] = known = tuple(self._prefix + tag for tag in tags)
        return known
