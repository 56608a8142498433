"""What an engine's step returned, in all the forms people return it."""

from collections import OrderedDict, namedtuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainkit.handlers.output import StepOutput, UnclearOutputError, as_step_output, with_loss

Named = namedtuple("Named", ["loss", "y_pred"])

y_pred, y = torch.zeros(8, 3, requires_grad=True) * 2, torch.ones(8, dtype=torch.long)
loss = torch.tensor(0.5, requires_grad=True) * 1


@pytest.mark.parametrize("output", [0.5, loss, loss.reshape(1), np.float32(0.5), np.float64(0.5)])
def test_a_number_is_the_loss(output: object) -> None:
    found = as_step_output(output)
    assert float(found.loss) == 0.5  # type: ignore[arg-type]
    if isinstance(found.loss, Tensor):
        assert found.loss.ndim == 0
        assert not found.loss.requires_grad


def test_the_contract() -> None:
    components = {"mse": loss, "l2": loss * 2}
    found = as_step_output(
        {"loss": loss * 3, "losses": components, "y_pred": y_pred, "y": y, "scalars": {"a/b": 1.0}}
    )
    assert float(found.loss) == 1.5  # type: ignore[arg-type]
    assert {name: float(value) for name, value in found.losses.items()} == {"mse": 0.5, "l2": 1.0}
    assert found.scalars == {"a/b": 1.0}
    assert found.batch_size == 8
    for tensor in (found.loss, found.y_pred, *found.losses.values()):
        assert not tensor.requires_grad  # type: ignore[union-attr]


def test_other_numbers_of_a_mapping_get_a_chart() -> None:
    found = as_step_output(OrderedDict(loss=0.5, accuracy=0.25, logits=y_pred, note="x", done=True))
    assert (found.loss, found.scalars) == (0.5, {"output/accuracy": 0.25})
    assert as_step_output({"errD": 1.0, "errG": 2.0}).scalars == {
        "output/errD": 1.0, "output/errG": 2.0,
    }  # fmt: skip


def test_components_alone_add_up_to_the_loss() -> None:
    assert as_step_output({"losses": {"a": 1.0, "b": 2.0}}).loss == 3.0
    assert as_step_output({"loss": {"a": 1.0, "b": 2.0}}).loss == 3.0


def test_tuples() -> None:
    found = as_step_output((y_pred, y))
    assert found.y_pred.data_ptr() == y_pred.data_ptr()
    assert found.y is y
    assert as_step_output((y_pred, y, {"weight": 1})).batch_size == 8
    assert as_step_output(Named(0.5, y_pred)).loss == 0.5
    assert as_step_output((0.5, loss)).scalars["output/0"] == 0.5
    assert as_step_output([0.5, 1.5]).loss is None
    one = as_step_output((torch.zeros(1), torch.ones(1)))  # a batch of one sample
    assert (one.y_pred.item(), one.y.item(), one.scalars) == (0.0, 1.0, {})


def test_nothing_is_nothing() -> None:
    assert as_step_output(None).loss is None
    assert as_step_output({}).batch_size == 1
    same = StepOutput(loss=1.0)
    assert as_step_output(same) is same


@pytest.mark.parametrize(
    "output",
    ["text", object(), (y_pred, 0.5), (y_pred, y, y), (y_pred, torch.ones(7)), y_pred, True],
)
def test_what_is_unclear_says_what_to_write(output: object) -> None:
    with pytest.raises(UnclearOutputError, match=r"output_transform=lambda output: \{\"loss\""):
        as_step_output(output)


def test_batch_size_from_targets_that_are_a_list() -> None:
    assert as_step_output({"y_pred": None, "y": [{}, {}, {}]}).batch_size == 3


def test_with_loss_computes_what_is_missing_and_nothing_else() -> None:
    calls = []

    def loss_fn(y_pred: Tensor, y: Tensor) -> dict[str, Tensor]:
        calls.append(1)
        assert not torch.is_grad_enabled()
        return {"a": nn.functional.cross_entropy(y_pred, y), "b": torch.tensor(1.0)}

    read = with_loss(loss_fn)
    found = read((y_pred, y))
    torch.testing.assert_close(found.loss, found.losses["a"] + 1)
    assert read({"loss": 1.0, "y_pred": y_pred, "y": y}).loss == 1.0
    assert read(None).loss is None
    assert len(calls) == 1
    assert with_loss(nn.CrossEntropyLoss(), lambda o: o["both"])({"both": (y_pred, y)}).loss > 0
