"""A secret that a run is given reaches the run, and nothing that is written or printed."""

from pathlib import Path

import pytest

from tests.cli.project import call
from tests.cli.test_run import SHORT, last_line, saved

KEPT = """
import logging, torch
import mine
SEEN = []
class Net(mine.Net):
    def __init__(self, password, url="", width=16, fails=False):
        super().__init__(width)
        SEEN.append((password, url))
        logging.getLogger("mine").warning("logged in with %s", password)
        self.fails, self.password = fails, password
    def forward(self, x):
        if self.fails and torch.is_grad_enabled():
            raise RuntimeError(f"no login for {self.password}")
        return super().forward(x)
"""
PASSWORD, TOKEN = "correct-horse-7", "hf_abcdefghijklmnopqrstuvwx"
SECRET = (
    "model._target_=keeps.Net", f"+model.password={PASSWORD}",
    f"+model.url=https://me:{PASSWORD}@host/{TOKEN}", "hydra.output_subdir=.hydra",
)  # fmt: skip


@pytest.fixture
def keeping(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import sys

    monkeypatch.delitem(sys.modules, "keeps", raising=False)
    (project / "keeps.py").write_text(KEPT)
    monkeypatch.setattr(sys, "argv", ["trainkit", "run", *SECRET])
    return project


def everything(directory: Path) -> bytes:
    """All files of a run, event files and names included."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert {"config.yaml", "overrides.txt", "run.json", "run.log", "environment.json"} <= {
        path.name for path in files
    }
    return b"".join(str(path).encode() + path.read_bytes() for path in files)


@pytest.mark.parametrize("fails", ["false", "true"])
def test_masked_everywhere(fails: str, keeping: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(
        capsys, "run", "model=net", *SECRET, f"+model.fails={fails}", "trainer.max_iterations=1",
        "trainer.progress_bar=false",
    )  # fmt: skip
    assert done.status == (1 if fails == "true" else 0), done.err
    import keeps  # type: ignore[import-not-found]

    assert keeps.SEEN[-1] == (PASSWORD, f"https://me:{PASSWORD}@host/{TOKEN}"), "the run has it"
    written = everything(last_line(done.out))
    for secret in (PASSWORD, TOKEN):
        assert secret.encode() not in written
        assert secret not in done.out
        assert secret not in done.err
    assert b"***" in written
    assert (last_line(done.out) / ".hydra" / "overrides.yaml").exists()


def test_a_refusal_does_not_repeat_it(keeping: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, "run", "model=net", *SECRET, "+model.api_key=hunter22", "model.width=[1")
    assert done.status == 2
    again = call(capsys, "run", "model=net", "+optimizer.password=hunter22")
    assert again.status == 2
    assert "hunter22" not in done.err + again.err
    assert "optimizer.password" in again.err


@pytest.mark.parametrize("flags", [["--cfg", "job"], ["--cfg", "all"], ["--info"], ["--help"]])
def test_what_hydra_shows_is_masked(
    flags: list[str], keeping: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = call(capsys, "run", "model=net", *SECRET, *flags)
    assert done.status == 0, done.err
    assert len(done.out) > 100
    assert PASSWORD not in done.out
    assert TOKEN not in done.out


def test_from_a_run_it_must_be_given_again(
    keeping: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier = last_line(call(capsys, "run", "model=net", *SECRET, *SHORT).out)
    done = call(capsys, "run", "--from", str(earlier))
    assert done.status == 2
    (line,) = done.err.splitlines()
    assert "model.password, model.url; give them again: model.password=... model.url=..." in line
    again = call(capsys, "run", "--from", str(earlier), "model.password=another-one", "model.url=x")
    assert again.status == 0, again.err
    assert saved(last_line(again.out))["model"]["password"] == "***"


def test_the_umask_decides_who_reads_a_run(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import os

    before = os.umask(0o077)
    try:
        directory = last_line(call(capsys, "run", "model=net", *SHORT).out)
    finally:
        os.umask(before)
    for path in (directory, *directory.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path
