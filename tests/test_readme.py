"""The README's programs run as they stand."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.test_examples import tags

ROOT = Path(__file__).parent.parent
ATTACHING, FROM_PYTHON = "## In your own Ignite project", "## From Python"


def program(heading: str) -> str:
    text = (ROOT / "README.md").read_text()
    assert heading in text, f"README.md must have the heading {heading!r}"
    section = text.split(heading, 1)[1].split("\n## ", 1)[0]
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert blocks, f"no python block under {heading!r}"
    return str(blocks[0])


def executed(heading: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    (folder / "program.py").write_text(program(heading))
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_the_section_from_python_trains_and_reads_the_run_back(tmp_path: Path) -> None:
    done = executed(FROM_PYTHON, tmp_path)
    assert done.stderr == ""
    tested, read_back = done.stdout.splitlines()[-2:]
    assert "loss" in tested
    assert read_back.startswith("completed {")
    assert "'iteration': 36" in read_back


def test_the_section_for_ignite_projects_runs(tmp_path: Path) -> None:
    done = executed(ATTACHING, tmp_path)
    assert "is disabled" not in done.stderr
    assert "left out" not in done.stderr
    (train,) = tmp_path.rglob("train")
    assert {"loss/total", "predictions/entropy", "gradients/global_norm"} <= tags(train)
    (validation,) = tmp_path.rglob("validation")
    assert "loss/total" in tags(validation)
