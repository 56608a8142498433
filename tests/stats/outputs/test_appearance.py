"""Whether predictions look like what they are said to be."""

from functools import reduce
from operator import add

import pytest
import torch
from torch import Tensor

from trainkit.stats.outputs.appearance import Appearance, looks_together
from trainkit.stats.outputs.classification import class_dimension


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 2


x, labels = randn(12, 4), (randn(12, 4, seed=1) > 0).float()
images = randn(3, 4, 5, 6)
index = torch.zeros(3, 5, 6, dtype=torch.long)
with_nan = x.softmax(1).index_fill(0, torch.tensor([0]), torch.nan)


@pytest.mark.parametrize(
    ("y_pred", "kind", "y", "wrong"),
    [
        (x, "logits", None, False),
        (x.softmax(1), "logits", None, True),
        (x.log_softmax(1), "logits", None, False),  # softmax of them is the same
        (x.softmax(1).half(), "logits", None, True),
        (x.softmax(1).bfloat16().float(), "logits", None, True),
        (x.log_softmax(1).bfloat16().float(), "log_probabilities", None, False),
        (torch.rand(12, 4), "logits", None, False),
        (torch.eye(4), "logits", None, True),
        (with_nan, "logits", None, False),
        (images.softmax(1), "logits", index, True),
        (images.softmax(1).movedim(1, -1), "logits", index, True),
        (x[:, :1], "logits", None, False),
        (x[:, :1].sigmoid(), "logits", None, True),
        (x, "binary_logits", labels, False),
        (x.sigmoid(), "binary_logits", labels, True),
        (x.sigmoid(), "binary_logits", None, True),
        (x.sigmoid()[:2, :3], "binary_logits", None, False),  # six may lie there by chance
        (0.5 + x / 1000, "binary_logits", labels, True),
        (0.05 + x / 1000, "binary_logits", labels, False),
        (x.log_softmax(1), "log_probabilities", None, False),
        (x, "log_probabilities", None, True),
        (x.softmax(1), "log_probabilities", None, True),
        (x.log_softmax(1).bfloat16(), "log_probabilities", None, False),
        (x.softmax(1), "probabilities", None, False),
        (x.softmax(1).bfloat16(), "probabilities", None, False),
        (x, "probabilities", None, True),
        (x.sigmoid(), "probabilities", None, True),
        (x.sigmoid()[:, 0], "probabilities", None, False),
        (x.sigmoid(), "binary_probabilities", None, False),
        (x, "binary_probabilities", None, True),
        (x[:0], "logits", None, False),
    ],
)
def test_what_cannot_be_what_it_is_said_to_be(
    y_pred: Tensor, kind: str, y: Tensor | None, wrong: bool
) -> None:
    found = Appearance.of(y_pred, kind, y)
    assert found.is_wrong().item() == wrong
    parts = y_pred.split(2)
    targets = [None] * len(parts) if y is None else y.split(2)
    if parts[0].numel():
        pairs = zip(parts, targets, strict=True)
        together = reduce(add, [Appearance.of(part, kind, target) for part, target in pairs])
        assert together.is_wrong().item() == wrong


def test_one_batch_that_fits_is_enough() -> None:
    """Of an evaluation: probabilities throughout are none where one batch has logits."""
    mixed = Appearance.of(x.softmax(1), "logits") + Appearance.of(x, "logits")
    assert mixed.is_wrong() == 0
    one = Appearance.of(x, "logits")
    assert looks_together(None, one) is looks_together(one, None) is one
    assert looks_together(None, None) is None


@pytest.mark.parametrize(
    ("shape", "y", "dimension"),
    [
        ((8, 3), (8,), 1),
        ((8, 3), None, 1),
        ((8,), None, None),
        ((3,), (), 0),
        ((8, 3, 5), (8, 5), 1),
        ((8, 5, 3), (8, 5), 2),
        ((8, 1, 3), (8, 1), 2),
        ((2, 4, 5, 3), (2, 4, 5), 3),
        ((2, 4, 4, 3), (2, 4, 4), 3),
        ((2, 3, 4, 5), (2, 1, 4, 5), 1),
        ((2, 4, 5, 3), (2, 4, 5, 1), 3),
        ((2, 3, 5, 3), (2, 3, 5, 1), 3),
        ((2, 4, 5, 3), (40,), 3),
        ((2, 3, 4, 5), (40,), 1),
        ((2, 4, 4, 4), (2, 4, 4), 1),  # any would fit
        ((2, 4, 5, 3), (2, 4, 5, 3), 1),  # one-hot: the convention
        ((2, 4, 5, 3), None, 1),
    ],
)
def test_where_the_classes_are(
    shape: tuple[int, ...], y: tuple[int, ...] | None, dimension: int | None
) -> None:
    found = class_dimension(torch.zeros(shape), None if y is None else torch.zeros(y))
    assert found == dimension
