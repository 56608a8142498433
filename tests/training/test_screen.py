"""What a run shows: on terminals of two widths, and in a pipe."""

import re
from functools import partial
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine
from ignite.metrics import Accuracy, ConfusionMatrix
from torch import Tensor, nn

from tests.screen.terminal import rendered, terminal
from tests.training.parts import FULL, QUIET, cases, go, network
from trainkit.data import Batches, Data
from trainkit.settings import CheckpointSettings, TrainerSettings
from trainkit.training.pace import Pace
from trainkit.training.progress import Progress

SHOWN = TrainerSettings(epochs=3)


def rows(lines: list[str]) -> list[str]:
    return [line for line in lines if re.match(r" *\d+/\d+ ", line)]


def columns_of(lines: list[str], row: str) -> dict[str, str]:
    """`change` → the cell of a row: what stands under that title, by position."""
    titles = next(line for line in lines if re.match(r" *epoch +", line))
    found, start = {}, 0
    for title in re.finditer(r"\S+", titles):
        found[title[0]] = row[start : title.end()].strip()
        start = title.end()
    return found


@pytest.mark.parametrize("width", [80, 200])
def test_on_a_terminal(width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("trainkit.training.progress.REDRAWN_EVERY", 0.0)
    with terminal(monkeypatch, width) as screen:
        result = go(tmp_path / "r", trainer=SHOWN)
    text = screen.wait()
    assert "\x1b[32m" in text, "in colours"
    assert "it/s" in text, "with a bar"
    lines = [line.rstrip("\r") for line in rendered(text)]
    assert not any("it/s" in line for line in lines), "which is gone in the end"
    assert max(map(len, lines)) <= width
    shown = rows(lines)
    assert [row.split()[0] for row in shown] == ["1/3", "2/3", "3/3"]
    for row, values in zip(shown, result.history, strict=True):
        cells = columns_of(lines, row)
        assert cells["time"].endswith("s")
        assert cells["best"] in ("*", "")
        if width == 200:
            l2 = [values["train/loss/l2"], values["validation/loss/l2"]]
            assert [float(cell) for cell in row.split()[-2:]] == pytest.approx(l2, rel=1e-3)
    last = columns_of(lines, shown[-1])
    before, after = result.history[-2]["validation/loss"], result.history[-1]["validation/loss"]
    assert before is not None
    assert after is not None
    assert float(last["change"]) == pytest.approx(after - before, rel=0.01)
    assert float(re.split(r" +", shown[-1].strip())[3]) == pytest.approx(
        result.history[-1]["train/loss"], rel=1e-3
    )
    told = "\n".join(lines)
    assert ("too narrow for" in told) == (width == 80)
    for title in ("folder      r", "device ", "data ", "model ", "dashboard ", "ended ", "last ",
                  "test ", "saved ", "next "):  # fmt: skip
        assert any(line.startswith(title) for line in lines), title
    assert "104 samples (7 batches of 16)" in told
    assert "83 parameters, all trainable: 0 40, 1 16, 4 27" in told


def test_several_rows_in_an_epoch_show_the_iteration_and_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with terminal(monkeypatch, 80) as screen:
        go(
            tmp_path / "r",
            trainer=TrainerSettings(epochs=1000, max_iterations=12, evaluate_every=4),
        )
    lines = [line.rstrip("\r") for line in screen.lines()]
    shown = rows(lines)
    cells = [columns_of(lines, row) for row in shown]
    assert [(c["epoch"], c["iteration"]) for c in cells] == [
        ("1/2", "4"), ("2/2", "8"), ("2/2", "12"),
    ]  # fmt: skip
    assert cells[0]["best"] == "*"
    assert max(map(len, lines)) <= 80


def test_in_a_pipe_every_column_and_no_bar(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = go(tmp_path / "r", trainer=SHOWN)
    out, err = capsys.readouterr()
    assert err == ""
    assert "\x1b" not in out
    assert "\r" not in out
    assert "it/s" not in out
    (first, *_, last) = rows(out.splitlines())
    assert len(first.split()) == 3 + 8 + 1  # epoch, time (two words), four pairs, the mark
    assert float(last.split()[3]) == pytest.approx(result.last["train"]["loss"], rel=1e-3)


@pytest.mark.parametrize("variable", ["NO_COLOR", "TERM"])
def test_no_colours_where_they_are_not_wanted(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with terminal(monkeypatch) as screen:
        monkeypatch.setenv(variable, "dumb")
        go(tmp_path / "r", trainer=SHOWN)
    assert "\x1b[3" not in screen.wait()


class Talks(nn.Module):
    """A user's model that prints."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.calls = network(), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        print(f"call {self.calls}")
        y: Tensor = self.inner(x)
        return y


def test_a_users_own_prints_tear_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainkit.training.progress.REDRAWN_EVERY", 0.0)
    with terminal(monkeypatch) as screen:
        go(tmp_path / "r", model=Talks(), trainer=SHOWN)
    lines = [line.rstrip("\r") for line in screen.lines()]
    calls = [line for line in lines if "call " in line]
    assert calls == [f"call {i + 1}" for i in range(len(calls))]
    assert len(calls) > 40
    assert not any("it/s" in line for line in lines)


def test_a_long_epoch_in_a_file_shows_that_it_is_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("trainkit.training.progress.HEARTBEAT_EVERY", 0.05)
    monkeypatch.setattr("trainkit.training.progress.REDRAWN_EVERY", 0.0)

    class Slow(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                torch.tensor(0.0).exp()
                import time

                time.sleep(0.03)
            return super().forward(x)

    go(tmp_path / "r", model=Slow(4, 3), trainer=TrainerSettings(epochs=1))
    beats = [x for x in capsys.readouterr().out.splitlines() if x.startswith("... epoch 1/1")]
    assert 1 <= len(beats) <= 4
    assert re.search(r"iteration \d/7  loss \d\.\d+  .* left$", beats[-1])


def test_the_remaining_time_knows_that_evaluations_are_no_iterations() -> None:
    clock = [0.0]
    pace = Pace(100, 10, clock=lambda: clock[0])
    clock[0] += 5.0  # the first iteration warms up
    pace.begin(1)
    for iteration in range(2, 21):
        clock[0] += 0.1
        if iteration % 10 == 0:
            with pace.evaluating():
                clock[0] += 30.0
    assert pace.seconds_per_iteration(20) == pytest.approx(0.1)
    assert pace.remaining(20) == pytest.approx(80 * 0.1 + 8 * 30)
    assert pace.speed(20) == "10 it/s"


def test_a_long_name_above_one_column_is_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = {"share_of_right_answers": partial(Accuracy)}
    go(tmp_path / "r", metrics=metrics, trainer=TrainerSettings(epochs=1, evaluate_train=False))
    lines = capsys.readouterr().out.splitlines()
    groups = next(line for line in lines if "share_of_right_answers" in line)
    at = groups.index("share_of_right_answers") + len("share_of_right_answers")
    titles = lines[lines.index(groups) + 1]
    assert titles[:at].endswith("validation")


def test_words_for_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = Data(Batches(*cases(16, 1), batch_size=16), Batches(*cases(16, 2), batch_size=16))
    result = go(
        tmp_path / "r", data=data, trainer=TrainerSettings(epochs=1), monitor=FULL,
        checkpoint=CheckpointSettings(best=False),
    )  # fmt: skip
    out = capsys.readouterr().out
    assert "1 iteration in 1 epoch" in out
    assert "1 epochs" not in out
    assert "every 1 iterations" not in out
    assert "by loss (not kept: checkpoint.best=false)" in out
    assert "saved       checkpoints/: last.pt (iteration 1)" in out
    assert result.saved == {"last": 1}


def test_a_metric_that_is_no_number_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    go(tmp_path / "r", metrics={"confusion": partial(ConfusionMatrix, num_classes=3)})
    assert caplog.text.count("metrics.confusion is not one number") == 1


def test_why_it_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    go(tmp_path / "a", trainer=TrainerSettings(epochs=2))
    assert "ended       trainer.epochs=2 is reached" in capsys.readouterr().out
    go(tmp_path / "b", trainer=TrainerSettings(max_iterations=3))
    assert "ended       trainer.max_iterations=3 is reached" in capsys.readouterr().out


def test_a_result_is_one_line_and_a_table(tmp_path: Path) -> None:
    result = go(tmp_path / "<r>", monitor=QUIET)
    assert re.fullmatch(
        r"RunResult\(completed, 21 iterations, last train loss=[\d.]+ accuracy=[\d.]+, .*<r>'\)",
        repr(result),
    )
    html = result._repr_html_()
    assert "&lt;r&gt;" in html
    assert "<r>" not in html
    assert html.count("<td>") == 4 * 4  # last train and validation, best, test: four values each


def test_quiet_progress_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(Pace(3), quiet=True)
    progress.attach(Engine(lambda engine, batch: None))
    progress.say("x")
    progress.close()
    assert capsys.readouterr() == ("", "")
