"""What an engine's step returned, in all the forms people return it."""

from collections import OrderedDict, UserDict, namedtuple
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from trainkit.handlers.output.as_step_output import StepOutput, UnclearOutputError, as_step_output
from trainkit.handlers.output.transform_hint import transform_for

Named = namedtuple("Named", ["loss", "y_pred"])
Key = Enum("Key", {"PRED": "pred", "LABEL": "label", "LOSS": "loss"})

y_pred, y = torch.zeros(8, 3, requires_grad=True) * 2, torch.ones(8, dtype=torch.long)
x, pixels, mask = torch.zeros(8, 5), torch.zeros(8, 3, 4, 4), torch.ones(8, 4, 4, dtype=torch.long)
loss = torch.tensor(0.5, requires_grad=True) * 1
samples = [
    {"pred": torch.full((2, 4), float(i)), "label": torch.tensor(i), "image": pixels[i]}
    for i in range(8)
]


@dataclass
class Output:
    loss: Tensor
    logits: Tensor
    hidden_states: Any = None


class Subclass(Tensor):
    """As MONAI's images are."""


def subclassed(tensor: Tensor) -> Tensor:
    return tensor.as_subclass(Subclass)


# The output; then what is read: the loss, the components, the charts, predictions, targets.
TABLE: dict[str, tuple[Any, float | None, dict[str, float], dict[str, float], Any, Any]] = {
    "nothing": (None, None, {}, {}, None, None),
    "create_supervised_trainer": (0.5, 0.5, {}, {}, None, None),
    "a tensor": (loss, 0.5, {}, {}, None, None),
    "a tensor of one element": (loss.reshape(1), 0.5, {}, {}, None, None),
    "NumPy's number": (np.float32(0.5), 0.5, {}, {}, None, None),
    "an array of one element": (np.array(0.5), 0.5, {}, {}, None, None),
    "a fraction": (Fraction(1, 2), 0.5, {}, {}, None, None),
    "a decimal": (Decimal("0.5"), 0.5, {}, {}, None, None),
    "create_supervised_evaluator": ((y_pred, y), None, {}, {}, y_pred, y),
    "a pair as a list": ([y_pred, y], None, {}, {}, y_pred, y),
    "a pair of one sample": ((x[:1, 0], x[:1, 1]), None, {}, {}, x[:1, 0], x[:1, 1]),
    "targets first": ((y, y_pred), None, {}, {}, y_pred, y),
    "masks first": ((mask, pixels), None, {}, {}, pixels, mask),
    "for a metric with keywords": ((y_pred, y, {"k": 1}), None, {}, {}, y_pred, y),
    "y_pred, y, loss": ((y_pred, y, loss), 0.5, {}, {}, y_pred, y),
    "loss, y_pred, y": ((0.5, y_pred, y), 0.5, {}, {}, y_pred, y),
    "y_pred, loss, y": ((y_pred, loss, y), 0.5, {}, {}, y_pred, y),
    "loss, y, y_pred": ((loss, y, y_pred), 0.5, {}, {}, y_pred, y),
    "loss and logits": ((loss, y_pred), 0.5, {}, {}, y_pred, None),
    "loss and metrics": ((loss, {"acc": 1}), 0.5, {}, {"output/acc": 1}, None, None),
    "two losses": ((0.5, loss), None, {}, {"output/0": 0.5, "output/1": 0.5}, None, None),
    "a list of numbers": ([1, 2.5], None, {}, {"output/0": 1, "output/1": 2.5}, None, None),
    "a loss alone in a tuple": ((loss,), 0.5, {}, {}, None, None),
    "a loss alone in a list": ([0.5], 0.5, {}, {}, None, None),
    "heads": (
        {"loss": 1, "logits": {"a": y_pred, "b": x}, "labels": {"a": y, "b": {"c": y}}}, 1, {}, {},
        None, None,
    ),
    "the contract": (
        {"loss": 3, "losses": {"a": loss, "b": 2.5}, "scalars": {"s/t": 1}, "y_pred": x, "y": y},
        3, {"a": 0.5, "b": 2.5}, {"s/t": 1}, x, y,
    ),
    "Ignite: CIFAR10": ({"batch loss": 0.5}, 0.5, {}, {}, None, None),
    "Ignite: ImageNet": ({"supervised batch loss": loss}, 0.5, {}, {}, None, None),
    "Ignite: text classification": (
        {"batch loss": 0.5, "batch lr": 1e-3}, 0.5, {}, {"output/batch lr": 1e-3}, None, None,
    ),
    "Ignite: DCGAN": (
        {"errD": 1.5, "errG": 2.0, "D_x": 0.5, "D_G_z1": 0.25, "D_G_z2": 0.75}, None, {},
        {"output/errD": 1.5, "output/errG": 2, "output/D_x": 0.5, "output/D_G_z1": 0.25,
         "output/D_G_z2": 0.75}, None, None,
    ),
    "Ignite: CycleGAN": (
        {"loss_generators": 1, "loss_discriminators": 2}, None, {},
        {"output/loss_generators": 1, "output/loss_discriminators": 2}, None, None,
    ),
    "Ignite: VAE": ({"x_pred": x, "x": x, "mu": x, "logvar": x}, None, {}, {}, None, None),
    "Ignite: segmentation": ({"y_pred": pixels, "y": mask}, None, {}, {}, pixels, mask),
    "GAN in capitals": (
        {"Loss_G": 1, "Loss_D": 2}, None, {}, {"output/Loss_G": 1, "output/Loss_D": 2}, None, None,
    ),
    "a total among losses": (
        {"content_loss": 1, "style_loss": 2, "total_loss": 3}, 3, {},
        {"output/content_loss": 1, "output/style_loss": 2}, None, None,
    ),
    "train_loss": ({"train_loss": 0.5, "ntokens": 7}, 0.5, {}, {"output/ntokens": 7}, None, None),
    "a loss scale is no loss": ({"loss_scale": 4}, None, {}, {"output/loss_scale": 4}, None, None),
    "MONAI: SupervisedTrainer": (
        {"image": pixels, "label": mask, "pred": pixels, "loss": loss}, 0.5, {}, {}, pixels, mask,
    ),
    "MONAI: SupervisedEvaluator": (
        {"image": pixels, "label": mask, "pred": pixels}, None, {}, {}, pixels, mask,
    ),
    "MONAI: decollated": (
        samples, None, {}, {}, torch.stack([s["pred"] for s in samples]), torch.arange(8),
    ),
    "MONAI: decollated, with the loss": (
        [s | {"loss": loss} for s in samples], 0.5, {}, {},
        torch.stack([s["pred"] for s in samples]), torch.arange(8),
    ),
    "enumerated keys": (
        {Key.LOSS: loss, Key.PRED: x, Key.LABEL: y}, 0.5, {}, {}, x, y,
    ),
    "HF: ModelOutput": (OrderedDict(loss=loss, logits=y_pred), 0.5, {}, {}, y_pred, None),
    "HF: without labels": ({"loss": None, "logits": y_pred}, None, {}, {}, y_pred, None),
    "HF: a batch that came back": (
        UserDict(input_ids=y, labels=y, logits=y_pred, loss=loss), 0.5, {}, {}, y_pred, y,
    ),
    "a dataclass": (Output(loss, y_pred), 0.5, {}, {}, y_pred, None),
    "a named tuple": (Named(0.5, y_pred), 0.5, {}, {}, y_pred, None),
    "preds and targets": ({"preds": y_pred, "targets": y}, None, {}, {}, y_pred, y),
    "output and target": ({"output": y_pred, "target": y, "loss": 1}, 1, {}, {}, y_pred, y),
    "predictions and labels": ({"predictions": y_pred, "labels": y}, None, {}, {}, y_pred, y),
    "y_hat and y_true": ({"y_hat": y_pred, "y_true": y}, None, {}, {}, y_pred, y),
    "an output that is a number": ({"output": 0.5}, None, {}, {"output/output": 0.5}, None, None),
    "a mapping under loss": ({"loss": {"a": 1, "b": 2}}, 3, {"a": 1, "b": 2}, {}, None, None),
    "losses in a list": ({"losses": [1, loss]}, 1.5, {"0": 1, "1": 0.5}, {}, None, None),
    "losses that are one": ({"losses": loss}, 0.5, {}, {}, None, None),
    "nested components": (
        {"losses": {"a": {"x": 1.0, "y": loss}, "b": 3}}, 4.5, {"a/x": 1, "a/y": 0.5, "b": 3}, {},
        None, None,
    ),
    "nested charts": (
        {"loss": 1, "loss_dict": {"ce": 0.5, "aux": {"kl": 0.25}}}, 1, {},
        {"output/loss_dict/ce": 0.5, "output/loss_dict/aux/kl": 0.25}, None, None,
    ),
    "vectors": (
        {"loss": 1, "dice": torch.tensor([0.5, 0.25]), "iou": np.array([1, 2]), "t": (1, 2)}, 1, {},
        {"output/dice/0": 0.5, "output/dice/1": 0.25, "output/iou/0": 1, "output/iou/1": 2,
         "output/t/0": 1, "output/t/1": 2}, None, None,
    ),
    "bools": (
        {"loss": 1, "done": True, "nan": np.bool_(False)}, 1, {},
        {"output/done": 1, "output/nan": 0}, None, None,
    ),
    "data are no charts": (
        {"loss": 1, "image": pixels, "names": ["a", "b"], "note": "x", "w": torch.zeros(8),
         "long": torch.zeros(65), "none": None, "y_pred": x}, 1, {}, {}, x, None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_what_people_return(name: str) -> None:
    output, total, losses, scalars, predictions, targets = TABLE[name]
    found = as_step_output(output)
    assert (None if found.loss is None else float(found.loss)) == total
    assert {key: float(value) for key, value in found.losses.items()} == losses
    assert {key: float(value) for key, value in found.scalars.items()} == scalars
    for part, expected in zip(found.pair(), (predictions, targets), strict=True):
        if expected is None:
            assert part is None
        else:
            assert torch.equal(part, expected)
            assert not part.requires_grad
    for number in (found.loss, *found.losses.values(), *found.scalars.values()):
        assert number is None or isinstance(number, float) or number.ndim == 0
        assert not isinstance(number, Tensor) or not number.requires_grad
    assert found.left_out == {}
    if predictions is not None:
        assert found.batch_size == len(predictions)


def test_nothing_is_copied_of_a_batch() -> None:
    found = as_step_output((y_pred, y))
    assert found.y_pred.data_ptr() == y_pred.data_ptr()
    assert found.y is y
    same = StepOutput(loss=1.0)
    assert as_step_output(same) is same


def test_samples_of_a_subclass_are_plain_tensors_together() -> None:
    output = [{"pred": subclassed(torch.zeros(3)), "label": 1} for _ in range(4)]
    stacked, targets = as_step_output(output).pair()
    assert type(stacked) is Tensor
    assert stacked.shape == (4, 3)
    assert targets.tolist() == [1, 1, 1, 1]
    ragged = [{"pred": torch.zeros(n)} for n in (2, 3)]
    assert isinstance(as_step_output(ragged).pair()[0], list)
    assert as_step_output(ragged).batch_size == 2


@pytest.mark.parametrize(
    ("output", "left_out", "total"),
    [
        ({"losses": {"a": 1.0, "box": torch.tensor([2.0, 3.0])}}, "loss component 'box'", None),
        ({"losses": {"a": {"x": torch.zeros(8, 2)}, "b": 3.0}}, "loss component 'a/x'", None),
        ({"loss": 3.0, "losses": {"total": 1.0, "x": 2.0}}, "loss component 'total'", 3.0),
        ({"losses": {"total": 3.0, "x": 2.0, "z": 1.0}}, "loss component 'total'", None),
        ({"losses": {"a": {"b": 1.0}, "a/b": 2.0}}, "loss component 'a/b'", None),
        ({"losses": {"a": 1.0, "b": True}}, "loss component 'b'", None),
        ({"losses": {"a": 1.0, "b": 1j}}, "loss component 'b'", None),
        ({"loss": torch.zeros(8)}, "loss/total", None),
        ({"loss": 1.0, "z": 1 + 2j}, "output/z", 1.0),
        ({"loss": 1.0, "z": torch.tensor(1j)}, "output/z", 1.0),
        ({"loss": 1.0, "many": list(range(65))}, "output/many", 1.0),
        ({"loss": 1.0, "huge": 10**400}, "output/huge", 1.0),
        ({"loss": 1.0, "thing": object()}, "output/thing", 1.0),
        ({"loss": 1.0, "deep": {"a": {"b": {"c": {"d": {"e": 1}}}}}}, "output/deep/a/b/c/d", 1.0),
        ({"loss": 1.0, "images": dict.fromkeys(range(257), 0.5)}, "output/images", 1.0),
    ],
)
def test_what_cannot_be_drawn_is_left_out_by_name(
    output: Any, left_out: str, total: float | None
) -> None:
    found = as_step_output(output | {"fine": Fraction(1, 4)})
    assert left_out in found.left_out
    assert found.loss == total
    assert found.scalars["output/fine"] == 0.25
    assert set(found.losses) <= {"a", "b", "x", "z", "a/b"}
    assert (total is None) == ("loss/total" in found.left_out)


def test_the_elements_of_a_component_that_is_a_vector_get_charts() -> None:
    found = as_step_output({"losses": {"a": 1.0, "box": torch.tensor([2.0, 3.0])}})
    assert found.losses == {"a": 1.0}
    assert {k: float(v) for k, v in found.scalars.items()} == {"loss/box/0": 2, "loss/box/1": 3}


@pytest.mark.parametrize(
    "output",
    ["text", object(), (y_pred, 0.5), (y_pred, y, y), (y_pred, torch.ones(7)), y_pred, True,
     (1.0, "x", y_pred, y), [0.5] * 65],
)  # fmt: skip
def test_what_is_unclear_says_what_to_return(output: object) -> None:
    with pytest.raises(UnclearOutputError, match="return a dict with 'loss', 'y_pred' and 'y'"):
        as_step_output(output)


@pytest.mark.parametrize(
    ("output", "total", "predictions", "targets"),
    [
        ((y_pred, 0.5), 0.5, y_pred, None),
        (y_pred, None, y_pred, None),
        ((x, y, y_pred), None, y_pred, y),
        ((x, y_pred, y), None, y_pred, y),
        ((x, y, y_pred, loss), 0.5, y_pred, y),
        ({"errD": 1.5, "acc": 0.5}, 1.5, None, None),
        ({"acc": 0.5, "my_nll": 1.5}, 1.5, None, None),
        ({"loss_D": 1.5, "loss_G": 2.0}, 3.5, None, None),
        ({"loss_scale": 1024.0, "objective": 1.5}, 1.5, None, None),
        ({"recon_loss": 1.5, "loss": 2.0}, 2.0, None, None),
        ({"scores": y_pred, "teacher": x, "truth": y}, None, y_pred, y),
        ({"image": pixels, "z": y_pred, "classes": y}, None, y_pred, y),
        (SimpleNamespace(loss=loss, scores=y_pred), 0.5, y_pred, None),
    ],
)
def test_the_transform_of_a_hint_works_when_it_is_pasted(
    output: Any, total: float | None, predictions: Any, targets: Any
) -> None:
    hint = transform_for(output)
    assert hint is not None
    found = as_step_output(eval(hint)(output))
    assert (None if found.loss is None else float(found.loss)) == total
    for part, expected in ((found.y_pred, predictions), (found.y, targets)):
        assert (part is None) == (expected is None)
        assert part is None or torch.equal(part, expected)
    if not isinstance(output, Mapping):
        with pytest.raises(UnclearOutputError) as error:
            as_step_output(output)
        assert f"output_transform={hint}" in str(error.value)


@pytest.mark.parametrize(
    "output",
    ["text", object(), None, {"acc": 1.0, "lr": 0.1}, {"reals": x, "fakes": x}, {"z1": x, "z2": x},
     {"image_embeds": x, "text_embeds": x}, {"student": x, "teacher": x}, {"reward": 1, "len": 2}],
)  # fmt: skip
def test_no_hint_where_nothing_would_do(output: object) -> None:
    assert transform_for(output) is None


def test_the_batch_size_where_only_the_batch_tells() -> None:
    found = as_step_output({"loss": 0.5})
    assert found.batch_size == 1
    found.batch = (torch.zeros(5, 2), torch.zeros(5))
    assert found.batch_size == 5
    assert as_step_output({"loss": 0.5, "features": torch.zeros(3, 2)}).batch_size == 3
    assert as_step_output({"y_pred": None, "y": [{}, {}, {}]}).batch_size == 3


def test_a_vector_with_a_number_per_sample_gets_no_charts() -> None:
    output = {"loss": 0.5, "score": torch.zeros(4), "dice": torch.zeros(3)}
    charts = {f"output/dice/{i}" for i in range(3)}
    assert as_step_output(output, (torch.zeros(4, 2), torch.zeros(4))).scalars.keys() == charts
    assert as_step_output(output | {"z": torch.zeros(4, 2)}).scalars.keys() == charts
    assert as_step_output(output).scalars.keys() == charts | {f"output/score/{i}" for i in range(4)}


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (torch.tensor(1.5, requires_grad=True), 1.5),
        (torch.nn.Parameter(torch.tensor([1.5])), 1.5),
        (torch.tensor(1.5).bfloat16(), 1.5),
        (torch.tensor(1.5).to(torch.float8_e4m3fn), 1.5),
        (torch.tensor(3, dtype=torch.uint16), 3.0),
        (torch.complex(torch.tensor(0.0), torch.tensor(1.5)).conj().imag, -1.5),
        (subclassed(torch.tensor(1.5)), 1.5),
        (np.float16(1.5), 1.5),
        (np.int64(3), 3.0),
        (np.array(1.5), 1.5),
        (2**70, 2.0**70),
        (torch.zeros((), device="meta"), None),
        (torch.zeros(2, device="meta"), None),
        (torch.tensor(1j), None),
        (np.complex64(1), None),
        (np.array(["x"]), None),
        (np.datetime64("2020"), None),
    ],
)
def test_odd_numbers_cost_themselves_at_most(value: Any, number: float | None) -> None:
    found = as_step_output({"loss": 0.5, "odd": value})
    assert found.loss == 0.5
    if number is None:
        assert set(found.left_out) == {"output/odd"}
    else:
        assert float(found.scalars["output/odd"]) == number
        assert found.left_out == {}


def test_predictions_that_cannot_be_read_are_left_out_by_name() -> None:
    found = as_step_output({"loss": 0.5, "y_pred": torch.zeros(4, 3, device="meta"), "y": y[:4]})
    assert found.pair()[0] is None
    assert "meta" in found.left_out["y_pred"]
    assert (found.loss, found.batch_size) == (0.5, 4)
