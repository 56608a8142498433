"""Statistics of predictions never ask the device for a number, nor for a shape."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from trainkit.stats.cpu.loops import using, without_numba
from trainkit.stats.outputs.appearance import Appearance
from trainkit.stats.outputs.calibration import CalibrationTotals
from trainkit.stats.outputs.classification import ClassTotals
from trainkit.stats.outputs.confusion import confusion_counts
from trainkit.stats.outputs.even_sample import EvenSample
from trainkit.stats.outputs.loss_sums import FORMS, loss_sum
from trainkit.stats.outputs.probability import ProbabilityCounts
from trainkit.stats.outputs.regression import ValueTotals
from trainkit.stats.outputs.score_counts import ScoreCounts
from trainkit.stats.outputs.worst import worst_classes, worst_values

# Operators whose result on the host, or whose shape, depends on the data.
READS = {
    "_local_scalar_dense", "item", "is_nonzero", "nonzero", "masked_select", "unique_dim",
    "_unique2", "bincount", "equal",
}  # fmt: skip


class Operators(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.seen.add(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


X, Y = torch.randn(6, 4, 3), torch.randint(0, 4, (6, 3))


def classes() -> Tensor:
    totals = ClassTotals.of(X, Y, ignore_index=1) + ClassTotals.of(X, Y, ignore_index=1)
    return totals.shares() + totals.statistics()["entropy"]


def labels() -> Tensor:
    totals = ClassTotals.of(X, kind="binary_logits")
    return totals.shares()


def values() -> Tensor:
    totals = ValueTotals.of(X, X) + ValueTotals.of(X, X)
    return totals.statistics()["residuals/std"]


def probability() -> Tensor:
    counts = ProbabilityCounts.of(X, Y, ignore_index=1) + ProbabilityCounts.of(X, Y, ignore_index=1)
    return counts.edges()


def reliability() -> Tensor:
    totals = CalibrationTotals.of(X, Y, ignore_index=1) + CalibrationTotals.of(X, Y, ignore_index=1)
    return torch.stack(list(totals.statistics().values()))


def pictures() -> Tensor:
    about = {"ignore_index": 1}
    confusion = confusion_counts(X, Y, **about) + confusion_counts(X, Y, **about)
    scores = ScoreCounts.of(X, Y, **about) + ScoreCounts.of(X, Y, **about)
    pairs = EvenSample.of(X, most=3) + EvenSample.of(X, most=3)
    first, second = (worst_classes(X[:, :, 0], Y[:, 0], X, most=2) for _ in range(2))
    values = worst_values(X[:, 0, 0], X[:, 1, 0], X)
    assert first is not None
    assert second is not None
    assert values is not None
    parts = (confusion, scores.counts, pairs.rows, (first + second).found, values.found)
    return torch.cat([part.flatten().double() for part in parts])


def losses() -> Tensor:
    known = {"weight": torch.rand(4), "ignore_index": 1, "label_smoothing": 0.1}
    found = loss_sum("cross_entropy", X, Y, **known) + loss_sum("nll", X, Y, ignore_index=1)
    for form in FORMS.keys() - {"cross_entropy", "nll"}:
        found = found + loss_sum(form, X, X.sigmoid())
    return torch.as_tensor(found.total)


def appearance() -> Tensor:
    kinds = ("logits", "log_probabilities", "probabilities", "binary_logits")
    return torch.stack(
        [(Appearance.of(X, k, Y) + Appearance.of(X, k, Y)).is_wrong() for k in kinds]
    )


@pytest.fixture(autouse=True)
def _as_on_a_device() -> Iterator[None]:
    """In main memory compiled loops count predictions, with no operator to be seen here."""
    with using(without_numba()):
        yield


@pytest.mark.parametrize(
    "measure", [classes, labels, values, probability, reliability, pictures, losses, appearance]
)
def test_no_operator_reads_the_device(measure: Callable[[], Tensor]) -> None:
    with Operators() as operators:
        measure()
    assert len(operators.seen) > 5
    assert not operators.seen & READS


def test_the_check_would_see_a_read() -> None:
    with Operators() as operators:
        X.sum().item()
    assert operators.seen & READS
