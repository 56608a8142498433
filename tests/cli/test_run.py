"""`trainkit run` in a user's own project: what it prints, where it writes, how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import yaml

from tests.cli.project import call, environment, process

SHORT = (
    "trainer.max_iterations=1", "trainer.progress_bar=false", "trainer.evaluate_train=false",
    "monitor=none", "data.batch_size=500",
)  # fmt: skip


def last_line(out: str) -> Path:
    """The folder that the last line names."""
    line = out.splitlines()[-1]
    assert line.startswith("run: ")
    return Path(line.removeprefix("run: "))


def saved(directory: Path) -> dict[str, dict[str, object]]:
    """The run's `config.yaml`."""
    config: dict[str, dict[str, object]] = yaml.safe_load((directory / "config.yaml").read_text())
    return config


def test_a_run_ends_with_its_folder(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, "run", "+experiment=own", *SHORT)
    assert done.status == 0, done.err
    directory = last_line(done.out)
    assert directory.parent == project / "runs" / "own"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", directory.name)
    assert json.loads((directory / "run.json").read_text())["status"] == "completed"
    assert saved(directory)["model"] == {"_target_": "mine.Net", "width": 16}
    overrides = (directory / "overrides.txt").read_text().split()
    assert overrides == ["+experiment=own", *SHORT]
    assert Path.cwd() == project


def test_without_an_experiment_the_folder_has_the_models_name(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = call(capsys, "run", "model=net", *SHORT)
    assert last_line(done.out).parent == project / "runs" / "net"


def test_two_runs_in_one_second_have_a_folder_each(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now = datetime.now()
    for second in range(60):  # whenever it starts, another run of that second exists
        name = f"{now + timedelta(seconds=second):%Y-%m-%d_%H-%M-%S}"
        (project / "runs" / "net" / name).mkdir(parents=True)
        (project / "runs" / "net" / name / "run.log").touch()
    found = last_line(call(capsys, "run", "model=net", *SHORT).out)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_2", found.name)


def test_a_run_can_go_elsewhere(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, "run", "model=net", "hydra.run.dir=else where/x", *SHORT)
    assert last_line(done.out) == project / "else where" / "x"
    assert (project / "else where" / "x" / "run.json").exists()
    assert not (project / "runs").exists()


def test_the_same_seed_makes_the_same_weights(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    weights = []
    for seed in (1, 1, 2):
        done = call(capsys, "run", "model=net", f"trainer.seed={seed}", *SHORT)
        state = torch.load(last_line(done.out) / "checkpoints" / "last.pt", weights_only=False)
        weights.append(state["models"]["model"]["layers.1.weight"])
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("name", ["NAdam", "SGD", "Adadelta", "RAdam"])
def test_any_optimizer_by_target(
    name: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = call(capsys, "run", "model=net", f"optimizer._target_=torch.optim.{name}", *SHORT)
    assert done.status == 0, done.err
    optimizer = saved(last_line(done.out))["optimizer"]
    assert optimizer["_target_"] == f"torch.optim.{name}"
    assert optimizer["lr"] == 0.001
    left_out = {"NAdam": "amsgrad", "RAdam": "amsgrad"}.get(name, "betas")
    assert left_out not in optimizer
    log = (last_line(done.out) / "run.log").read_text()
    assert f"torch.optim.{name} takes no {left_out}" in log


def test_a_file_that_is_never_used_is_told(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "configs" / "model" / "mlp.yaml").write_text("_target_: mine.Net\nwidth: 16\n")
    done = call(capsys, "run", "model=mlp", *SHORT)
    assert saved(last_line(done.out))["model"]["_target_"] == "trainkit.models.MLP"
    log = (last_line(done.out) / "run.log").read_text()
    assert re.search("never used.*configs/model/mlp.yaml", log)
    refused = call(capsys, "run", "model=mlp", "model.width=3")
    (line,) = refused.err.splitlines()
    assert "there is no key 'model.width'" in line
    assert "configs/model/mlp.yaml is never used" in line
    assert "configs/model/mlp.yaml is never used" in call(capsys, "list").out
    for arguments in (["model=mlp", "trainer.epochs=0"], ["model=net", "model.with=3"]):
        (line,) = call(capsys, "run", *arguments).err.splitlines()
        assert "never used" not in line, "it has nothing to do with it"
    other = call(capsys, "run", "model=net", *SHORT)
    assert "never used" not in (last_line(other.out) / "run.log").read_text()


def test_an_experiment_that_is_never_used_is_told(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "experiments" / "digits.yaml").write_text("model: {width: 3}\n")
    (line,) = call(capsys, "run", "+experiment=digits", "model.width=4").err.splitlines()
    assert "'model.width'" in line
    assert "experiments/digits.yaml is never used: trainkit's" in line
    (line,) = call(capsys, "run", "+experiment=own", "model.depht=4").err.splitlines()
    assert "never used" not in line


def test_a_function_can_be_the_loss(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, "run", "model=net", "loss._target_=mine.loss", *SHORT)
    assert done.status == 0, done.err
    log = (last_line(done.out) / "run.log").read_text()
    assert "takes no components; left out; beside other components it is loss.comp" in log


def test_off_without_quotes_is_off(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, "run", "+experiment=amp_off", "model=net", *SHORT)
    assert done.status == 0, done.err
    assert saved(last_line(done.out))["trainer"]["amp"] == "off"


def test_training_that_fails(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, "run", "model=breaks", *SHORT)
    assert done.status == 1
    directory = last_line(done.out)
    assert "Traceback" not in done.err
    *frames, line = done.err.splitlines()
    assert line == (
        "trainkit: RuntimeError: this model is broken (the full traceback is in "
        f"{directory.relative_to(project)}/run.log)"
    )
    (frame,) = frames
    assert re.fullmatch(r'  mine\.py:\d+, in forward: raise RuntimeError\(".*"\)', frame)
    assert done.out.count("run: ") == 1
    log = (directory / "run.log").read_text()
    assert "Traceback" in log
    assert "ignite" in log
    status = json.loads((directory / "run.json").read_text())
    assert status["status"] == "failed"
    assert "this model is broken" in (directory / "run.log").read_text()


def test_a_model_that_leaves_in_training_has_failed(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "leaving.py").write_text(
        "import mine, sys, torch\n"
        "class Leaves(mine.Net):\n"
        "    def forward(self, x):\n"
        "        if torch.is_grad_enabled(): sys.exit(0)\n"
        "        return super().forward(x)\n"
    )
    done = call(capsys, "run", "model._target_=leaving.Leaves", *SHORT)
    assert done.status == 1
    assert json.loads((last_line(done.out) / "run.json").read_text())["status"] == "failed"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.long),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.long),
        pytest.param(signal.SIGUSR1, 138, marks=pytest.mark.long),
    ],
)  # fmt: skip
def test_an_interrupt_saves_and_says_where(
    number: signal.Signals, status: int, project: Path
) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip(
            f"{number.name} is ignored here (nohup), and so by every process that is started"
        )
    with subprocess.Popen(
        [sys.executable, "-m", "trainkit", "run", "model=net", "trainer.epochs=10000",
         "trainer.progress_bar=false", "hydra.run.dir=run"],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        assert running.stdout is not None
        try:
            assert any(" 1/10000" in line for line in running.stdout)
        finally:
            os.kill(running.pid, number)
        try:
            out, err = running.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            running.kill()
            raise
    assert running.returncode == status
    assert "Traceback" not in err
    assert last_line(out) == project / "run"
    assert re.search(rf"^ended +stopped by {number.name} at iteration \d+ of", out, re.M)
    assert re.search(r"^saved .*last.pt \(iteration \d+\)", out, re.M)
    assert json.loads((project / "run" / "run.json").read_text())["status"] == "interrupted"
    assert (project / "run" / "checkpoints" / "last.pt").exists()


@pytest.mark.slow
def test_a_monitor_that_fails_is_one_line_on_the_screen_and_a_traceback_in_the_log(
    project: Path,
) -> None:
    (project / "failing.py").write_text(
        "from trainkit import Moment, Monitor\n\n\n"
        "class Failing(Monitor):\n"
        "    def moments(self):\n"
        "        return {Moment.ITERATION_COMPLETED: self.fail}\n\n"
        "    def fail(self, engine):\n"
        "        raise RuntimeError('no paper')\n"
    )
    quiet = [option for option in SHORT if option != "monitor=none"]
    done = process("run", "model=net", "+monitor.parts.own._target_=failing.Failing", *quiet)
    assert done.status == 0
    (line,) = [line for line in done.err.splitlines() if "Failing" in line]
    assert line == (
        "trainkit: Failing failed and is disabled; training goes on: RuntimeError: no paper"
    )
    assert "in fail\n" in (last_line(done.out) / "run.log").read_text()


@pytest.mark.slow
def test_as_a_process_from_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    begun = time.time()
    done = process("run", "+experiment=diabetes", *SHORT, "optimizer._target_=torch.optim.SGD")
    assert done.status == 0, done.err
    assert (
        done.err == "trainkit: optimizer: torch.optim.SGD takes no betas, eps, amsgrad; left out; "
        "keeps lr=0.001 of trainkit's experiments/diabetes.yaml, "
        "weight_decay=0.0 of trainkit's configs/optimizer/adam.yaml\n"
    )
    directory = last_line(done.out)
    assert directory.parent == tmp_path / "runs" / "diabetes"
    assert (directory / "run.json").stat().st_mtime > begun - 1
