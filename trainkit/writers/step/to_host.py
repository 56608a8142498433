"""Bring gathered steps to the host: one step, or several similar steps together."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from typing import Any, cast
from weakref import WeakSet

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainkit.writers.step import transfer
from trainkit.writers.step.host_step import (
    HostHistogram,
    HostItem,
    ScalarChunk,
    Step,
    Steps,
)
from trainkit.writers.step.make_deferred import make_deferred
from trainkit.writers.step.pending import Gathering
from trainkit.writers.step.tracks import Block, read_block
from trainkit.writers.values import LeftOut, Scalars, check_finished

__all__ = ["in_main_memory", "read_items", "read_step", "read_steps"]

_IS_CPU = attrgetter("is_cpu")


_log = logging.getLogger("trainkit")

# Finishing functions that have failed; each is logged once.
_told: WeakSet[Any] = WeakSet()

Array = NDArray[Any]
# The tensors of a gathering, or what was read of them.
Source = Sequence[Tensor] | Sequence[Array]


def read_step(gathering: Gathering) -> Step:
    """Everything of one step on the host, at the price of one read per device."""
    return _read_steps([gathering])[0]


def read_items(gathered: Sequence[Gathering | Block]) -> list[HostItem]:
    """Everything of several steps on the host, and blocks of curves; see `read_steps`."""
    found: list[HostItem] = []
    for is_block, group in groupby(gathered, key=_is_block):
        some: Any = list(group)
        found += map(read_block, some) if is_block else _read_steps(some)
    return found


def read_steps(gathered: Sequence[Gathering | Block]) -> list[Step]:
    """`read_items`, step by step."""
    return list(Steps(read_items(gathered)))


def _read_steps(gatherings: Sequence[Gathering]) -> list[Step]:
    """Everything of several steps on the host, at the price of one read per step and device.

    Most steps of a run are alike: the same tags, and the same functions that finish them. Those
    that follow each other are finished together, which costs little more than one of them.
    """
    sources = [_source(gathering) for gathering in gatherings]
    found: list[Step] = []
    start = 0
    for stop in range(1, len(gatherings) + 1):
        if stop == len(gatherings) or not _alike(gatherings[start], gatherings[stop]):
            some = slice(start, stop)
            scalars = _scalars(gatherings[some], sources[some])
            found += map(_host_step, gatherings[some], sources[some], scalars)
            start = stop
    return found


def in_main_memory(gathering: Gathering) -> bool:
    """Whether nothing has to be copied from a device."""
    return all(map(_IS_CPU, gathering.tensors))


def _source(gathering: Gathering) -> Source:
    tensors = gathering.tensors
    if in_main_memory(gathering):
        return tensors
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


def _host_step(gathering: Gathering, source: Source, scalars: Sequence[ScalarChunk]) -> Step:
    histograms: dict[str, HostHistogram] = {}
    for tags, positions in gathering.histograms:
        counts, edges, moments, non_finite = (_array(source[i]) for i in positions)
        limits = np.broadcast_to(edges, (len(tags), edges.shape[-1]))
        rows = zip(counts, limits, moments, non_finite.tolist(), strict=True)
        histograms |= {tag: HostHistogram(*row) for tag, row in zip(tags, rows, strict=True)}
    images = {tag: _array(source[i]) for tag, i in gathering.images.items()}
    step, time, texts = gathering.step, gathering.wall_time, gathering.texts or {}
    found = Step(step, time, scalars, histograms, texts, images, gathering.hparams or {})
    if gathering.deferred:
        deferred = {tag: one for tag, (one, _) in gathering.deferred.items()}
        parts = {
            tag: [_array(source[i]) for i in at] for tag, (_, at) in gathering.deferred.items()
        }
        made = make_deferred(deferred, parts)
        found.images, found.texts = {**images, **made.images}, {**texts, **made.texts}
        found.pr_curves = made.pr_curves
    return found


def _array(values: Tensor | Array) -> Array:
    return values.numpy() if isinstance(values, Tensor) else values


def _stacked(values: Sequence[Tensor | Array]) -> Array:
    """Of one part at each step, all of them, with the steps in front."""
    if len({value.dtype for value in values}) > 1:
        raise TypeError("integers would become floats")
    if isinstance(values[0], Tensor):  # many small arrays are slow in NumPy
        return torch.stack(cast("list[Tensor]", values)).numpy()
    return np.stack(cast("list[Array]", values))


def _alike(a: Gathering, b: Gathering) -> bool:
    """Whether their scalars came by the same calls in the same order."""
    return len(a.scalars) == len(b.scalars) and all(map(_same_kind, a.scalars, b.scalars))


def _same_kind(a: Any, b: Any) -> bool:
    (what, at), (other, there) = a, b
    # Compare types: isinstance(x, Mapping) takes longer than everything else here.
    if type(what) is tuple or type(other) is tuple:
        return bool(what == other)
    if what.layout is not None and what.layout is other.layout:
        return bool(len(at) == len(there))
    return bool(
        what.finish is other.finish
        and what.largest == other.largest
        and len(at) == len(there)
        and what.tags == other.tags
    )


def _scalars(gatherings: Sequence[Gathering], sources: Sequence[Source]) -> list[list[ScalarChunk]]:
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
            what, at = calls[0]
            if isinstance(what, tuple):
                tags.append(what)
                rows.append(np.array([numbers for _, numbers in calls], np.float64))
                continue
            parts = [
                [source[mine[i]] for (_, mine), source in zip(calls, sources, strict=True)]
                for i in range(len(at))
            ]
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


def _values(what: Scalars, parts: Sequence[Sequence[Tensor | Array]]) -> Array | list[Array | None]:
    """What is written under these tags, a row per step; None where it cannot be computed.

    Args:
        what: Says how.
        parts: Of each part, what it is at each step.
    """
    steps = len(parts[0]) if parts else 1
    try:
        columns = [_stacked(part) for part in parts]
        found = columns[0] if what.finish is None else what.finish(*columns)
        return check_finished(found, steps, len(what.tags))
    except LeftOut:
        if steps == 1:
            return [None]
    except Exception as error:
        if steps == 1:  # the rest of this step is still valid
            _leave_out(what, error)
            return [None]
    # Their shapes differ, or one of them is the cause of a fault.
    return [_values(what, [[part[i]] for part in parts])[0] for i in range(steps)]


def _leave_out(what: Scalars, error: Exception) -> None:
    function = getattr(what.finish, "__self__", what.finish)
    with suppress(TypeError):  # not everything can be kept in such a set
        if function in _told:
            return
        _told.add(function)
    others = f" (and {len(what.tags) - 1} that came with it)" if len(what.tags) > 1 else ""
    _log.error(
        "%r%s cannot be computed and is left out: %s: %s",
        "".join(what.tags[:1]), others, type(error).__name__, error,
    )  # fmt: skip


@lru_cache(maxsize=32)
def _joined(tags: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    return tuple(tag for some in tags for tag in some)


def _is_block(what: Gathering | Block) -> bool:
    return isinstance(what, Block)
