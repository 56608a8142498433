"""What a folder of runs holds: its run folders and their tags, read from the first events only."""

import json
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Contents", "contents_of"]

# Nearly all tags of a run are in its first events; images make events long.
_EVENTS, _BYTES = 40, 1 << 22
_PART = re.compile(r"^(?:(.*)/)?(train|validation|test|results)$")


@dataclass
class Contents:
    """What was found.

    Args:
        tags: Tag of a scalar → folders of event files that have it, relative to the root.
        images: The same of pictures.
        folders: All folders of event files: TensorBoard has a row for each.
        metrics: The metrics by which the best checkpoints were chosen.
    """

    tags: dict[str, set[str]] = field(default_factory=dict)
    images: dict[str, set[str]] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    metrics: set[str] = field(default_factory=set)

    @property
    def runs(self) -> set[str]:
        """The runs: the parents of `train`, `validation` and `test`; other folders as they are."""
        found = set()
        for folder in self.folders:
            part = _PART.match(folder)
            found.add((part[1] or ".") if part else folder)
        return found


def contents_of(root: Path) -> Contents:
    """Look into a folder of runs; whatever cannot be read is passed over.

    Args:
        root: What TensorBoard is started with.

    Cost: reads at most 4 MiB of each event file.
    """
    found = Contents()
    for path in sorted(root.rglob("*tfevents*")):
        folder = path.parent.relative_to(root).as_posix()
        found.folders.add(folder)
        try:
            for tag, is_image in _tags(path):
                (found.images if is_image else found.tags).setdefault(tag, set()).add(folder)
        except (OSError, ValueError, struct.error):
            continue
    for path in sorted(root.rglob("run.json")):
        try:
            best = json.loads(path.read_text(encoding="utf-8")).get("best") or {}
        except (OSError, ValueError, AttributeError):
            continue
        if isinstance(best.get("metric"), str):
            found.metrics.add(best["metric"])
    return found


def _tags(path: Path) -> Iterator[tuple[str, bool]]:
    """Tag of each value in the first events, and whether it is a picture."""
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.event_pb2 import Event

    with path.open("rb") as file:
        for _ in range(_EVENTS):
            head = file.read(12)
            if len(head) < 12 or file.tell() > _BYTES:
                return
            (length,) = struct.unpack("<Q", head[:8])
            data = file.read(min(length, _BYTES))
            if len(data) < length:
                return
            file.read(4)
            try:
                values = Event.FromString(data).summary.value
            except DecodeError:
                return
            for value in values:
                if value.HasField("image"):
                    yield value.tag, True
                elif value.HasField("simple_value"):
                    yield value.tag, False
