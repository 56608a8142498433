"""Points of a curve as records of an event file, from one template for many steps."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from trainkit.writers.tensorboard.protobuf import event, message
from trainkit.writers.tensorboard.records import masked, record
from trainkit.writers.tensorboard.scalars import Template

__all__ = ["block_records"]

_SUMMARY = b"\x2a"  # of event.proto: a message
_TIME, _STEP = 1, 10  # where they begin in an event
_HEAD, _TAIL = 12, 4  # bytes of a record before its data, and behind


def block_records(
    tags: Sequence[str], steps: NDArray[Any], times: NDArray[Any], values: NDArray[Any]
) -> Iterator[tuple[int, int, int, bytes]]:
    """Records of an event for each step, with first and last step and their number.

    Args:
        tags: Of the numbers of each step.
        steps: Shape `[S]`.
        times: Shape `[S]`.
        values: Shape `[S, len(tags)]`.
    """
    if not len(steps):
        return
    template = Template(tags)
    with np.errstate(over="ignore"):
        values = values.astype("<f4")
    if steps.min() < 0:  # written with ten bytes, and only by somebody who counts backwards
        for step, time, content in zip(steps, times, template.fill(values), strict=True):
            data = event(int(step), float(time), message(_SUMMARY, content))
            yield int(step), int(step), 1, record(data)
        return
    lengths = _varint_lengths(steps)
    numbers = template.numbers(values)
    # Steps of a block are written with the same number of bytes, but for a few times in a run.
    edges = [0, *(np.flatnonzero(np.diff(lengths)) + 1).tolist(), len(steps)]
    for start, stop in itertools.pairwise(edges):
        some = slice(start, stop)
        data = _records(template, steps[some], times[some], numbers[some])
        yield int(steps[start]), int(steps[stop - 1]), stop - start, data


def _records(
    template: Template, steps: NDArray[Any], times: NDArray[Any], numbers: NDArray[Any]
) -> bytes:
    first = int(steps[0])
    content = message(_SUMMARY, template.data)
    model = event(first, 0.0, content)
    size, count = len(model), len(steps)
    rows = np.tile(np.frombuffer(record(model), np.uint8), (count, 1))
    data = rows[:, _HEAD : _HEAD + size]
    data[:, _TIME : _TIME + 8] = times.astype("<f8")[:, None].view(np.uint8)
    length = size - len(content) - _STEP
    for i in range(length):
        more = 0x80 if i < length - 1 else 0
        data[:, _STEP + i] = (steps >> (7 * i)) & 0x7F | more
    data[:, template.places + (size - len(template.data))] = numbers
    whole = np.ascontiguousarray(data).tobytes()
    checksum = google_crc32c.value
    sums = [checksum(whole[i : i + size]) for i in range(0, count * size, size)]
    rows[:, -_TAIL:] = masked(np.array(sums, np.uint64)).astype("<u4")[:, None].view(np.uint8)
    return rows.tobytes()


def _varint_lengths(steps: NDArray[Any]) -> NDArray[Any]:
    lengths = np.ones(len(steps), np.int64)
    for bits in range(7, 63, 7):
        lengths += steps >= 1 << bits
    return lengths
