"""Runs of real experiments, made once for all tests of the dashboard, and a browser to see them."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.project import environment
from tests.dashboard.browser import Browser, served

# What is run, in this order. The last one diverges.
COMMANDS = (
    ("+experiment=digits", "trainer.epochs=3"),
    ("+experiment=diabetes", "trainer.epochs=3"),
    ("-m", "+experiment=digits", "trainer.epochs=2", "model=mlp,cnn", "optimizer.lr=0.1,0.01"),
    ("+experiment=diabetes", "trainer.epochs=2", "optimizer.lr=1e30", "hydra.run.dir=runs/bad/one"),
)  # fmt: skip


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with `runs/` in it, shared by all test processes."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # each process has a folder of its own in there
        folder = folder.parent
    folder /= "dashboard"
    folder.mkdir(exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "runs").is_dir():
            for command in COMMANDS:
                done = subprocess.run(
                    [sys.executable, "-m", "trainkit", "run", *command],
                    cwd=folder, env=environment(), capture_output=True, text=True, check=False,
                )  # fmt: skip
                assert "run: " in done.stdout, done.stderr
    return folder


@pytest.fixture(scope="session")
def board(runs: Path) -> Iterator[str]:
    """The address of a `trainkit board`."""
    with served(["-m", "trainkit", "board", "runs"], runs) as address:
        yield address


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser that remembers nothing of another test's pages."""
    window = Browser(tmp_path_factory.mktemp("profile"))
    yield window
    window.close()
