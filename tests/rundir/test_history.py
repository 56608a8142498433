import csv
import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from math import isnan
from pathlib import Path

import pytest

from trainkit.rundir import Bookkeeping, History, Status, read_history, read_status


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may grow beyond 10 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_row_per_evaluation_that_every_reader_takes(tmp_path: Path) -> None:
    history = History(tmp_path / "history.csv", Bookkeeping())
    history.add({"iteration": 7, "train/loss": 0.5})
    history.add({"iteration": 14, "train/loss": float("nan"), "validation/loss": 1e-300})
    history.add({"iteration": 21})
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["iteration", "train/loss", "validation/loss"],
        ["7", "0.5", ""], ["14", "nan", "1e-300"], ["21", "", ""],
    ]  # fmt: skip
    first, second, third = read_history(tmp_path / "history.csv")
    assert first == {"iteration": 7, "train/loss": 0.5, "validation/loss": None}
    assert isnan(second["train/loss"] or 0.0)
    assert third == {"iteration": 21, "train/loss": None, "validation/loss": None}
    with (tmp_path / "history.csv").open("a") as file:
        file.write("28,0.")  # cut by a crash
    assert len(read_history(tmp_path / "history.csv")) == 3


def test_what_a_full_disk_did_not_take_comes_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    books = Bookkeeping()
    history, status = History(tmp_path / "history.csv", books), Status(tmp_path / "run.json", books)
    history.add({"iteration": 1})
    with full_disk():
        for i in (2, 3, 4):
            history.add({"iteration": i})
            status.update(iteration=i)
        assert set(books.failing) == {"history.csv", "run.json"}
    assert read_status(tmp_path / "run.json")["status"] == "running"
    history.add({"iteration": 5})
    status.update(iteration=5)
    assert [row["iteration"] for row in read_history(tmp_path / "history.csv")] == [1, 2, 3, 4, 5]
    assert read_status(tmp_path / "run.json")["iteration"] == 5
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 4, "each failure once, and that it is over"
    assert sum("written again" in line for line in told) == 2
    assert sorted(os.listdir(tmp_path)) == ["history.csv", "run.json"], "no temporary file"


def test_a_folder_that_goes_and_comes_back(tmp_path: Path) -> None:
    folder, books = tmp_path / "run", Bookkeeping()
    folder.mkdir()
    history = History(folder / "history.csv", books)
    history.add({"iteration": 1})
    shutil.rmtree(folder)
    history.add({"iteration": 2})
    assert books.failing
    folder.mkdir()
    history.add({"iteration": 3})
    assert [row["iteration"] for row in read_history(folder / "history.csv")] == [1, 2, 3]
    assert not books.failing


def test_a_fault_that_is_not_the_disks_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        Bookkeeping().keep("x", lambda: 1 / 0)
