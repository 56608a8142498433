"""A file of the user's takes no other module's place, and one that lost its name is told."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.project import ROOT, call, environment
from tests.cli.test_run import SHORT, last_line

NAMES = ("random", "copy", "logging", "torch", "yaml", "queue", "difflib", "hydra")


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--version"], ["list"], ["run", "--cfg", "job"]])
@pytest.mark.parametrize("how", ["script", "module"])
def test_nothing_of_pythons_or_ours_is_shadowed(
    how: str, arguments: list[str], tmp_path: Path
) -> None:
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text("raise SystemExit('shadowed')\n")
    script = Path(sys.executable).with_name("trainkit")
    command = [str(script)] if how == "script" else [sys.executable, "-m", "trainkit"]
    done = subprocess.run(
        [*command, *arguments], cwd=tmp_path, env=environment(), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "shadowed" not in done.stdout + done.stderr
    assert ROOT.exists()


def test_a_module_that_lost_its_name_is_told(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "random.py").write_text("class Net: ...\n")
    done = call(capsys, "run", "model._target_=random.Net")
    assert done.status == 2
    (line,) = done.err.splitlines()
    assert "random.py is never used: Python's own module 'random' has that name" in line
    (project / "torch").mkdir()
    (project / "torch" / "nets.py").write_text("")
    done = call(capsys, "run", "model=net", *SHORT)
    assert done.status == 0, done.err
    log = (last_line(done.out) / "run.log").read_text()
    assert log.count("torch is never used: an installed module 'torch' has that name") == 1


def test_a_package_of_ones_own_is_importable(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "nets").mkdir()
    (project / "nets" / "small.py").write_text("from mine import Net\n")
    done = call(capsys, "run", "model=net", "model._target_=nets.small.Net", *SHORT)
    assert done.status == 0, done.err
    assert done.err.count("never used") == 0
