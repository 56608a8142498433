"""Statistics of module outputs against their definition, in float64."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.odd_tensors import READABLE, UNREADABLE, odd
from tests.stats.test_no_host_read import READS, Operators
from trainkit.stats.outputs.activations import OutputStatistics, OutputTotals, TorchTotals
from trainkit.stats.tensors.readable import UnreadableError

NAMES = ("mean", "std", "dead_fraction", "saturated_fraction")


def values(found: OutputStatistics) -> dict[str, float]:
    numbers: NDArray[Any] | Tensor = found.parts[0]
    if found.finish is not None:
        numbers = found.finish(*(part.numpy() for part in found.parts))
    return {
        f"{NAMES[which]}/{module}": float(value)
        for (module, which), value in zip(found.keys, numbers, strict=True)
    }


def expected(
    ys: Sequence[Tensor], axis: int | None = None, bounds: tuple[float, float] | None = None
) -> dict[str, float]:
    """Of one module, by definition."""
    every = np.concatenate([y.detach().double().numpy().ravel() for y in ys])
    found = {"mean/0": every.mean(), "std/0": every.std()}
    if axis is not None:
        units = [np.moveaxis(y.detach().numpy(), axis, 0) for y in ys]
        dead = np.array([(u.reshape(u.shape[0], -1) == 0).all(1) for u in units])
        found["dead_fraction/0"] = dead.all(0).mean()
    if bounds is not None:
        found["saturated_fraction/0"] = np.mean((every < bounds[0]) | (every > bounds[1]))
    return {key: float(value) for key, value in found.items()}


def strided(y: Tensor) -> Tensor:
    """The same numbers, with holes between them."""
    return torch.stack([y, y + 7], -1)[..., 0]


LAYOUTS = {
    "in order": lambda y: y,
    "channels last": lambda y: y.to(memory_format=torch.channels_last) if y.ndim == 4 else y,
    "with holes": strided,
    "the end of a larger one": lambda y: torch.cat([y + 3, y])[len(y) :],
    "a transposed one": lambda y: y.transpose(0, -1).contiguous().transpose(0, -1),
}


@pytest.mark.usefixtures("each_backend")
class TestOutputs:
    @pytest.mark.parametrize("layout", LAYOUTS)
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize(
        ("shape", "axis"),
        [((6, 5), 1), ((3, 4, 5), 2), ((3, 4, 5), 1), ((2, 5, 3, 3), 1), ((2, 4, 3, 5), 3),
         ((5, 3, 3), 0), ((40, 700), 1)],
    )  # fmt: skip
    def test_every_shape_and_order(
        self, layout: str, dtype: torch.dtype, shape: tuple[int, ...], axis: int
    ) -> None:
        torch.manual_seed(0)
        units = torch.arange(shape[axis]).view([-1 if d == axis else 1 for d in range(len(shape))])
        first, second = (
            (torch.randn(shape, dtype=dtype) + 1).relu() * (units % 5 != k) for k in (0, 1)
        )
        second = second * (units % 3 != 0)
        ys = [LAYOUTS[layout](first), LAYOUTS[layout](second)]
        bounds = 0.25, 1.5
        totals = OutputTotals(1)
        for k in (1, 2):  # what an iteration leaves behind is not seen by the next
            for number, y in enumerate(ys[:k]):
                totals.add(0, y, axis, bounds, fresh=number == 0)
            [found] = totals.take()
            assert values(found) == pytest.approx(expected(ys[:k], axis, bounds), rel=1e-5)
        assert totals.take() == []

    @pytest.mark.parametrize("offset", [0.0, 3.0, -1e4, 1e6])
    @pytest.mark.parametrize("scale", [1e-20, 1.0, 1e15])
    def test_many_elements_far_from_zero(self, offset: float, scale: float) -> None:
        torch.manual_seed(0)
        y = (torch.randn(2**20, dtype=torch.float64) + offset).mul(scale).float()
        totals = OutputTotals(1)
        totals.add(0, y, fresh=True)
        [found] = totals.take()
        assert values(found) == pytest.approx(expected([y]), rel=1e-5, abs=scale * 1e-7)

    def test_nan_and_infinity_show(self) -> None:
        for bad in (torch.nan, torch.inf):
            totals = OutputTotals(2)
            y = torch.tensor([[1.0, bad, 0.0], [2.0, 3.0, 0.0]])
            totals.add(0, y, 1, (-1.0, 2.5), fresh=True)
            totals.add(1, torch.ones(3), fresh=True)
            [found] = totals.take()
            numbers = values(found)
            assert not np.isfinite(numbers["mean/0"])
            assert np.isnan(numbers["std/0"])
            assert numbers["dead_fraction/0"] == pytest.approx(1 / 3)
            assert numbers["saturated_fraction/0"] == pytest.approx((1 + (bad > 0)) / 6)
            assert (numbers["mean/1"], numbers["std/1"]) == (1.0, 0.0)

    @pytest.mark.parametrize(
        "make",
        [
            lambda y: y.bfloat16(), lambda y: y.half(), lambda y: (y * 9).int(), lambda y: y > 0,
            lambda y: torch.complex(y, y), lambda y: torch.complex(y, y).conj().imag,
            lambda y: nn.Parameter(y),
        ],
    )  # fmt: skip
    def test_other_kinds_of_numbers(self, make: Any) -> None:
        y = make(torch.randn(6, 5))
        totals = OutputTotals(1)
        totals.add(0, y, fresh=True)
        [found] = totals.take()
        real = y.detach().abs() if y.is_complex() else y.detach().resolve_neg()
        assert values(found) == pytest.approx(expected([real]), rel=1e-5)

    def test_batches_of_different_sizes(self) -> None:
        ys = [torch.eye(3, 5), torch.eye(2, 5) * 7, torch.eye(3, 5).roll(2, 1)]
        totals = OutputTotals(1)
        for number, y in enumerate(ys):
            totals.add(0, y, 1, (-1.0, 2.0), fresh=number == 0)
        [found] = totals.take()
        truth = expected([torch.cat(ys)], 1, (-1.0, 2.0))
        assert truth["dead_fraction/0"] == 0.0
        assert values(found) == pytest.approx(truth, rel=1e-5)

    def test_what_has_no_elements_says_nothing(self) -> None:
        totals = OutputTotals(1)
        totals.add(0, torch.empty(0, 4), 1, fresh=True)
        assert totals.take() == []


@pytest.mark.usefixtures("each_backend")
class TestOddTensors:
    @pytest.mark.parametrize("name", READABLE)
    def test_right_numbers(self, name: str) -> None:
        it, totals = odd(name), OutputTotals(1)
        assert it.numbers is not None
        totals.add(0, it.tensor, fresh=True)
        [found] = totals.take()
        numbers = it.numbers.abs() if it.numbers.is_complex() else it.numbers
        assert values(found) == pytest.approx(expected([numbers]), rel=1e-5, abs=1e-7)

    # A lazy parameter has no elements, and says nothing.
    @pytest.mark.parametrize("name", [name for name in UNREADABLE if name != "lazy"])
    def test_a_refusal_that_says_why(self, name: str) -> None:
        totals = OutputTotals(2)
        totals.add(0, torch.tensor([1.0, 3.0]), fresh=True)
        with pytest.raises(UnreadableError):
            totals.add(1, odd(name).tensor, fresh=True)
        [found] = totals.take()
        assert values(found) == {"mean/0": 2.0, "std/0": 1.0}


@pytest.mark.slow
def test_sixteen_million_elements() -> None:
    """`activations.std` was off by 6e-4 here."""
    y = torch.randn(2**24) + 3
    totals = OutputTotals(1)
    totals.add(0, y, fresh=True)
    [found] = totals.take()
    assert values(found) == pytest.approx(expected([y]), rel=1e-6)


def device_totals(y: Tensor) -> TorchTotals:
    totals = TorchTotals()
    for fresh in (True, False):
        totals.add(0, y, 1, (-1.0, 1.0), fresh)
    totals.add(1, y, None, None, True)
    return totals


def test_on_a_device_nothing_is_read() -> None:
    y = torch.randn(4, 3, device="meta")
    with Operators() as operators:
        found = device_totals(y).take()
    assert found is not None
    assert operators.seen
    assert not operators.seen & READS


def test_on_a_device_the_host_finishes_several_steps_together() -> None:
    """The versions for devices, on this one."""
    steps = [torch.randn(4, 3).relu() for _ in range(3)]
    found = [device_totals(y).take() for y in steps]
    finish = found[0].finish  # type: ignore[union-attr]
    assert finish is not None
    parts = zip(*(one.parts for one in found if one is not None), strict=True)
    together = finish(*(torch.stack(part).numpy() for part in parts))
    assert together.shape == (3, 6)
    for one, row, y in zip(found, together, steps, strict=True):
        assert one is not None
        assert one.keys == ((0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (0, 3))
        truth = expected([y, y], 1, (-1.0, 1.0))
        mean, std, *others = truth.values()
        assert row == pytest.approx([mean, std, mean, std, *others], rel=1e-5)
    assert device_totals(steps[0]).take() is not None


def test_the_same_layout_keeps_its_function() -> None:
    """So that the writer's thread can finish many steps in one call."""
    totals = TorchTotals()
    found = []
    for _ in range(2):
        totals.add(0, torch.randn(4), None, None, True)
        found.append(totals.take())
    assert found[0].keys is found[1].keys  # type: ignore[union-attr]
    assert found[0].finish is found[1].finish  # type: ignore[union-attr]
