"""An outside judge, ckpt-chaos, kills each of four experiments at every file operation.

`make torture` installs it. It kills the command before each operation on a file below its folder,
and once more with the file cut in half, runs the same command again, and compares the last state.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SHORT = {
    "diabetes": ["trainer.epochs=2"],
    "digits": ["trainer.epochs=2", "monitor=full"],
    "cartpole": ["trainer.epochs=2", "data.updates=4"],
    "gan_digits": ["trainer.max_iterations=20", "trainer.evaluate_every=10"],
}


@pytest.mark.torture
@pytest.mark.parametrize("experiment", SHORT)
def test_every_file_operation(tmp_path: Path, experiment: str) -> None:
    judge = Path(sys.executable).with_name("ckpt-chaos")
    if not judge.exists():
        pytest.skip("ckpt-chaos is not installed: make torture")
    report = tmp_path / "report.md"
    done = subprocess.run(
        [
            str(judge), "run", "--jobs", "2", "--timeout", "600", "--work", str(tmp_path / "work"),
            "--summary", str(report), "--fail-on",
            "HARD_FAIL,SILENT_DIVERGENCE,CONTROL_FAIL,LOST_WORK", "--result-cmd",
            f"{sys.executable} -m tests.torture.digest {{out}}/run", "--",
            sys.executable, "-m", "trainkit", "run", f"+experiment={experiment}",
            *SHORT[experiment], "trainer.resume=auto", "trainer.progress_bar=false",
            "trainer.device=cpu", "hydra.run.dir={out}/run",
        ],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    print(json.dumps(SHORT[experiment]), done.stdout[-1500:])
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    shutil.rmtree(tmp_path / "work", ignore_errors=True)
