"""A run's folder is its own, and giving it back takes nothing else away."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trainkit.config.directories import give_back, reserve


def test_many_at_once_get_one_each(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(reserve, [tmp_path / "runs" / "now"] * 40))
    assert len(set(folders)) == 40
    assert all(folder.is_dir() for folder in folders)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_what_was_made_is_removed(here: Path) -> None:
    give_back(reserve(here / "runs" / "digits" / "now"), reserved=True)
    assert list(here.iterdir()) == []
    assert here.is_dir()


def test_what_holds_something_stays(here: Path) -> None:
    other = reserve(here / "runs" / "digits" / "now")
    give_back(reserve(here / "runs" / "digits" / "now"), reserved=True)
    assert [p.name for p in (here / "runs" / "digits").iterdir()] == [other.name]


def test_a_users_log_is_not_ours(here: Path) -> None:
    (here / "kept").mkdir()
    (here / "kept" / "run.log").write_text("old")
    give_back(here / "kept", reserved=False)
    assert (here / "kept" / "run.log").read_text() == "old"


def test_nothing_outside_of_the_working_folder(here: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside" / "deep"
    outside.mkdir(parents=True)
    give_back(outside, reserved=False)
    assert outside.is_dir()
