"""A number of samples is what the user would call it."""

from collections import UserDict
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_sequence

from trainkit.samples import samples_in, samples_of

X, Z, Y = torch.zeros(32, 3), torch.zeros(32, 5), torch.zeros(32)
IMAGE = torch.zeros(3, 8, 8)


@dataclass
class Pair:
    scale: float
    x: Tensor
    y: Tensor


class Graphs:
    """Like PyTorch Geometric's `Batch`: nodes of all graphs in one tensor."""

    num_graphs = 32
    x = torch.zeros(700, 4)


class Encoding(UserDict[str, Tensor]):
    """Like a tokenizer's `BatchEncoding`: a mapping that looks attributes up in its items."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self.data[name]
        except KeyError as error:
            raise AttributeError(name) from error


class Awkward:
    @property
    def batch_size(self) -> int:
        raise RuntimeError("not known yet")


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        (X, 32),
        (torch.tensor(1.0), None),
        ((X, Y), 32),
        ([X, Y], 32),
        (((X, Z), Y), 32),
        (((X, X), Y), 32),
        (((X, X), (Y, Y)), 32),
        ([[X, Z], Y], 32),
        (((X,), (Y,)), 32),
        ((X, X, X), 32),  # anchor, positive, negative
        ((torch.zeros(32, 3, 8, 8),) * 5, 32),
        ((torch.tensor(0.5), X, Y), 32),
        ((0.5, X), 32),
        ((None, X), 32),
        ([{"x": torch.zeros(3)}] * 32, 32),
        (({"x": torch.zeros(3)},) * 2, 2),
        ([{"x": torch.zeros(3), "y": 1}] * 2, 2),
        ([{"image": IMAGE, "label": torch.tensor(1)}] * 32, 32),
        (({"x": X, "z": Z}, {"a": Y, "b": Y}), 32),
        (({"a": X, "b": Z}, {"a": Y, "b": Y}), 32),  # heads named like inputs
        ({"x": X, "y": Y}, 32),
        ({"scale": torch.tensor(0.5), "x": X}, 32),
        ({"scale": 0.5, "name": "train", "x": X, "y": Y}, 32),
        ({"weight": torch.ones(3), "x": X, "y": Y}, 32),
        ({"inputs": {"a": X, "b": Z}, "targets": {"y": Y}}, 32),
        ({"text": ["a"] * 32, "label": Y}, 32),
        (["a"] * 32, 32),
        ("abc", None),
        ((["a", "b", "c"], [0, 1, 1]), 3),
        ((("a", "b", "c"), (0, 1, 1)), 3),
        ([0, 1, 2, 1], 4),
        ([(torch.zeros(3), 1)] * 32, 32),
        ([(torch.zeros(3), torch.tensor(1))] * 32, 32),
        ([("a text", 1)] * 32, 32),
        ([torch.zeros(n, 4) for n in (5, 7, 9)], 3),  # sequences of several lengths
        (tuple(torch.zeros(n, 4) for n in range(5, 13)), 8),
        ((torch.zeros(64, 3), torch.zeros(8, 3)), 64),  # columns, whatever they are
        ([IMAGE] * 32, 32),
        (([IMAGE] * 32, [{"boxes": torch.zeros(2, 4)}] * 32), 32),
        (((IMAGE,) * 32, ({"boxes": torch.zeros(2, 4)},) * 32), 32),
        ((tuple([IMAGE] * 2), tuple([{"boxes": torch.zeros(2, 4)}] * 2)), 2),
        ((tuple([IMAGE] * 32), Y), 32),
        (pack_sequence([torch.zeros(n, 4) for n in (9, 7, 5)]), 3),
        ((pack_sequence([torch.zeros(n, 4) for n in (9, 7, 5)]), torch.zeros(3)), 3),
        (Graphs(), 32),
        ((Graphs(), Y), 32),
        (SimpleNamespace(batch_size=32), 32),
        (SimpleNamespace(batch_size=torch.Size([32, 4])), 32),
        (Encoding(input_ids=X, attention_mask=X), 32),
        (Pair(0.5, X, Y), 32),
        (np.zeros((32, 3)), 32),
        ((np.zeros((32, 3)), np.zeros(32)), 32),
        (torch.zeros(32, 3).to_sparse(), 32),
        (Awkward(), None),
        (object(), None),
        (None, None),
        ((), None),
        ({}, None),
        (3, None),
        ((3, 4), None),
        ([X], 32),
        (({"x": X}, X), 32),
    ],
)  # fmt: skip
def test_samples_in(batch: Any, expected: int | None) -> None:
    assert samples_in(batch) == expected


def test_of_predictions_and_targets() -> None:
    assert samples_of(X, Y[:4]) == 4  # the target tells first
    assert samples_of(X, None) == 32
    assert samples_of({"a": X, "b": Z}, {"a": Y, "b": Y}) == 32
    assert samples_of(torch.tensor(1.0), None) == 1


def test_nested_tensors() -> None:
    jagged = torch.nested.nested_tensor([torch.zeros(n, 4) for n in (2, 5, 3)], layout=torch.jagged)
    assert samples_in((jagged, torch.zeros(3))) == 3
