"""Which commands there are, and what stands around them."""

import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.cli.project import call, environment, process
from trainkit.cli import main as commands


@pytest.mark.parametrize("flag", ["--help", "-h", "help"])
def test_help_names_every_command(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, flag)
    assert done.status == 0
    for command in ("run", "list", "help", "board", "completion"):
        assert f"\n  {command} " in done.out


@pytest.mark.parametrize("command", ["--version", "-V", "version", "run --version", "run -V"])
def test_version(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, *command.split()).out == f"trainkit {version('trainkit')}\n"


def test_what_is_not_there_is_not_offered(capsys: pytest.CaptureFixture[str]) -> None:
    assert "doctor" not in call(capsys, "--help").out
    assert "doctor" not in call(capsys, "completion", "bash").out
    assert call(capsys, "doctor", "runs/x").status == 2


@pytest.mark.parametrize(
    "command", ["list", "help", "board", "completion", "resume", "rerun", "replay"]
)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, command, "--help")
    assert done.status == 0
    assert f"usage: trainkit {command}" in done.out


def test_the_module_is_the_command() -> None:
    assert "usage: trainkit" in process("--help").out


def test_the_working_folder_is_importable(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    monkeypatch.chdir(str(tmp_path))
    monkeypatch.setattr(sys, "path", list(sys.path))
    commands.main(["--version"])
    assert sys.path[-1] == str(tmp_path), "behind everything that is installed"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize(("sink", "status"), [("> /dev/full", 1), ("| head -1", 0)])
def test_a_menu_that_cannot_be_printed_is_no_success(sink: str, status: int) -> None:
    command = f"set -o pipefail; {shlex.quote(sys.executable)} -m trainkit list {sink}"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, env=environment()
    )
    assert done.returncode == status
    said = "trainkit: standard output cannot be written ([Errno 28] No space left on device)\n"
    assert done.stderr == (said if status else "")


def test_the_commands_load_torch_only_when_they_train() -> None:
    code = "import sys, trainkit.cli.run, trainkit.cli.resume; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
