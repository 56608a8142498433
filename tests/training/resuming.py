"""Interrupt a run, resume it, and compare what is left with a run that was never interrupted."""

import os
import signal
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from trainkit.rundir import Interrupted, load_checkpoint, read_history
from trainkit.training import RunResult

# What depends on the clock and not on the training.
TIMED = ("throughput/", "memory/", "monitor/", "about/", "results/")
# Of a state: times, the place in event files (whose size depends on times), measured costs.
CHANGES = {"seconds", "events", "cadence"}

ALL = {"scalars": 0, "histograms": 0, "images": 0, "tensors": 0}


def stop_at(iteration: int) -> dict[str, Any]:
    """A handler that has the run interrupted behind an iteration."""

    def attach(trainer: Engine) -> None:
        @trainer.on(Events.ITERATION_COMPLETED(once=iteration))
        def stop() -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    return {"stop": attach}


def interrupted(go: Callable[..., RunResult], directory: Path, iteration: int) -> None:
    """Run until behind an iteration."""
    with pytest.raises(Interrupted):
        go(directory, stop_at(iteration))
    last = load_checkpoint(directory / "checkpoints" / "last.pt")
    assert last["iteration"] == iteration


def differences(a: Any, b: Any, place: str = "") -> list[str]:
    """Where two states differ by a single bit, by their places."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        found = (
            [f"{place}: {sorted(map(str, a.keys() ^ b.keys()))}"] if a.keys() != b.keys() else []
        )
        return found + [
            difference
            for key in a.keys() & b.keys()
            if key not in CHANGES
            for difference in differences(a[key], b[key], f"{place}/{key}")
        ]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        if len(a) != len(b):
            return [f"{place}: {len(a)} and {len(b)} items"]
        pairs = enumerate(zip(a, b, strict=True))
        return [found for i, (x, y) in pairs for found in differences(x, y, f"{place}/{i}")]
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        same = a.dtype == b.dtype and a.shape == b.shape and _bits(a) == _bits(b)
    else:
        same = a == b or (a != a and b != b)
    return [] if same else [f"{place}: {a!r:.80} and {b!r:.80}"]


def _bits(tensor: Tensor) -> bytes:
    dense = tensor.to_dense() if tensor.layout is not torch.strided else tensor
    return dense.contiguous().flatten().view(torch.uint8).numpy().tobytes()


def last_states_differ(one: Path, other: Path) -> list[str]:
    """Of the last checkpoints of two runs."""
    states = [load_checkpoint(each / "checkpoints" / "last.pt") for each in (one, other)]
    for state in states:
        del state["run"]
    return differences(*states)


def series(directory: Path) -> dict[str, list[tuple[int, Any]]]:
    """Every point of every tag that does not depend on the clock, by part and tag."""
    found: dict[str, list[tuple[int, Any]]] = {}
    for part in ("train", "validation", "test"):
        if not (directory / part).is_dir():
            continue
        events = EventAccumulator(str(directory / part), size_guidance=ALL).Reload()
        tags = events.Tags()
        for kind, read, value in (
            ("scalars", events.Scalars, lambda e: e.value),
            ("histograms", events.Histograms, lambda e: e.histogram_value),
            ("images", events.Images, lambda e: e.encoded_image_string),
            ("tensors", events.Tensors, lambda e: e.tensor_proto.SerializeToString()),
        ):
            for tag in tags[kind]:
                if not tag.startswith(TIMED):
                    found[f"{part}: {tag}"] = [(e.step, value(e)) for e in read(tag)]
    return found


def series_differ(one: Path, other: Path) -> list[str]:
    """Tags whose points are not the same, with the first point that differs."""
    a, b = series(one), series(other)
    found = [f"only in one: {tag}" for tag in sorted(a.keys() ^ b.keys())]
    for tag in sorted(a.keys() & b.keys()):
        if repr(a[tag]) != repr(b[tag]):
            steps = [[step for step, _ in each[tag]] for each in (a, b)]
            if steps[0] != steps[1]:
                more, less = (sorted(set(x) - set(y)) for x, y in (steps, steps[::-1]))
                twice = [step for step in set(steps[1]) if steps[1].count(step) > 1]
                found.append(f"{tag}: missing {more[:5]}, too many {less[:5]}, twice {twice[:5]}")
            else:
                at = next(x[0] for x, y in zip(a[tag], b[tag], strict=True) if repr(x) != repr(y))
                found.append(f"{tag}: another value at {at}")
    return found


def history_differs(one: Path, other: Path) -> bool:
    """Whether the tables of evaluations differ but for the times."""
    rows = [read_history(each / "history.csv") for each in (one, other)]
    plain = [[{k: v for k, v in row.items() if k != "seconds"} for row in each] for each in rows]
    return plain[0] != plain[1]


def check_same(one: Path, other: Path) -> None:
    """Every bit of the last state, every point of every series, every row of the table."""
    found = last_states_differ(one, other)
    assert not found, f"the state differs: {found[:8]}"
    found = series_differ(one, other)
    assert not found, f"series differ: {found[:8]}"
    assert not history_differs(one, other), "history.csv differs"


def resumable(**changes: Any) -> Callable[..., RunResult]:
    """Begins a run with more handlers, or resumes it: `go(directory, handlers, resume)`."""
    from tests.training.parts import go

    def begin(
        directory: Path, handlers: Mapping[str, Any] | None = None, resume: bool = False
    ) -> RunResult:
        given = {name: value() if isinstance(value, _Made) else value
                 for name, value in changes.items()}  # fmt: skip
        mine = {**given.pop("handlers", {}), **(handlers or {})}
        return go(directory, handlers=mine, resume=resume, **given)

    return begin


class _Made(partial):  # type: ignore[type-arg]
    """A part that is made anew for every process."""


made = _Made
