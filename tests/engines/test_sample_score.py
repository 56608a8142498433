import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from scipy.stats import entropy
from torch import Tensor, nn

from trainkit.data import Batches
from trainkit.engines import Judge, SampleScore


def blobs(n: int = 120) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    y = torch.arange(n) % 3
    return torch.randn(n, 2, generator=g) * 0.3 + 4 * torch.eye(3)[y, :2], y


def classifier() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 3))


def test_learns_the_real_data_the_same_whatever_the_random_state() -> None:
    x, y = blobs()
    batches = Batches(x, y, batch_size=16, shuffle=True)
    found = []
    for state in (1, 2):
        torch.manual_seed(state)
        before = torch.get_rng_state()
        judge = Judge(SimpleNamespace(train=batches), "cpu", classifier, epochs=60, batch_size=16)
        found.append(judge(x))
        assert torch.equal(judge(x), found[-1])
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(found[0], found[1])
    assert batches.epoch == 0  # the order of the training is what it was
    assert not found[0].requires_grad
    assert float((found[0].argmax(1) == y).double().mean()) > 0.97
    torch.testing.assert_close(found[0].sum(1), torch.ones(len(x)))


def test_takes_any_batches_of_pairs() -> None:
    x, y = blobs()
    pairs = list(zip(x.split(16), y.split(16), strict=True))
    judge = Judge(SimpleNamespace(train=pairs), torch.device("cpu"), classifier)
    whole = Judge(SimpleNamespace(train=Batches(x, y, batch_size=7)), "cpu", classifier)
    assert torch.equal(judge(x), whole(x))


def test_refuses() -> None:
    data = SimpleNamespace(train=[torch.zeros(2, 2)])
    with pytest.raises(ValueError, match=r"engine\.judge\.epochs must be 1 or more, got 0"):
        Judge(data, "cpu", classifier, epochs=0)
    with pytest.raises(ValueError, match=r"engine\.judge\.batch_size must be 1 or more, got 0"):
        Judge(data, "cpu", classifier, batch_size=0)
    with pytest.raises(TypeError, match="needs batches"):
        Judge(data, "cpu", classifier)(torch.zeros(2, 2))
    with pytest.raises(ValueError, match="must be one of confidence, classes, balance, got 'x'"):
        SampleScore("x", lambda: torch.zeros(1, 1))


def test_scores_against_scipy() -> None:
    g = torch.Generator().manual_seed(0)
    p = torch.softmax(torch.randn(500, 6, generator=g) * 3 + torch.arange(6) * 1.5, 1)
    chosen = [int(row.argmax()) for row in p]
    counts = [chosen.count(c) for c in range(6)]

    def score(name: str, **arguments: Any) -> float:
        return SampleScore(name, lambda: p, **arguments).compute()

    assert score("confidence") == pytest.approx(sum(max(row.tolist()) for row in p) / 500, rel=1e-6)
    assert score("balance") == pytest.approx(entropy(counts) / math.log(6), rel=1e-9)
    for least in (0.002, 0.01, 0.2):
        assert score("classes", least=least) == sum(c / 500 >= least for c in counts)
    assert min(counts) < 5  # a class that is seen, but not in a share of 0.01
    assert score("classes", least=0.002) > score("classes")


def test_extreme_samples() -> None:
    one, even = torch.eye(4)[[2, 2, 2]], torch.eye(4)
    assert [SampleScore(s, lambda: one).compute() for s in SampleScore.SCORES] == [1, 1, 0]
    assert [SampleScore(s, lambda: even).compute() for s in SampleScore.SCORES] == [1, 4, 1]
    bad = torch.tensor([[float("nan"), 1.0]])
    assert math.isnan(SampleScore("confidence", lambda: bad).compute())
