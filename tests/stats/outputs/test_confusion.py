"""The confusion matrix against counting by hand."""

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix

from trainkit.stats.outputs.confusion import confusion_counts


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_counts_are_those_of_a_loop_and_of_scikit_learn() -> None:
    x, y = draw(60, 4), torch.arange(60) % 4
    by_hand = np.zeros((4, 4), int)
    for row, target in zip(x.numpy(), y.tolist(), strict=True):
        by_hand[target, row.argmax()] += 1
    found = confusion_counts(x[:23], y[:23]) + confusion_counts(x[23:], y[23:])
    assert found.tolist() == by_hand.tolist()
    assert found.tolist() == confusion_matrix(y, x.argmax(1)).tolist()


def test_ignored_and_impossible_targets_do_not_count() -> None:
    x, y = draw(8, 3), torch.tensor([0, 1, 2, -100, 7, 1, 0, 2])
    rows = torch.tensor([0, 1, 2, 6, 7])
    expected = confusion_matrix(y[rows], x[rows].argmax(1), labels=[0, 1, 2])
    assert confusion_counts(x, y, ignore_index=1).sum() == 4
    keep = y.ne(1) & y.ge(0) & y.lt(3)
    ignoring = confusion_matrix(y[keep], x[keep].argmax(1), labels=[0, 1, 2])
    assert confusion_counts(x, y, ignore_index=1).tolist() == ignoring.tolist()
    assert confusion_counts(x, y).sum() == len(rows) + 1
    assert expected.sum() == len(rows)


@pytest.mark.parametrize("kind", ["binary_logits", "binary_probabilities"])
def test_yes_or_no(kind: str) -> None:
    x, y = draw(20, 1), (torch.arange(20) % 3 == 0).float()[:, None]
    y_pred = x if kind == "binary_logits" else x.sigmoid()
    found = confusion_counts(y_pred, y, kind=kind)
    assert found.tolist() == confusion_matrix(y[:, 0], x[:, 0] > 0).tolist()


def test_text_counts_every_character() -> None:
    x, y = draw(2, 5, 7), torch.arange(14).view(2, 7) % 5
    found = confusion_counts(x, y)
    assert found.tolist() == confusion_matrix(y.flatten(), x.argmax(1).flatten()).tolist()
