"""The sink that is the example of how to write one: what it wrote, read back."""

import json
import math
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine

from tests.writers.reading import raw_scalars
from trainkit import BackgroundWriter, JsonLinesSink, Scalars, attach_monitors, open_writer
from trainkit.writers import Curve, Point, subrun


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    writer, curve = BackgroundWriter(JsonLinesSink(path)), Curve(("loss/total",))
    for step in (1, 2, 3):
        writer.write_scalars(step, Point(curve, (1.0 / step,)))
        if step == 2:
            numbers = torch.tensor([math.inf, 0.1], dtype=torch.float64)
            writer.write_scalars(step, Scalars(("a", "b"), numbers))
            writer.write_texts(step, {"note": "größer"})
            writer.write_hparams(step, {"lr": 0.1, "amsgrad": True})
    subrun(writer, "validation").write_scalars(3, {"loss/total": math.nan})
    writer.close()
    other = [line for line in lines(path) if "validation/loss/total" in line["scalars"]]
    run = [line for line in lines(path) if "validation/loss/total" not in line["scalars"]]
    merged: dict[int, dict[str, float]] = {}
    for line in run:
        merged.setdefault(line["step"], {}).update(line["scalars"])
    assert merged == {
        1: {"loss/total": 1.0},
        2: {"loss/total": 0.5, "a": math.inf, "b": 0.1},
        3: {"loss/total": 1 / 3},
    }
    assert [line["step"] for line in run] == sorted(line["step"] for line in run)
    (noted,) = (line for line in run if line["texts"])
    assert noted["texts"] == {"note": "größer"}
    assert noted["hparams"] == {"lr": 0.1, "amsgrad": True}
    assert [line["step"] for line in other] == [3]
    assert math.isnan(other[0]["scalars"]["validation/loss/total"])


def test_beside_the_event_file_it_gets_the_same_numbers(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    writer = open_writer(tmp_path, sinks=[JsonLinesSink(path)])
    for step in range(20):
        writer.write_scalars(step, {"a": torch.tensor(float(step))})
    writer.close()
    found = [(line["step"], line["scalars"]["a"]) for line in lines(path)]
    assert found == raw_scalars(tmp_path)["a"] == [(step, float(step)) for step in range(20)]


def test_a_file_that_cannot_be_written_for_a_while_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "later" / "run.jsonl"
    writer = BackgroundWriter(JsonLinesSink(path))
    for step in range(5):
        writer.write_scalars(step, {"a": step})
    writer.flush()
    assert isinstance(writer.failing, FileNotFoundError)
    path.parent.mkdir()
    writer.close()
    assert [(line["step"], line["scalars"]) for line in lines(path)] == [
        (step, {"a": float(step)}) for step in range(5)
    ]


def test_it_stands_wherever_a_writer_may_stand(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(engine: Engine, batch: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss: torch.Tensor = (model(batch) ** 2).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss.detach()

    trainer = Engine(step)
    evaluator = Engine(lambda engine, batch: {"loss": batch.mean()})
    path = tmp_path / "run.jsonl"
    with attach_monitors(
        trainer, model=model, optimizers=optimizer, evaluators=evaluator, predictions=None,
        writer=JsonLinesSink(path),
    ) as attached:  # fmt: skip
        trainer.run([torch.ones(4, 2)] * 3)
        evaluator.run([torch.ones(4, 2)])
        assert not attached.failures
    found: dict[str, list[int]] = {}
    for line in lines(path):
        for tag in line["scalars"]:
            found.setdefault(tag, []).append(line["step"])
    assert found["loss/total"] == found["gradients/global_norm"] == [1, 2, 3]
    assert found["validation/loss/total"] == [3]
