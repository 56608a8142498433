"""Sinks of a run: they get what the event files get, and their faults end nothing."""

import json
import math
import re
import signal
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.cli.project import call, project
from tests.writers.reading import raw_scalars
from trainkit import BackgroundWriter, Batches, Data, PrometheusSink, Step, TrainerSettings, run
from trainkit.training.run_sinks import check_sinks
from trainkit.training.sinks import json_lines, wandb
from trainkit.writers.sinks.service_sink import ServiceSink

__all__ = ["project"]  # a fixture

PARTS = ("train", "validation", "test")


class Recorded:
    """Keeps what it gets; fails where it is told to."""

    def __init__(self, fails: str = "") -> None:
        self.fails = fails
        self.steps: list[Step] = []
        self.closed = 0
        if fails == "open":
            raise ConnectionError("nobody is there")

    def write(self, steps: Sequence[Step]) -> None:
        if self.fails == "write":
            raise ConnectionError("nobody listens")
        self.steps += steps

    def flush(self) -> None:
        if self.fails == "flush":
            raise ConnectionError("nobody flushes")

    def close(self) -> None:
        self.closed += 1
        if self.fails == "close":
            raise ConnectionError("nobody closes")


def trained(folder: Path, **options: Any) -> Any:
    torch.manual_seed(0)
    x = torch.randn(48, 3)
    y = x.sum(1, keepdim=True)
    batches = partial(Batches, x, y, batch_size=16)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 1))
    return run(
        model=model, data=Data(batches(shuffle=True), batches(), batches()),
        loss=torch.nn.MSELoss(), optimizer=torch.optim.SGD(model.parameters(), lr=0.01),
        trainer=TrainerSettings(epochs=3, device="cpu", progress_bar=False), directory=folder,
        **options,
    )  # fmt: skip


def test_a_sink_gets_what_the_event_files_get_and_is_closed_once(tmp_path: Path) -> None:
    sink = Recorded()
    trained(tmp_path / "run", sinks={"mine": sink})
    assert sink.closed == 1
    found: dict[str, list[tuple[int, float]]] = {}
    for step in sink.steps:
        for tag, value in step.scalars.items():
            found.setdefault(tag, []).append((step.step, value))
    for part in PARTS:
        for tag, points in raw_scalars(tmp_path / "run" / part).items():
            theirs = [(s, float(np.float32(v))) for s, v in found.pop(f"{part}/{tag}")]
            ours = [(p[0], float(p[-1])) for p in points]
            np.testing.assert_equal(sorted(theirs), sorted(ours))
    assert not found
    hparams = [step.hparams for step in sink.steps if step.hparams]
    assert len(hparams) == 1
    assert hparams[0]["trainer.epochs"] == 3


@pytest.mark.parametrize("when", ["open", "write", "flush", "close"])
def test_a_sink_that_fails_changes_nothing_of_the_training(tmp_path: Path, when: str) -> None:
    quiet = trained(tmp_path / "quiet")
    other = Recorded()
    result = trained(tmp_path / "run", sinks={"bad": partial(Recorded, fails=when), "good": other})
    assert result.status == "completed"
    facts = json.loads((tmp_path / "run" / "run.json").read_text())["monitoring"]
    told = {**facts["disabled"], **facts["unwritten"]}
    assert told.keys() == {"sinks.bad"}
    assert "ConnectionError" in told["sinks.bad"]
    for key, value in quiet.models["model"].state_dict().items():
        assert torch.equal(value, result.models["model"].state_dict()[key])
    assert other.steps
    assert other.closed == 1
    log = (tmp_path / "run" / "run.log").read_text()
    assert "sinks.bad" in log
    assert "ConnectionError" in log
    assert (
        raw_scalars(tmp_path / "run" / "train").keys()
        == raw_scalars(tmp_path / "quiet" / "train").keys()
    )


def test_a_service_gets_each_step_once_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainkit.writers.outage.FIRST_PAUSE", 0.01)
    sent: list[Step] = []
    refused, ended = set(), []

    def send(step: Step) -> None:
        if len(sent) % 5 == 3 and len(sent) not in refused:
            refused.add(len(sent))
            raise ConnectionError("not now")
        sent.append(step)

    trained(tmp_path / "run", sinks={"x": partial(ServiceSink, "x", send, ended.append)})
    assert len(refused) > 2
    assert sent[0].hparams
    assert ended == [True]
    for part in PARTS:
        losses = [
            (step.step, float(np.float32(step.scalars[f"{part}/loss/total"])))
            for step in sent
            if f"{part}/loss/total" in step.scalars
        ]
        theirs = raw_scalars(tmp_path / "run" / part)["loss/total"]
        assert losses == [(point[0], point[-1]) for point in theirs]


def test_signals_stay_those_of_the_run(tmp_path: Path) -> None:
    def open_sink() -> Recorded:  # as ClearML does
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return Recorded()

    heard = signal.getsignal(signal.SIGTERM)
    seen = []
    trained(
        tmp_path / "run", sinks={"x": partial(open_sink)},
        handlers={"look": lambda: seen.append(signal.getsignal(signal.SIGTERM))},
    )  # fmt: skip
    assert seen
    assert signal.SIG_IGN not in seen
    assert signal.getsignal(signal.SIGTERM) is heard


def test_a_sink_that_does_not_close_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainkit.training.run_sinks.PATIENCE", 0.2)
    hangs, over = Recorded(), threading.Event()
    monkeypatch.setattr(hangs, "close", over.wait)
    try:
        result = trained(tmp_path / "run", sinks={"hangs": hangs})
    finally:
        over.set()
    assert result.status == "completed"
    assert "did not return within 0.2 seconds" in result.disabled["sinks.hangs"]


def test_two_sinks_are_chosen_in_a_config(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = call(
        capsys, "run", "model=mlp", "trainer.max_iterations=3", "trainer.progress_bar=false",
        "sinks=[json_lines,prometheus]", "hydra.run.dir=run",
    )  # fmt: skip
    assert done.status == 0, done.err
    lines = (project / "run" / "series.jsonl").read_text().splitlines()
    losses = [
        (row["step"], row["scalars"]["train/loss/total"])
        for row in map(json.loads, lines)
        if "train/loss/total" in row["scalars"]
    ]
    assert [step for step, _ in losses] == [1, 2, 3]
    text = (project / "run" / "metrics.prom").read_text()
    assert (
        f'trainkit_train_loss_total{{run="run",tag="train/loss/total"}} {losses[-1][1]!r}' in text
    )
    assert "trainkit_step" in text


def test_lines_of_iterations_that_come_again_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "series.jsonl"
    path.write_text('{"step": 1}\n{"step": 4}\n{"step": 5}\n{"step": 2}\n{"st')
    json_lines(tmp_path, resumed_at=5)
    assert path.read_text() == '{"step": 1}\n{"step": 4}\n{"step": 2}\n'
    json_lines(tmp_path, resumed_at=0)
    assert path.read_text().count("\n") == 3
    for file in ("../x.jsonl", "..", "run.json"):
        with pytest.raises(ValueError, match=rf"name of a file .* got '{re.escape(file)}'"):
            json_lines(tmp_path, file=file)


def test_what_is_no_sink_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"sinks\.x must be a sink, got"):
        trained(tmp_path / "run", sinks={"x": 3})
    with pytest.raises(TypeError, match=r"sinks\.x: .*needs fails_at"):
        trained(tmp_path / "run", sinks={"x": partial(_needs, fails=1)})
    assert not (tmp_path / "run").exists()


def test_a_file_that_is_not_ours_is_refused_early(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"sinks\.x\.file must be .* got 'run\.json'"):
        trained(tmp_path / "run", sinks={"x": partial(json_lines, file="run.json")})
    assert not (tmp_path / "run").exists()


def test_a_package_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainkit.training.run_sinks.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"sinks\.w needs the package wandb.*pip install wandb"):
        check_sinks({"w": partial(wandb)})


def test_prometheus_reads_every_value(tmp_path: Path) -> None:
    path = tmp_path / "run.prom"
    writer = BackgroundWriter(PrometheusSink(path, {"run": 'a "b"\\\n'}))
    values = {"a/b": 1e-30, "a_b": 2.0, "n": math.nan, "i": math.inf, "j": -math.inf}
    writer.write_scalars(3, values)
    writer.write_scalars(4, {"a/b": 0.25, "tensors.weights.norm/w": 1.0})
    writer.close()
    lines = path.read_text().splitlines()
    samples, seen = {}, []
    for line in lines:
        if line.startswith("# TYPE "):
            seen.append(line.split()[2])
            continue
        name, labels, number = re.fullmatch(
            r'([a-zA-Z_:][a-zA-Z0-9_:]*)\{((?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)+)\} (\S+)', line
        ).groups()  # type: ignore[union-attr]
        assert name == seen[-1]  # all samples of a metric stand together
        assert r'run="a \"b\"\\\n"' in labels
        samples[re.findall(r'tag="(.*?)"', labels)[0] if "tag=" in labels else ""] = float(number)
    assert len(seen) == len(set(seen))
    np.testing.assert_equal(samples, {**values, "a/b": 0.25, "": 4.0})
    assert [each.name for each in tmp_path.iterdir()] == ["run.prom"]
    with pytest.raises(ValueError, match="labels must be letters"):
        PrometheusSink(path, {"a-b": "x"})


def _needs(fails_at: int, fails: int) -> None:
    raise AssertionError
