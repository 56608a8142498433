"""Which commands there are, and what stands around them."""

from importlib.metadata import version

import pytest

from tests.cli.project import call, process
from trainkit.cli import main as commands


@pytest.mark.parametrize("flag", ["--help", "-h", "help"])
def test_help_names_every_command(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, flag)
    assert done.status == 0
    for command in ("run", "list", "board", "resume", "completion"):
        assert f"\n  {command} " in done.out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "--version").out == f"trainkit {version('trainkit')}\n"


@pytest.mark.parametrize("command", ["list", "board", "resume", "completion"])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, command, "--help")
    assert done.status == 0
    assert f"usage: trainkit {command}" in done.out


def test_resume_says_that_it_is_not_there_yet(capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, "resume", "runs/digits/x")
    assert done.status == 2
    assert len(done.err.splitlines()) == 1


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
