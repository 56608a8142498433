"""The menu: everything that can be chosen, with its first line, without torch."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.project import ROOT, call, environment


def rows(out: str, heading: str) -> dict[str, str]:
    """Name → line of one section."""
    section = next(part for part in out.split("\n\n") if part.startswith(f"{heading} ("))
    return {line.split()[0]: line for line in section.splitlines()[1:]}


def test_every_file_of_ours_is_listed_with_its_first_line(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = call(capsys, "list")
    assert done.status == 0
    listed = rows(done.out, "experiments")
    for path in (ROOT / "experiments").glob("*.yaml"):
        comment = path.read_text().splitlines()[0]
        assert comment.startswith("# ")
        assert comment[2:] in listed[path.stem]
    for path in (ROOT / "configs").glob("*/[!_]*.yaml"):
        comment = path.read_text().splitlines()[0]
        assert comment.startswith("# "), f"{path.name} begins with a line that says what it is"
        assert comment[2:] in rows(done.out, path.parent.name)[path.stem]


def test_the_users_own_are_listed_too(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "experiments" / "packaged.yaml").write_text("# @package _global_\n# With a header\n")
    out = call(capsys, "list").out
    assert rows(out, "model")["net"].split(maxsplit=1)[1] == "A model of my own  (yours)"
    assert "A result of my own" in rows(out, "experiments")["own"]
    assert "With a header" in rows(out, "experiments")["packaged"]
    assert "(yours)" not in rows(out, "model")["cnn"]


def test_the_menu_loads_neither_torch_nor_hydra(project: Path) -> None:
    code = (
        "import sys; from trainkit.cli.main import main; main(['list']); "
        "sys.exit(int(bool({'torch', 'hydra', 'omegaconf', 'tensorboard'} & set(sys.modules))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, check=False
    )
    assert done.returncode == 0


def test_a_reader_that_stops_early_is_no_failure(project: Path) -> None:
    command = f"{sys.executable} -m trainkit list | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.startswith("experiments")
