"""What the log says is pasted into the call, and works."""

import re
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from trainkit import MemoryWriter, attach_monitors
from trainkit.handlers.output.transform_hint import transform_for


def run(
    step_returns: str, evaluator_returns: str, loss_known: bool = True, **more: Any
) -> tuple[MemoryWriter, Any]:
    """Train, with engines that return what these expressions say."""
    torch.manual_seed(0)
    model, loss_fn = nn.Linear(4, 3), nn.CrossEntropyLoss()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    data, held_out = ([(torch.randn(8, 4), torch.randint(0, 3, (8,)))] * 2 for _ in range(2))

    def step(engine: Engine, batch: Any) -> Any:
        (x, y), y_pred = batch, model(batch[0])
        loss = loss_fn(y_pred, y)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        return eval(step_returns, {}, {"x": x, "y": y, "p": y_pred, "loss": loss})

    def evaluate(engine: Engine, batch: Any) -> Any:
        with torch.no_grad():
            (x, y), y_pred = batch, model(batch[0])
            return eval(evaluator_returns, {}, {"x": x, "y": y, "p": y_pred})

    trainer, evaluator = Engine(step), Engine(evaluate)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(held_out))
    writer = MemoryWriter()
    with attach_monitors(
        trainer, model=model, optimizers=sgd, loss_fn=loss_fn if loss_known else None,
        evaluators=evaluator, writer=writer, **more,
    ) as attached:  # fmt: skip
        trainer.run(data, max_epochs=2)
        assert attached.failures == {}
    return writer, attached


@pytest.mark.parametrize(
    ("step_returns", "evaluator_returns", "lines"),
    [
        ("(x, y, p, loss)", "(x, y, p)", 2),
        ("(p, loss)", "(p, y)", 1),
        ("{'my': loss, 'scores': p, 'truth': y}", "{'scores': p, 'truth': y}", 2),
        ("{'objective': loss, 'y_pred': p, 'y': y, 'lr': 0.1}", "(p, y)", 1),
        ("{'loss': loss, 'scores': p, 'truth': y}", "(p, y)", 1),
        (
            "{'loss': loss, 'logits': {'a': p, 'b': x}, 'labels': {'a': y, 'b': y}}",
            "{'logits': {'a': p, 'b': x}, 'labels': {'a': y, 'b': y}}",
            2,
        ),
    ],
)
def test_one_line_for_an_engine_and_what_it_says_works(
    step_returns: str, evaluator_returns: str, lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    run(step_returns, evaluator_returns)
    said = [r.getMessage() for r in caplog.records if r.name == "trainkit"]
    assert len(said) == lines
    found = [
        re.search(r"output_transform=(\{'\w+': lambda output: .*?\}\})", line) for line in said
    ]
    transforms: dict[str, Any] = {}
    for match in found:
        assert match is not None
        transforms |= eval(match.group(1))
    caplog.clear()
    writer, _ = run(step_returns, evaluator_returns, output_transform=transforms)
    assert not caplog.records
    tags = {"loss/total", "predictions/entropy"}
    assert tags <= writer.scalars.keys()
    of_evaluator = writer.subruns["validation"].scalars
    assert tags | {"predictions/overconfidence"} <= of_evaluator.keys()


def test_nothing_is_said_where_all_is_understood(caplog: pytest.LogCaptureFixture) -> None:
    for step_returns, evaluator_returns in (
        ("{'loss': loss, 'y_pred': p, 'y': y}", "(p, y)"),
        ("(loss, p, y)", "(y, p)"),
        ("(p, y, loss.item())", "[{'pred': a, 'label': b} for a, b in zip(p, y)]"),
        ("{'batch loss': loss, 'logits': p, 'labels': y, 'lr': 0.1, 'x': x}",
         "{'preds': p, 'targets': y}"),
    ):  # fmt: skip
        writer, _ = run(step_returns, evaluator_returns)
        assert {"loss/total", "predictions/entropy"} <= writer.scalars.keys()
        found = writer.subruns["validation"].scalars
        assert {"loss/total", "predictions/entropy"} <= found.keys()
    assert not caplog.records


@pytest.mark.parametrize(
    ("step_returns", "evaluator_returns", "line"),
    [
        # Without a loss function, one line for all that it is needed for.
        ("loss.item()", "(p, y)", "predictions are left out, and so is the loss of evaluators"),
        ("{'loss': loss, 'logits': p}", "(p, y)", "predictions are left out, and so is the loss"),
        # Nothing about predictions where there are none; which of several losses is not guessed.
        ("{'g_loss': loss, 'd_loss': loss, 'reals': x, 'fakes': p}", "None",
         "loss/total is left out: the engine's output has several losses and no total, g_loss, d_"),
        ("{'policy_loss': loss, 'value_loss': loss, 'total_loss': loss}", "None", ""),
        ("{'loss': loss, 'z1': p, 'z2': p}", "None", ""),
    ],
)  # fmt: skip
def test_as_few_lines_as_there_are_causes(
    step_returns: str, evaluator_returns: str, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    run(step_returns, evaluator_returns, loss_known=False)
    said = [r.getMessage() for r in caplog.records if r.name == "trainkit"]
    said = [one for one in said if not one.startswith("validation: loss/total is left out: the e")]
    assert [one[: len(line)] for one in said] == [line] * bool(line)


def test_components_are_made_of_several_losses() -> None:
    step_returns = "{'a_loss': loss, 'b_loss': 2 * loss}"
    hint = transform_for({"a_loss": 1.0, "b_loss": 2.0, "reward": 3.0}, ("loss",))
    assert hint is not None
    writer, _ = run(step_returns, "None", output_transform={"trainer": eval(hint)})
    of = {tag: [value for _, value in points] for tag, points in writer.scalars.items()}
    assert of["loss/total"] == pytest.approx([3 * value for value in of["loss/a_loss"]])
    assert of["loss/b_loss"] == pytest.approx([2 * value for value in of["loss/a_loss"]])
