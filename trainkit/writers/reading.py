"""What was gathered, brought to the host: one step, or several steps of one kind together."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trainkit.writers import transfer
from trainkit.writers.gathering import Gathering
from trainkit.writers.host_step import HostHistogram, HostStep, ScalarChunk
from trainkit.writers.protocol import Scalars

__all__ = ["read_step", "read_steps"]

_log = logging.getLogger("trainkit")

Array = NDArray[Any]


def read_step(gathering: Gathering) -> HostStep:
    """Everything of one step on the host, at the price of one read per device."""
    return read_steps([gathering])[0]


def read_steps(gatherings: Sequence[Gathering]) -> list[HostStep]:
    """Everything of several steps on the host, at the price of one read per step and device.

    Most steps of a run are alike: the same tags, and the same functions that finish them. Those
    that follow each other are finished together, which costs little more than one of them.
    """
    arrays = [_arrays(gathering) for gathering in gatherings]
    found: list[HostStep] = []
    start = 0
    for stop in range(1, len(gatherings) + 1):
        if stop == len(gatherings) or not _alike(gatherings[start], gatherings[stop]):
            some = gatherings[start:stop]
            scalars = _scalars(some, arrays[start:stop])
            found += map(_host_step, some, arrays[start:stop], scalars)
            start = stop
    return found


def _arrays(gathering: Gathering) -> transfer.Arrays:
    tensors = gathering.tensors
    if all(tensor.is_cpu for tensor in tensors):
        return transfer.read(tensors) if tensors else []
    arrays: transfer.Arrays = [np.empty(0)] * len(tensors)
    by_device: dict[torch.device, list[int]] = defaultdict(list)
    for i, tensor in enumerate(tensors):
        by_device[tensor.device].append(i)
    for device, members in by_device.items():
        streams = [stream for stream in gathering.streams if stream.device == device]
        read = transfer.read([tensors[i] for i in members], streams)
        for i, array in zip(members, read, strict=True):
            arrays[i] = array
    return arrays


def _host_step(
    gathering: Gathering, arrays: transfer.Arrays, scalars: Sequence[ScalarChunk]
) -> HostStep:
    histograms: dict[str, HostHistogram] = {}
    for tags, (counts, edges, moments, non_finite) in gathering.histograms:
        limits = np.broadcast_to(arrays[edges], (len(tags), arrays[edges].shape[-1]))
        bad = arrays[non_finite].tolist()
        rows = zip(arrays[counts], limits, arrays[moments], bad, strict=True)
        histograms |= {tag: HostHistogram(*row) for tag, row in zip(tags, rows, strict=True)}
    images = {tag: arrays[at] for tag, at in gathering.images.items()}
    return HostStep(
        gathering.step,
        gathering.wall_time,
        scalars,
        histograms,
        gathering.texts,
        images,
        gathering.hparams,
    )


def _alike(a: Gathering, b: Gathering) -> bool:
    """Whether their scalars came by the same calls in the same order."""
    return len(a.scalars) == len(b.scalars) and all(map(_same_kind, a.scalars, b.scalars))


def _same_kind(a: Any, b: Any) -> bool:
    (what, at), (other, there) = a, b
    if not isinstance(what, Scalars):
        return bool(what == other)
    return (
        isinstance(other, Scalars)
        and what.finish is other.finish
        and what.largest == other.largest
        and len(at) == len(there)
        and what.tags == other.tags
    )


def _scalars(
    gatherings: Sequence[Gathering], arrays: Sequence[transfer.Arrays]
) -> list[list[ScalarChunk]]:
    """The chunks of each of these steps, which are alike."""
    chunks: list[list[ScalarChunk]] = [[] for _ in gatherings]
    tags: list[tuple[str, ...]] = []
    rows: list[Array] = []

    def join() -> None:
        if rows:
            values = np.concatenate(rows, axis=1) if len(rows) > 1 else rows[0]
            together = _joined(tuple(tags))
            for mine, row in zip(chunks, values, strict=True):
                mine.append(ScalarChunk(together, row))
            tags.clear()
            rows.clear()

    with np.errstate(all="ignore"):  # NaN is an answer
        for calls in zip(*(gathering.scalars for gathering in gatherings), strict=True):
            what = calls[0][0]
            if not isinstance(what, Scalars):
                tags.append(what)
                rows.append(np.array([numbers for _, numbers in calls], np.float64))
                continue
            parts = [[mine[i] for i in at] for (_, at), mine in zip(calls, arrays, strict=True)]
            values = _values(what, parts)
            # Where all is well, and nothing is lost in float64, one chunk holds it all.
            if isinstance(values, np.ndarray) and values.dtype.kind == "f" and what.largest is None:
                tags.append(what.tags)
                rows.append(values)
                continue
            join()
            for mine, found in zip(chunks, values, strict=True):
                if found is not None:
                    chunk = ScalarChunk(what.tags, found)
                    mine.append(chunk if what.largest is None else chunk.largest(what.largest))
        join()
    return chunks


def _values(what: Scalars, parts: Sequence[Sequence[Array]]) -> Array | list[Array | None]:
    """What is written under these tags, a row per step; None where it cannot be computed."""
    try:
        if what.finish is None:
            return np.stack([some[0] for some in parts])
        if what.together and len({tuple(part.shape for part in some) for some in parts}) == 1:
            columns = (np.stack(column) for column in zip(*parts, strict=True))
            return _checked(what, what.finish(*columns), (len(parts), len(what.tags)))
        if not what.together:
            found = [np.asarray(what.finish(*some)) for some in parts]
            return _checked(what, np.stack(found), (len(parts), len(what.tags)))
    except Exception:
        if len(parts) == 1:  # all else that was written at this step is still good
            _log.exception("%s and what came with it is left out", what.tags[:1])
            return [None]
    # Their shapes differ, or one of them is the cause of a fault.
    return [row for some in parts for row in _values(what, [some])]


def _checked(what: Scalars, values: Array, shape: tuple[int, int]) -> Array:
    if np.shape(values) != shape:
        raise ValueError(f"expected {shape[1]} values, got shape {list(np.shape(values))[1:]}")
    return values


@lru_cache(maxsize=32)
def _joined(tags: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    # The same tuple again and again: whoever reads the tags can tell by its identity.
    return tuple(tag for some in tags for tag in some)
