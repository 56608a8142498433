"""Completion in a real bash, as readline calls it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.project import call, environment

SCRIPT = """
shopt -s expand_aliases
trainkit() {{ {python} -m trainkit "$@"; }}
eval "$(trainkit {install})"
COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:'
COMP_WORDS=({words})
COMP_LINE={line}
COMP_POINT=${{#COMP_LINE}}
COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
_trainkit_complete
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def quoted(text: str) -> str:
    return f"'{text}'"


def complete(line: str, install: str = "completion bash") -> list[str]:
    """What bash offers for the last word of a line; it takes `=` and `:` for words."""
    words = [part for word in line.split(" ") for part in re.findall(r"[=:]+|[^=:]+", word) or [""]]
    script = SCRIPT.format(
        python=sys.executable,
        install=install,
        words=" ".join(map(quoted, words)),
        line=quoted(line),
    )
    done = subprocess.run(
        ["bash", "-c", script], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("trainkit ru", ["run"]),
        ("trainkit run +experiment=dig", ["digits", "digits_nll"]),
        ("trainkit run +experiment=ow", ["own"]),
        ("trainkit run +experiment=digits optimizer=ada", ["adagrad", "adam", "adamw"]),
        ("trainkit run model=ne", ["net"]),
        ("trainkit run trainer.clip_grad_n", ["trainer.clip_grad_norm="]),
        ("trainkit board exp", ["experiments"]),
        ("trainkit board --o", ["--open"]),
        ("trainkit run --", ["--multirun", "--from", "--cfg", "--info", "--config-dir"]),
        ("trainkit run --from exp", ["experiments"]),
    ],
)
def test_bash_offers(line: str, expected: list[str], project: Path) -> None:
    assert set(expected) <= set(complete(line))
    cut = line.rpartition(" ")[2].rpartition("=")[2]
    assert all(word.startswith(cut) for word in complete(line))


@pytest.mark.slow
def test_installed_as_hydra_does_it(project: Path) -> None:
    assert "cosine" in complete("trainkit run scheduler=cos", install="run -sc install=bash")


@pytest.mark.parametrize("line", ["trainkit run +experiment=ow", "trainkit +experiment=ow"])
def test_hydras_own_query(
    line: str, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(os.environ, "COMP_LINE", line)
    done = call(capsys, "run", "-sc", "query=bash")
    assert done.status == 0
    assert done.out.split() == ["+experiment=own"]


def test_uninstalling_takes_it_away(capsys: pytest.CaptureFixture[str]) -> None:
    script = call(capsys, "completion", "bash").out + 'echo "before: $(complete -p trainkit)"\n'
    script += call(capsys, "run", "-sc", "uninstall=bash").out + "complete -p trainkit\n"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert "before: complete -F _trainkit_complete trainkit" in done.stdout
    assert done.returncode != 0


def test_another_shell_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, "completion", "tcsh")
    assert done.status == 2
    assert "bash, got tcsh" in done.err
