"""Precision, recall and ROC against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import precision_score, recall_score, roc_auc_score

from trainkit.stats.outputs.score_counts import (
    PR_THRESHOLDS,
    ScoreCounts,
    area_under_roc,
    precision_recall,
    roc_rates,
    thresholds,
)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_every_threshold_has_the_precision_and_recall_of_scikit_learn() -> None:
    x, y = 2 * draw(300), torch.arange(300) % 2
    x = x + y
    p = x.sigmoid()
    p[:3] = torch.tensor([0.0, 1.0, 0.25])  # on a threshold: reached
    parts = [
        ScoreCounts.of(p[i : i + 70], y[i : i + 70].float(), kind="binary_probabilities")
        for i in range(0, 300, 70)
    ]
    counts = sum(parts[1:], start=parts[0]).counts.numpy()
    found = precision_recall(counts[:, 0])
    assert found.dtype == np.float32
    assert found.shape == (6, PR_THRESHOLDS)
    for i, threshold in enumerate(np.linspace(0, 1, PR_THRESHOLDS).astype(np.float32)):
        taken = p.numpy() >= threshold
        of = {"zero_division": 1.0}
        assert found[4, i] == pytest.approx(precision_score(y, taken, **of)), threshold
        assert found[5, i] == pytest.approx(recall_score(y, taken)), threshold
        assert found[0, i] == (taken & (y.numpy() == 1)).sum()
        assert found[1, i] == (taken & (y.numpy() == 0)).sum()
        assert found[2, i] == (~taken & (y.numpy() == 0)).sum()
        assert found[3, i] == (~taken & (y.numpy() == 1)).sum()


def test_the_area_of_each_class_against_the_others() -> None:
    x, y = draw(500, 5) + 2 * torch.nn.functional.one_hot(torch.arange(500) % 5), None
    y = torch.arange(500) % 5
    counts = ScoreCounts.of(x, y).counts.numpy()
    p = x.softmax(1).numpy()
    expected = [roc_auc_score(y == c, p[:, c]) for c in range(5)]
    assert area_under_roc(counts) == pytest.approx(expected, abs=2e-3)


def test_scores_of_a_sure_network_are_told_apart() -> None:
    """Nearly all scores are above 0.9999: thresholds of equal distance would see one value."""
    y = torch.arange(400) % 2
    x = 11 + draw(400) + 2 * y
    counts = ScoreCounts.of(x, y.float(), kind="binary_logits").counts.numpy()
    expected = roc_auc_score(y, x)
    assert 0.7 < expected < 0.95
    assert area_under_roc(counts)[0] == pytest.approx(expected, abs=5e-3)


def test_curves_begin_and_end_at_the_corners_and_a_missing_class_has_none() -> None:
    counts = ScoreCounts.of(draw(20, 3), torch.arange(20) % 2).counts.numpy()
    false_positive, true_positive = roc_rates(counts)
    assert (false_positive[:2, 0], true_positive[:2, 0]) == (pytest.approx(0), pytest.approx(0))
    assert (false_positive[:2, -1], true_positive[:2, -1]) == (pytest.approx(1), pytest.approx(1))
    assert np.isfinite(area_under_roc(counts)).tolist() == [True, True, False]
    assert precision_recall(counts[:, 2])[5].tolist() == [0.0] * PR_THRESHOLDS


def test_nan_and_ignored_targets_are_in_no_count() -> None:
    p = torch.tensor([0.5, torch.nan, 0.7, 0.9])
    y = torch.tensor([1, 1, 0, 1])
    found = ScoreCounts.of(p, y, kind="binary_probabilities", ignore_index=0)
    assert (found.counts.sum().item(), found.lost.item()) == (2, 1)


def test_thresholds_ascend_and_hold_those_of_the_curve() -> None:
    found = thresholds()
    assert (found[0], found[-1]) == (0, 1)
    assert (np.diff(found) > 0).all()
    assert np.isin(np.linspace(0, 1, PR_THRESHOLDS).astype(np.float32), found).all()


def test_many_scores_are_counted_part_by_part() -> None:
    """Pictures whose every pixel has a class: more scores than are counted at once."""
    x, y = draw(3, 3, 600, 700), torch.randint(0, 3, (3, 600, 700))
    keep = y.flatten() != 0
    p = x.softmax(1).movedim(1, -1).reshape(-1, 3)[keep]
    flat = ScoreCounts.of(p, y.flatten()[keep], kind="probabilities")
    assert x.numel() > 1 << 21
    assert ScoreCounts.of(x, y, ignore_index=0).counts.equal(flat.counts)
