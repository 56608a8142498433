"""The README's program runs as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.test_examples import tags

ROOT = Path(__file__).parent.parent
HEADING = "## In your own Ignite project"


def program() -> str:
    text = (ROOT / "README.md").read_text()
    assert HEADING in text, f"README.md must have the heading {HEADING!r}"
    section = text.split(HEADING, 1)[1].split("\n## ", 1)[0]
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert blocks, f"no python block under {HEADING!r}"
    return str(blocks[0])


def test_the_section_for_ignite_projects_runs(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(program())
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "is disabled" not in done.stderr
    assert "left out" not in done.stderr
    (train,) = tmp_path.rglob("train")
    assert {"loss/total", "predictions/entropy", "gradients/global_norm"} <= tags(train)
    (validation,) = tmp_path.rglob("validation")
    assert "loss/total" in tags(validation)
