"""A sweep: a heading and a folder for each job, a failing one named, a table at the end."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.cli.project import call, environment
from tests.cli.test_run import SHORT, last_line, saved
from trainkit.config.sweeping import begin_sweep, job_folder, job_of


def folders(sweep: Path) -> list[str]:
    return sorted(path.name for path in sweep.iterdir() if path.is_dir())


def test_folders_are_named_by_what_differs_and_jobs_are_announced(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = call(
        capsys, "run", "-m", "model=net", "optimizer.lr=0.1,0.2", "model.width=4,8",
        "trainer.seed=3", *SHORT,
    )  # fmt: skip
    assert done.status == 0, done.err
    sweep = last_line(done.out)
    assert sweep.parent == project / "runs" / "net"
    assert sweep.name.endswith("_multirun")
    assert folders(sweep) == [
        "0_lr=0.1_width=4", "1_lr=0.1_width=8", "2_lr=0.2_width=4", "3_lr=0.2_width=8"
    ]  # fmt: skip
    lines = done.out.splitlines()
    for job in ("1/4 optimizer.lr=0.1 model.width=4", "4/4 optimizer.lr=0.2 model.width=8"):
        assert job in lines
    assert saved(sweep / "2_lr=0.2_width=4")["model"]["width"] == 4


def test_the_table_is_sorted_by_the_best_validation_value(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = call(
        capsys, "run", "-m", "model=net", "optimizer.lr=0.05,0.001,0.01",
        "checkpoint.metric=accuracy", "trainer.max_iterations=2", *SHORT[1:],
    )  # fmt: skip
    assert done.status == 0, done.err
    sweep = last_line(done.out)
    reached = {
        name: json.loads((sweep / name / "run.json").read_text())["best"]["values"]["validation"]
        for name in folders(sweep)
    }
    best = sorted(reached, key=lambda name: -reached[name]["accuracy"])
    table = done.out[done.out.index("sweep       3 of 3 jobs done") :].splitlines()
    assert "by validation accuracy (more is better)" in table[0]
    assert [row.split()[-1] for row in table[2:5]] == [name[2:] for name in best]
    assert [float(row.split()[1]) for row in table[2:5]] == pytest.approx(
        [reached[name]["accuracy"] for name in best], rel=1e-3
    )
    assert all(len(row) <= 80 for row in table[1:5])
    assert table[5].startswith("dashboard ")
    assert table[5].endswith(f"board runs/net/{sweep.name}")
    assert done.out.count(" board ") == 1, "one command shows them all"


@pytest.mark.parametrize(("choice", "begun"), [("continue", 2), ("stop", 1)])
def test_a_failing_job_is_named(
    choice: str, begun: int, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = call(
        capsys, "run", "-m", "model=net", "optimizer.lr=0.1,-1,0.2", f"sweep.on_failure={choice}",
        *SHORT,
    )  # fmt: skip
    assert done.status == 1
    assert "trainkit: job 2/3 optimizer.lr=-1 failed" in done.err
    sweep = last_line(done.out)
    assert len(folders(sweep)) == begun
    assert f"sweep       {begun} of 3 jobs done" in done.out
    assert "failed" in done.out
    assert ("not begun" in done.out) == (choice == "stop")


STOPS = """
import mine
class Net(mine.Net):
    def __init__(self, width: int = 16):
        super().__init__(width)
        self.width = width
    def forward(self, x):
        if self.training and self.width == 8:
            raise KeyboardInterrupt
        return super().forward(x)
"""


def test_an_interrupt_ends_the_sweep_and_the_table_says_so(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "stops.py").write_text(STOPS)
    done = call(
        capsys, "run", "-m", "model=net", "model._target_=stops.Net", "model.width=4,8,16,32",
        *SHORT,
    )  # fmt: skip
    assert done.status == 130, done.err
    table = done.out[done.out.index("sweep ") :].splitlines()
    assert table[0].startswith("sweep       1 of 4 jobs done")
    assert table[2].endswith("width=4")
    assert table[3].split() == ["-", "interrupted", "width=8"]
    assert table[4] == "2 other jobs not begun"


def test_experiments_go_into_one_place(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "experiments" / "own_too.yaml").write_text("defaults: [own]\n")
    done = call(capsys, "run", "-m", "+experiment=glob(own*)", *SHORT)
    assert done.status == 0, done.err
    assert [path.name for path in (project / "runs").iterdir()] == ["several"]
    assert folders(last_line(done.out)) == ["0_experiment=own", "1_experiment=own_too"]


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("+experiment=glob(own_*)", "no experiment matches glob(own_*); did you mean own"),
        ("model=glob(nt*)", "no option of model matches glob(nt*)"),
    ],
)
def test_a_pattern_that_matches_nothing(
    override: str, text: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = call(capsys, "run", "-m", override, *SHORT)
    assert done.status == 2
    (line,) = done.err.splitlines()
    assert text in line
    assert not (project / "runs").exists()


def test_what_cannot_be_composed_begins_no_job(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = call(capsys, "run", "-m", "model=net,nett", *SHORT)
    assert done.status == 2
    assert "option of model 'nett'; did you mean net" in done.err
    assert not list((project / "runs").rglob("run.json"))


def test_a_sweep_that_was_killed_does_the_jobs_that_are_left(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [
        "run", "-m", "model=net", "optimizer.lr=0.05,0.001,0.01,0.02", "hydra.sweep.dir=sweep",
        "trainer.resume=auto", "checkpoint.metric=accuracy", *SHORT[1:], "trainer.max_iterations=2",
    ]  # fmt: skip
    whole = call(capsys, *options)
    assert whole.status == 0, whole.err
    expected = whole.out[whole.out.index("sweep       4 of 4") :]

    shutil.rmtree(project / "sweep")
    running = subprocess.Popen(
        [sys.executable, "-m", "trainkit", *options], env=environment(), cwd=project,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    second = project / "sweep" / "1_lr=0.001"
    while not second.exists():
        assert running.poll() is None
        time.sleep(0.005)
    running.kill()
    running.wait()
    first = (project / "sweep" / "0_lr=0.05" / "run.json").read_bytes()
    rest = call(capsys, *options)
    assert rest.status == 0, rest.err
    assert "1/4 optimizer.lr=0.05: done before" in rest.out.splitlines()
    assert "4/4 optimizer.lr=0.02" in rest.out.splitlines()
    assert rest.out[rest.out.index("sweep       4 of 4") :] == expected
    assert (project / "sweep" / "0_lr=0.05" / "run.json").read_bytes() == first

    again = call(capsys, *options)
    assert again.out.count(": done before") == 4
    assert again.out[again.out.index("sweep       4 of 4") :] == expected
    more = call(capsys, *options[:-1], "trainer.max_iterations=3")
    assert "done before" not in more.out
    assert json.loads((second / "run.json").read_text())["iteration"] == 3


def test_names_of_folders_are_safe_and_short() -> None:
    begin_sweep(["a.path", "b.path", "text", "db.password"], 3)
    overrides = ["a.path=/x/../y z", "b.path=['q',1]", "+db.password=hunter2", "other=1"]
    assert job_folder(2, overrides) == "2_a.path=-x-..-yz_b.path=q,1_password="
    assert job_of(2, overrides).heading == "3/3 a.path=/x/../y z b.path=['q',1] db.password=***"
    long = job_folder(0, [f"text={'ä' * 10}{'x' * 300}"])
    assert len(long) <= 80
    assert long.isascii()
    begin_sweep([])


def test_multirun_yaml_holds_no_secret(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(
        capsys,
        "run",
        "-m",
        "model=net",
        "optimizer.lr=0.1,0.2",
        "+samples.password=hunter2",
        *SHORT,
    )
    (file,) = (project / "runs").rglob("multirun.yaml")
    assert "hunter2" not in file.read_text()
    assert "samples.password=***" in str(yaml.safe_load(file.read_text())["hydra"]["overrides"])
