"""Scalars as the bytes of a serialized Summary, from a template that is made once per tags."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainkit.writers.step.host_step import ScalarChunk
from trainkit.writers.tensorboard.protobuf import message, utf8

__all__ = ["ScalarTemplates", "Template"]

# Field numbers and wire types of TensorBoard's summary.proto.
_VALUE = b"\x0a"  # Summary.value, a message
_TAG = b"\x0a"  # Summary.Value.tag, a string
_SIMPLE_VALUE = b"\x15"  # Summary.Value.simple_value, four bytes


class ScalarTemplates:
    """Serializes scalars into a Summary, without the protobuf classes.

    The tags of a run repeat at every step, and so do all of its bytes but the numbers. They are
    put together once; afterwards any number of steps is one copy and one indexed assignment.

    Args:
        keep: How many sets of tags are remembered.
    """

    def __init__(self, keep: int = 16) -> None:
        self._keep = keep
        self._templates: dict[tuple[tuple[str, ...], ...], Template] = {}

    def serialize(self, steps: Sequence[Sequence[ScalarChunk]]) -> list[bytes]:
        """A serialized Summary of each of these steps, which all have the same tags.

        Of a tag that occurs twice, the last value.
        """
        key = tuple(chunk.tags for chunk in steps[0])
        if not key:
            return [b""] * len(steps)
        template = self._templates.pop(key, None) or Template([t for tags in key for t in tags])
        self._templates[key] = template  # the latest last: the first is the one to forget
        if len(self._templates) > self._keep:
            del self._templates[next(iter(self._templates))]
        # float32 is what the format holds: larger numbers become infinite, and that is no fault.
        with np.errstate(over="ignore"):
            columns = zip(*([chunk.values for chunk in chunks] for chunks in steps), strict=True)
            values = np.concatenate([np.stack(some).astype("<f4") for some in columns], axis=1)
        return template.fill(values)


class Template:
    """The bytes of a serialized Summary of these scalars, but for the numbers.

    Args:
        tags: Of a tag that occurs twice, the last value counts.
    """

    def __init__(self, tags: Sequence[str]) -> None:
        last = {tag: i for i, tag in enumerate(tags)}
        self._chosen = None if len(last) == len(tags) else np.fromiter(last.values(), np.intp)
        parts, starts, length = [], [], 0
        for tag in last:
            value = message(_VALUE, message(_TAG, utf8(tag)) + _SIMPLE_VALUE + bytes(4))
            length += len(value)
            parts.append(value)
            starts.append(length - 4)
        self.data = b"".join(parts)
        self.places = np.array(starts, np.intp)[:, None] + np.arange(4)

    def numbers(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """What stands in the places, shape `[steps, values, 4]`.

        Args:
            values: As little-endian float32, a row per step.
        """
        if self._chosen is not None:
            values = values[:, self._chosen]
        return np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1, 4)

    def fill(self, values: NDArray[Any]) -> list[bytes]:
        """The bytes with these numbers, a row per step."""
        steps, size = len(values), len(self.data)
        filled = np.tile(np.frombuffer(self.data, np.uint8), (steps, 1))
        filled[:, self.places] = self.numbers(values)
        whole = filled.tobytes()
        return [whole[start : start + size] for start in range(0, steps * size, size)]
