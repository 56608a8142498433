"""`trainkit board` becomes TensorBoard on 127.0.0.1, or says why not."""

import os
import re
import signal
import socket
import subprocess
import sys
from itertools import takewhile
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.cli.project import call, environment
from trainkit.writers import open_writer


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with one run in it."""
    monkeypatch.chdir(tmp_path)
    writer = open_writer(tmp_path / "runs" / "mine" / "1" / "train")
    writer.write_scalars(1, {"loss/total": 1.0})
    writer.close()
    return tmp_path / "runs"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["elsewhere"], "there is no folder 'elsewhere'"),
        (["empty"], "no run in 'empty'"),
        (["--port", "99999"], "--port must be between 1 and 65535, got 99999"),
        (["--prot", "6006"], "--prot"),
        (["--port", "many"], "'many'"),
        (["--host", "nowhere.invalid"], "--host must be an address of this machine"),
        (["--host", "192.0.2.1"], "got '192.0.2.1'"),
    ],
)
def test_what_cannot_be_shown_is_told_on_one_line(
    arguments: list[str], expected: str, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (runs.parent / "empty").mkdir()
    done = call(capsys, "board", *arguments)
    assert done.status == 2
    (line,) = done.err.splitlines()
    assert line.startswith("trainkit: ")
    assert expected in line


def test_a_port_that_is_taken(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = call(capsys, "board", "--port", str(port))
    assert done.status == 2
    assert f"port {port} is taken" in done.err


@pytest.mark.slow
def test_it_serves_on_the_address_that_it_says(runs: Path) -> None:
    (runs.parent / "random.py").write_text("raise SystemExit('shadowed')")
    with subprocess.Popen(
        [sys.executable, "-m", "trainkit", "board", "--open"],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as board:  # fmt: skip
        try:
            assert board.stderr is not None
            address = re.search(r"http://127\.0\.0\.1:\d+/", board.stderr.readline())
            assert address
            lines = iter(board.stderr.readline, "")
            pages = list(takewhile(lambda line: line.startswith("  "), lines))
            assert "how it trains" in pages[0]
            assert all(address[0] in line for line in pages)
            with urlopen(f"{address[0]}data/environment") as answer:
                assert answer.status == 200
                assert str(runs.name) in answer.read().decode()
        finally:
            os.kill(board.pid, signal.SIGTERM)
            board.communicate(timeout=30)
