"""The loss of an evaluation: that of the whole set, and none where nobody may call it."""

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events, create_supervised_evaluator, create_supervised_trainer
from torch import Tensor, nn
from torch.nn import functional as F

from trainkit import attach_monitors
from trainkit.handlers.monitors.losses import LossMonitor
from trainkit.handlers.output.known_losses import known_losses
from trainkit.losses import L2, EntropyBonus, Losses
from trainkit.writers import MemoryWriter

SIZES = (9, 1, 4)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed)) * 2


def randint(high: int, *shape: int) -> Tensor:
    return torch.randint(0, high, shape, generator=generator(1))


def evaluated(
    loss_fn: Any, outputs: list[Any], tag: str = "loss/total", **more: Any
) -> float | None:
    """What an evaluation with these outputs, one per batch, writes."""
    writer, trainer = MemoryWriter(), Engine(lambda e, b: None)
    evaluator = Engine(lambda e, b: b)
    monitor = LossMonitor(writer, loss_fn=loss_fn, trainer=trainer, **more)
    monitor.attach(evaluator)
    evaluator.run(outputs)
    assert monitor.guard.failure is None, monitor.guard.failure
    found = writer.scalars.get(tag)
    return None if found is None else float(found[-1][1])


def batches(y_pred: Tensor, y: Tensor) -> list[tuple[Tensor, Tensor]]:
    return list(zip(y_pred.split(SIZES), y.split(SIZES), strict=True))


n = sum(SIZES)
w = torch.tensor([0.25, 1.0, 3.0, 0.5])
x, classes, values = randn(n, 4), randint(4, n), randn(n, 4, seed=2)
tokens, words = randn(n, 4, 6), randint(4, n, 6)
words[:9, 2:] = 0  # most of the first batch is padding
binary = randint(2, n, 4).float()
p = x.softmax(1)
rates = randint(5, n, 4).float()

LOSSES: list[tuple[Callable[..., Tensor], Tensor, Tensor]] = [
    (nn.CrossEntropyLoss(), x, classes),
    (nn.CrossEntropyLoss(weight=w), x, classes),
    (nn.CrossEntropyLoss(ignore_index=0), tokens, words),
    (nn.CrossEntropyLoss(weight=w, ignore_index=0, label_smoothing=0.2), tokens, words),
    (nn.CrossEntropyLoss(label_smoothing=0.2), x, classes),
    (nn.CrossEntropyLoss(reduction="sum", ignore_index=1), tokens, words),
    (nn.CrossEntropyLoss(), x, values.softmax(1)),
    (nn.CrossEntropyLoss(weight=w, label_smoothing=0.1), x, values.softmax(1)),
    (nn.NLLLoss(weight=w), x.log_softmax(1), classes),
    (nn.NLLLoss(ignore_index=0), tokens.log_softmax(1), words),
    (nn.BCEWithLogitsLoss(), x, binary),
    (nn.BCEWithLogitsLoss(pos_weight=w, weight=w.flip(0)), x, binary),
    (nn.BCEWithLogitsLoss(reduction="sum"), x, binary),
    (nn.MultiLabelSoftMarginLoss(weight=w), x, binary),
    (nn.BCELoss(), x.sigmoid(), binary),
    (nn.BCELoss(weight=w), x.sigmoid(), binary),
    (nn.MSELoss(), x, values),
    (nn.MSELoss(reduction="sum"), x, values),
    (nn.L1Loss(), x, values),
    (nn.SmoothL1Loss(beta=0.5), x, values),
    (nn.HuberLoss(delta=2.0), x, values),
    (nn.KLDivLoss(), x.log_softmax(1), values.softmax(1)),
    (nn.KLDivLoss(reduction="batchmean"), x.log_softmax(1), values.softmax(1)),
    (nn.KLDivLoss(log_target=True), x.log_softmax(1), values.log_softmax(1)),
    (nn.PoissonNLLLoss(full=True), x, rates),
    (nn.PoissonNLLLoss(log_input=False), x.exp(), rates),
    (nn.SoftMarginLoss(), x, binary * 2 - 1),
    (F.cross_entropy, x, classes),
    (partial(F.cross_entropy, weight=w, ignore_index=2), x, classes),
    (partial(F.nll_loss, ignore_index=0), tokens.log_softmax(1), words),
    (partial(F.binary_cross_entropy_with_logits, pos_weight=w), x, binary),
    (partial(F.mse_loss, reduction="sum"), x, values),
    (partial(F.huber_loss, delta=0.5), x, values),
    (F.l1_loss, x, values),
]


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
@pytest.mark.parametrize(("loss_fn", "y_pred", "y"), LOSSES)
@pytest.mark.parametrize("returned", [False, True])
def test_the_loss_of_an_evaluation_is_that_of_the_whole_set(
    loss_fn: Callable[..., Tensor], y_pred: Tensor, y: Tensor, returned: bool
) -> None:
    outputs: list[Any] = batches(y_pred, y)
    if returned:  # by the evaluator, as a number for each batch
        outputs = [{"loss": loss_fn(a, b), "y_pred": a, "y": b} for a, b in outputs]
    expected = loss_fn(y_pred, y)
    assert evaluated(loss_fn, outputs) == pytest.approx(float(expected), rel=2e-6)


def test_batches_of_nothing_but_padding_count_nothing() -> None:
    padding = torch.zeros(3, 6, dtype=torch.long)
    loss_fn = nn.CrossEntropyLoss(ignore_index=0)
    outputs = [(tokens[:3], padding), (tokens[3:], words[3:]), (tokens[:3], padding)]
    expected = pytest.approx(loss_fn(tokens[3:], words[3:]).item(), rel=2e-6)
    assert evaluated(loss_fn, outputs) == expected
    returned = [{"loss": loss_fn(a, b), "y_pred": a, "y": b} for a, b in outputs]
    assert returned[0]["loss"].isnan()
    assert evaluated(loss_fn, returned) == expected
    nothing = evaluated(loss_fn, outputs[:1])
    assert nothing != nothing  # NaN, as torch has it


@pytest.mark.parametrize("made_of_them", [None, "classes", "probabilities"])
def test_a_loss_that_is_returned_counts_tokens_whatever_the_predictions_became(
    made_of_them: str | None,
) -> None:
    weighted = nn.CrossEntropyLoss(weight=w, ignore_index=0)
    for loss_fn in (nn.CrossEntropyLoss(ignore_index=0), weighted):
        outputs = [{"loss": loss_fn(a, b), "y": b} for a, b in batches(tokens, words)]
        for output, part in zip(outputs, tokens.split(SIZES), strict=True):
            if made_of_them is not None:
                classes = made_of_them == "classes"
                output["y_pred"] = part.argmax(1) if classes else part.softmax(1)
        expected = loss_fn(tokens, words).item()
        assert evaluated(loss_fn, outputs) == pytest.approx(expected, rel=2e-6)


def test_elements_of_batches_of_several_shapes() -> None:
    lengths = (3, 11, 5)
    outputs = [(randn(2, t, seed=t), randn(2, t, seed=t + 20)) for t in lengths]
    flat = [torch.cat([pair[i].flatten() for pair in outputs]) for i in (0, 1)]
    expected = F.mse_loss(*flat).item()
    assert evaluated(nn.MSELoss(), outputs) == pytest.approx(expected, rel=2e-6)


@pytest.mark.parametrize("layout", ["last", "flat", "one"])
def test_classes_in_the_last_dimension(layout: str) -> None:
    y = words.reshape(-1) if layout == "flat" else words.unsqueeze(2) if layout == "one" else words
    output = {"y_pred": tokens.movedim(1, 2), "y": y}
    expected = nn.CrossEntropyLoss(ignore_index=0)(tokens, words).item()
    found = evaluated(nn.CrossEntropyLoss(ignore_index=0), [output])
    assert found == pytest.approx(expected, rel=2e-6)


def test_a_column_of_logits_and_a_vector_of_targets() -> None:
    logits, y = randn(n, 1), randint(2, n)
    expected = F.binary_cross_entropy_with_logits(logits[:, 0], y.float()).item()
    found = evaluated(nn.BCEWithLogitsLoss(), batches(logits, y))
    assert found == pytest.approx(expected, rel=2e-6)


def test_predictions_in_half_precision_are_widened_first() -> None:
    half = x.bfloat16()
    expected = nn.CrossEntropyLoss()(half.float(), classes).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = evaluated(nn.CrossEntropyLoss(), batches(half, classes))
    assert found == pytest.approx(expected, rel=2e-6)


def test_components_are_means_of_different_things_and_add_up() -> None:
    model = nn.Linear(2, 1)
    loss_fn = Losses(
        {
            "ce": {"weight": 2.0, "loss": nn.CrossEntropyLoss(ignore_index=0)},
            "smooth": nn.CrossEntropyLoss(label_smoothing=0.5),
            "bonus": {"weight": 0.1, "loss": EntropyBonus()},
            "l2": {"weight": 0.5, "loss": L2(model)},
        }
    )
    parts = {name: value.item() for name, value in loss_fn(tokens, words).items()}
    outputs = batches(tokens, words)
    returned = [
        {"loss": sum(loss_fn(a, b).values()), "losses": loss_fn(a, b), "y_pred": a, "y": b}
        for a, b in outputs
    ]
    for given in (outputs, returned):
        for name, value in parts.items():
            found = evaluated(loss_fn, given, f"loss/{name}")
            assert found == pytest.approx(value, rel=5e-6), name
        total = evaluated(loss_fn, given)
        assert total == pytest.approx(sum(parts.values()), rel=5e-6)


@pytest.mark.parametrize(
    ("loss_fn", "outputs", "why"),
    [
        (nn.CrossEntropyLoss(reduction="none"), batches(x, classes), "reduction='none'"),
        (nn.CrossEntropyLoss(), batches(classes, classes), "predictions are int64, class indices"),
        (nn.CrossEntropyLoss(), batches(x, classes + 1), "targets are no class index"),
        (nn.CrossEntropyLoss(), batches(x, values[:, 0]), "y must hold class indices"),
        (nn.CrossEntropyLoss(), batches(x, words), "one class index per prediction"),
        (nn.NLLLoss(), batches(x, classes), "cannot be log probabilities"),
        (nn.BCELoss(), batches(x, binary), "cannot be binary probabilities"),
        (nn.MSELoss(), batches(x[:, :1], values[:, 0]), "torch would broadcast"),
        (nn.CrossEntropyLoss(), batches(x.softmax(1), classes), "look like probabilities"),
        (nn.BCEWithLogitsLoss(), batches(x.sigmoid(), binary), "look like probabilities"),
        (nn.BCEWithLogitsLoss(), batches((x / 20).sigmoid(), binary), "look like probabilities"),
        (nn.CrossEntropyLoss(), batches(F.one_hot(classes, 4).float(), classes), "look like prob"),
    ],
)
def test_a_false_loss_is_left_out_with_one_line(
    loss_fn: nn.Module, outputs: list[Any], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert evaluated(loss_fn, outputs) is None
    (line,) = [r.getMessage() for r in caplog.records]
    assert why in line
    assert "\n" not in line


def test_what_only_happens_to_lie_between_0_and_1_is_a_loss() -> None:
    small = torch.rand(n, 4, generator=generator())
    expected = nn.CrossEntropyLoss()(small, classes).item()
    assert evaluated(nn.CrossEntropyLoss(), batches(small, classes)) == pytest.approx(expected)
    started = 0.05 + 0.02 * small  # a network that has not learned anything
    expected = nn.BCEWithLogitsLoss()(started, binary).item()
    assert evaluated(nn.BCEWithLogitsLoss(), batches(started, binary)) == pytest.approx(expected)
    few = [(torch.tensor([0.9]), torch.tensor([1.0]))]
    assert evaluated(nn.BCEWithLogitsLoss(), few) == pytest.approx(F.softplus(torch.tensor(-0.9)))
    shown = x.softmax(1)
    shown[0, 0] = torch.nan
    found = evaluated(nn.CrossEntropyLoss(), batches(shown, classes))
    assert found != found  # a NaN is shown, never hidden


class Noisy(nn.CrossEntropyLoss):
    def forward(self, y_pred: Tensor, y: Tensor) -> Tensor:
        return super().forward(y_pred + 0.1 * torch.randn_like(y_pred), y)


class Normalizing(nn.Module):
    """Keeps running statistics, in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.normalize = nn.BatchNorm1d(3)

    def forward(self, y_pred: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(self.normalize(y_pred), y)


class Balanced(nn.Module):
    """Weighs the classes by how often it has seen them."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.ones(3))

    def forward(self, y_pred: Tensor, y: Tensor) -> Tensor:
        self.seen += torch.bincount(y, minlength=3)
        return F.cross_entropy(y_pred, y, 1 / self.seen)


def counting() -> Callable[[Tensor, Tensor], Tensor]:
    calls = 0

    def loss_fn(y_pred: Tensor, y: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return F.cross_entropy(y_pred, y) * (1 + 0.1 * calls)

    return loss_fn


def hooked() -> nn.Module:
    loss_fn, calls = nn.CrossEntropyLoss(), []

    def hook(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        calls.append(1)
        return output * len(calls)

    loss_fn.register_forward_hook(hook)
    return loss_fn


class Calls:
    """Python's, NumPy's and torch's random numbers, and a count."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self, output: Any) -> Any:
        self.number += 1
        random.random()
        np.random.rand()
        torch.rand(3)
        return output


def weights(make: Callable[[], Any], watched: bool, transform: Any = None) -> list[Any]:
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    loss_fn = make()
    model = nn.Linear(4, 3)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    data = [(torch.randn(8, 4), torch.randint(0, 3, (8,)))] * 2

    def noise(x: Tensor) -> Tensor:
        return x + random.random() + float(np.random.rand()) + torch.rand(1)

    prepared = {"prepare_batch": lambda batch, **_: (noise(batch[0]), batch[1])}
    whole = isinstance(loss_fn, Losses)
    minimized = (lambda a, b: sum(loss_fn(a, b).values())) if whole else loss_fn
    trainer = create_supervised_trainer(model, sgd, minimized, **prepared)
    evaluator = create_supervised_evaluator(model)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(data))
    if watched:
        attach_monitors(
            trainer, model=model, optimizers=sgd, evaluators=evaluator, loss_fn=loss_fn,
            predictions="logits", output_transform=transform, writer=MemoryWriter(),
        )  # fmt: skip
    trainer.run(data, max_epochs=3)
    return [*model.weight.flatten().tolist(), random.random(), np.random.rand(), torch.rand(1)]


@pytest.mark.parametrize(
    "make",
    [Noisy, Normalizing, Balanced, counting, hooked, nn.CrossEntropyLoss,
     lambda: Losses({"noisy": Noisy(), "ce": nn.CrossEntropyLoss()})],
)  # fmt: skip
def test_a_loss_with_a_state_of_its_own_trains_the_same(make: Callable[[], Any]) -> None:
    calls = Calls()
    assert weights(make, watched=True, transform=calls) == weights(make, watched=False)
    # Once in an iteration, of the trainer and of the evaluator.
    assert calls.number == 12


def test_a_loss_that_says_it_is_pure_is_called_without_gradients() -> None:
    def loss_fn(y_pred: Tensor, y: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        return F.mse_loss(y_pred, y) * 3

    assert known_losses(loss_fn) is None
    triplet = nn.TripletMarginLoss()
    triplet.pure = True  # type: ignore[assignment]
    assert known_losses(triplet) is not None
    loss_fn.pure = True  # type: ignore[attr-defined]
    expected = F.mse_loss(x, values).item() * 3
    assert evaluated(loss_fn, batches(x, values)) == pytest.approx(expected, rel=2e-6)


@pytest.mark.parametrize(
    "loss_fn",
    [
        Noisy(), Balanced(), hooked(), counting(), nn.TripletMarginLoss(), None, "mse",
        lambda y_pred, y: F.mse_loss(y_pred, y), partial(F.mse_loss, weight=w),
        partial(F.cross_entropy, torch.zeros(3, 4)), Losses({"own": counting()}),
        torch.nn.utils.parametrize.type_before_parametrizations,
    ],
)  # fmt: skip
def test_what_is_not_known_is_not_known(loss_fn: Any) -> None:
    assert known_losses(loss_fn) is None


def test_a_subclass_does_not_inherit_the_promise() -> None:
    class Own(Losses):
        pass

    class Bonus(EntropyBonus):
        pass

    assert known_losses(Own({"mse": nn.MSELoss()})) is None
    assert known_losses(Bonus()) is None
    assert known_losses(EntropyBonus()) is not None
    replaced = nn.MSELoss()
    replaced.forward = lambda y_pred, y: y_pred.sum()  # type: ignore[method-assign, assignment]
    assert known_losses(replaced) is None


def test_batches_count_their_samples_where_nothing_else_tells() -> None:
    """`{"loss", "logits"}`, batches of 9 and 1."""
    for output in (
        lambda e, b: {"loss": b.mean(), "logits": b},
        lambda e, b: {"loss": b.mean(), "features": b},
        lambda e, b: {"loss": b.mean()},
        lambda e, b: b.mean(),
        lambda e, b: (b.mean(), b),
        lambda e, b: {"batch loss": b.mean().item(), "n": len(b)},
    ):
        writer, trainer, evaluator = MemoryWriter(), Engine(lambda e, b: None), Engine(output)
        LossMonitor(writer, trainer=trainer).attach(evaluator)
        evaluator.run([torch.zeros(9), torch.ones(1)])
        assert writer.scalars["loss/total"] == [(0, pytest.approx(0.1))]
