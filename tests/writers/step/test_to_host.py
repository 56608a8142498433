"""Steps that are read together come to what each of them comes to alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainkit.writers import Histograms, Scalars
from trainkit.writers.step import to_host as reading
from trainkit.writers.step.pending import Gathering
from trainkit.writers.step.to_host import read_step, read_steps
from trainkit.writers.values import Layout


def total(table: Any, factor: Any) -> Any:
    """For any dimensions in front: the sum of each row, times a factor."""
    return table.sum(-1) * factor[..., None]


def unless_negative(table: Any, factor: Any) -> Any:
    if (factor < 0).any():
        raise ValueError("broken on purpose")
    return total(table, factor)


WAYS = {"total": total, "fault": unless_negative}
calls = st.tuples(
    st.sampled_from([*WAYS, "plain", "numbers", "integers", "largest", "histograms"]),
    st.integers(2, 3),  # rows
    st.sampled_from([-2.0, 0.5, 3.0]),
)


def gathered(step: int, what: Sequence[tuple[str, int, float]]) -> tuple[Gathering, dict[str, Any]]:
    """What these calls gather, and what must come of it."""
    gathering, expected = Gathering(step), {}
    for place, (way, rows, factor) in enumerate(what):
        tags = tuple(f"{place}/{row}" for row in range(rows))  # whatever the way
        table = torch.arange(float(4 * rows)).reshape(rows, 4) + step
        values = [float(sum(row)) * factor for row in table.tolist()]
        if way in WAYS:
            parts = [table, torch.tensor(factor)]
            gathering.keep_scalars(Scalars(tags, parts, finish=WAYS[way]))
            if not (way.startswith("fault") and factor < 0):
                expected |= dict(zip(tags, values, strict=True))
        elif way == "plain":
            gathering.keep_scalars(Scalars(tags, torch.tensor(values, dtype=torch.bfloat16)))
            rounded = torch.tensor(values).bfloat16().tolist()
            expected |= dict(zip(tags, rounded, strict=True))
        elif way == "integers":
            large = [2**60 + step + row for row in range(rows)]
            gathering.keep_scalars(Scalars(tags, torch.tensor(large)))
            expected |= dict(zip(tags, large, strict=True))
        elif way == "largest":
            parts = [table, torch.tensor(factor)]
            gathering.keep_scalars(Scalars(tags, parts, finish=total, largest=1))
            best = int(np.argmax(values))
            expected[tags[best]] = values[best]
        elif way == "histograms":
            counts = torch.ones(rows, 2, dtype=torch.int64)
            edges, moments = torch.arange(3.0).double(), torch.ones(rows, 4).double()
            gathering.add_histograms(Histograms(tags, counts, edges, moments, counts[:, 0]))
        else:
            gathering.add_scalars(dict(zip(tags, values, strict=True)))
            expected |= dict(zip(tags, values, strict=True))
    return gathering, expected


@settings(deadline=None, derandomize=True, max_examples=150)
@given(st.lists(st.tuples(st.lists(calls, max_size=4), st.integers(1, 4)), max_size=4))
@pytest.mark.parametrize("packed", [False, True])
def test_any_steps(packed: bool, runs: list[tuple[list[tuple[str, int, float]], int]]) -> None:
    kinds = [what for what, times in runs for _ in range(times)]  # some steps in a row are alike
    made = [gathered(step, what) for step, what in enumerate(kinds)]
    with pytest.MonkeyPatch.context() as patch:
        if packed:  # as from a device
            patch.setattr(reading, "in_main_memory", lambda gathering: False)
        found = read_steps([gathering for gathering, _ in made])
    assert [host.step for host in found] == list(range(len(kinds)))
    for host, (gathering, expected) in zip(found, made, strict=True):
        assert host.scalars == expected
        assert read_step(gathering).scalars == expected
        drawn = [tags for tags, _ in gathering.histograms]
        assert list(host.histograms) == [tag for tags in drawn for tag in tags]


def test_steps_that_are_alike_are_finished_in_one_call() -> None:
    shapes: list[tuple[int, ...]] = []

    def finish(table: Any) -> Any:
        shapes.append(table.shape)
        return table.sum(-1)

    def gathering(step: int, *tags: str) -> Gathering:
        made = Gathering(step)
        made.add_scalars({"loss/total": 1.0 / (step + 1)})
        parts = torch.full((len(tags), 3), float(step))
        made.keep_scalars(Scalars(tags, parts, finish=finish))
        return made

    steps = [gathering(i, "a", "b") for i in range(5)] + [gathering(5, "c")]
    found = read_steps(steps)
    assert shapes == [(5, 2, 3), (1, 1, 3)]
    assert found[3].scalars == {"loss/total": 0.25, "a": 9.0, "b": 9.0}
    assert found[5].scalars == {"loss/total": 1 / 6, "c": 15.0}
    # One chunk under the same tuple of tags: whoever reads it can tell by its identity.
    assert [len(host.chunks) for host in found] == [1] * 6
    assert found[0].chunks[0].tags is found[4].chunks[0].tags


def test_a_fault_of_one_step_loses_the_values_of_that_step(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def finish(*parts: Any) -> Any:  # of its own: a fault of a function is told once
        return unless_negative(*parts)

    def gathering(step: int) -> Gathering:
        made = Gathering(step)
        factor = torch.tensor(-1.0 if step == 2 else 1.0)
        parts = [torch.full((1, 2), float(step)), factor]
        made.keep_scalars(Scalars(("sum",), parts, finish=finish))
        made.add_scalars({"good": float(step)})
        return made

    found = [host.scalars for host in read_steps([gathering(i) for i in range(4)])]
    assert found[2] == {"good": 2.0}
    assert [found[i] for i in (0, 1, 3)] == [{"sum": 2.0 * i, "good": i} for i in (0, 1, 3)]
    assert caplog.text.count("is left out") == 1


def test_who_finishes_differs_from_step_to_step() -> None:
    def gathering(step: int) -> Gathering:
        made = Gathering(step)
        ways = (lambda x: x.sum(-1), lambda x: x.max(-1))
        scalars = Scalars(("a",), torch.tensor([[1.0, 2.0]]), finish=ways[step])
        made.keep_scalars(scalars)
        return made

    found = read_steps([gathering(0), gathering(1)])
    assert [host.scalars for host in found] == [{"a": 3.0}, {"a": 2.0}]


def test_shapes_that_change_from_step_to_step() -> None:
    def gathering(step: int) -> Gathering:
        made = Gathering(step)
        scalars = Scalars(("sum",), torch.ones(1, step), finish=lambda x: x.sum(-1))
        made.keep_scalars(scalars)
        return made

    found = read_steps([gathering(i) for i in (2, 2, 3)])
    assert [host.scalars for host in found] == [{"sum": 2.0}, {"sum": 2.0}, {"sum": 3.0}]


@pytest.mark.parametrize("steps", [1, 2])
def test_a_finish_without_the_steps_in_front_is_told_what_it_gets(
    steps: int, caplog: pytest.LogCaptureFixture
) -> None:
    def gathering(step: int) -> Gathering:
        made = Gathering(step)
        made.keep_scalars(Scalars(("a", "b"), torch.ones(2, 3), finish=finish))
        return made

    def finish(table: Any) -> Any:
        return table[0].sum(-1)  # one step alone: [tags]

    found = read_steps([gathering(i) for i in range(steps)])
    assert [host.scalars for host in found] == [{}] * steps
    assert caplog.text.count("got [2]: finish gets arrays with the steps in front") == 1


def test_a_layout_is_what_its_parts_are() -> None:
    layout = Layout(("a", "b", "c"), lambda x: 2 * x, largest=1)
    made = Gathering(1)
    made.keep_scalars(Scalars(layout, torch.tensor([1.0, 3.0, 2.0])))
    assert read_step(made).scalars == {"b": 6.0}
    with pytest.raises(TypeError, match="a Layout has finish and largest already"):
        Scalars(layout, torch.ones(3), largest=2)
