"""`run --from RUN_DIR` trains again from a run's config; `name=` calls a run something."""

from pathlib import Path

import pytest

from tests.cli.project import call
from tests.cli.test_run import SHORT, last_line, saved


@pytest.fixture
def earlier(project: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    done = call(
        capsys, "run", "+experiment=own", "model.width=5", "optimizer=sgd", "name=first", *SHORT
    )
    assert done.status == 0, done.err
    return last_line(done.out)


def test_the_same_config_and_weights(
    earlier: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    done = call(capsys, "run", "--from", str(earlier))
    assert done.status == 0, done.err
    again = last_line(done.out)
    assert again.parent == earlier.parent == project / "runs" / "own"
    assert saved(again) == {**saved(earlier), "name": None}
    one, other = (
        torch.load(run / "checkpoints" / "last.pt", weights_only=True)["models"]["model"]
        for run in (earlier, again)
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (again / "overrides.txt").read_text() == f"--from {earlier}\n"
    assert f"trained again from {earlier.relative_to(project)}" in (again / "run.log").read_text()


def test_overrides_on_top(earlier: Path, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, "run", f"--from={earlier}", "optimizer=adam", "model.width=7")
    assert done.status == 0, done.err
    config = saved(last_line(done.out))
    assert config["optimizer"]["_target_"] == "torch.optim.Adam"
    assert "momentum" not in config["optimizer"]
    assert config["model"]["width"] == 7
    assert config["trainer"] == saved(earlier)["trainer"]
    twice = call(capsys, "run", "--from", str(last_line(done.out)), "model.width=8")
    assert saved(last_line(twice.out))["optimizer"] == config["optimizer"]
    assert last_line(twice.out).parent == earlier.parent


def test_a_seed_that_stays_behind_is_said(
    earlier: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "data.seed=0 stays what it was in that run; with data.seed=5"
    for more, said in (([], True), (["data.seed=5"], False)):
        done = call(capsys, "run", "--from", str(earlier), "trainer.seed=5", *more)
        assert done.status == 0, done.err
        assert (line in (last_line(done.out) / "run.log").read_text()) == said


def test_a_sweep_from_a_run(earlier: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, "run", "-m", "--from", str(earlier), "optimizer=adam,sgd")
    assert done.status == 0, done.err
    sweep = last_line(done.out)
    assert "momentum" not in saved(sweep / "0_optimizer=adam")["optimizer"]
    assert saved(sweep / "1_optimizer=sgd")["optimizer"]["momentum"] == 0.9


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--from", "no/such"], "no folder 'no/such'"),
        (["--from"], "needs the folder of a run"),
        (["--from", "experiments"], "is no run: it holds no config.yaml"),
        (["--from", "runs"], "is no run: it holds no config.yaml; its newest run is runs/own/"),
        (["--from", "RUN", "+experiment=own"], "leave +experiment=own out"),
        (["--from", "RUN", "--from", "RUN"], "given twice"),
        (["--from", "RUN", "model.widht=3"], "did you mean model.width"),
        (["--from", "RUN", "model.width=0"], "width must be positive, got 0"),
        (["--config-dir", "RUN", "--config-name", "config"], "trainkit run --from"),
        (["--config-dir", "RUN"], "trainkit run --from"),
        (["--form", "RUN"], "did you mean --from"),
        (["model=net", "name=../up"], "name must be at most 64 letters"),
        (["model=net", "name=a b"], "did you mean a-b?"),
        (["model=net", f"name={'x' * 65}"], "at most 64"),
        (["model=net", "nam=x"], "did you mean name"),
    ],
)
def test_refused(
    arguments: list[str], text: str, earlier: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(earlier.parents[2].rglob("*"))
    done = call(capsys, "run", *(a.replace("RUN", str(earlier)) for a in arguments))
    assert done.status == 2
    (line,) = done.err.splitlines()
    assert text in line, line
    assert [p for p in sorted(earlier.parents[2].rglob("*")) if "__pyc" not in str(p)] == [
        p for p in before if "__pyc" not in str(p)
    ]


def test_a_mistake_names_the_line_of_the_runs_config(
    earlier: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (earlier / "config.yaml").read_text().replace("width: 5", "width: 0")
    (earlier / "config.yaml").write_text(text)
    line = 1 + text.splitlines().index("  width: 0")
    done = call(capsys, "run", "--from", str(earlier))
    assert f"{earlier.name}/config.yaml:{line}: model.width: width must be positive" in done.err


def test_a_name_is_in_the_folder_and_the_config(
    earlier: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert earlier.name.endswith("_first")
    assert saved(earlier)["name"] == "first"


def test_a_named_sweep(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, "run", "-m", "model=net", "name=wide", "model.width=4,8", *SHORT)
    assert last_line(done.out).name.endswith("_wide_multirun")
