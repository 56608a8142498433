"""Kill a run at random moments; whatever was killed, the end is that of the undisturbed run.

Each kill needs the start of a resume, so a few are made in every test run, twenty-five in CI and
five hundred in `make torture`.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def killed(folder: Path, kills: int, seed: int) -> str:
    # In a fresh process: it forks, which a process with threads must not.
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture.kills", "--kills", str(kills), "--seed", str(seed),
         str(folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=40 * kills + 600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_one_kill(tmp_path: Path) -> None:
    assert "'kills': 1" in killed(tmp_path, 1, seed=7)


@pytest.mark.long
def test_fifty_kills(tmp_path: Path) -> None:
    print(killed(tmp_path, 50, seed=1))


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(10, 20))
def test_five_hundred_kills(tmp_path: Path, seed: int) -> None:
    print(killed(tmp_path, 50, seed))
