"""The curves of a resumed run in both readers of TensorBoard, opened afresh and already open."""

import json
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.training.resuming import interrupted, resumable
from trainkit import schedules
from trainkit.settings import MonitorSettings, TrainerSettings

# A key of TensorBoard's own page, and what depends on the clock.
TIMED = ("throughput/", "memory/", "monitor/", "results/")


class Board:
    """A TensorBoard that is asked as its page asks."""

    def __init__(self, address: str) -> None:
        self._address = address

    def get(self, path: str, **query: str) -> Any:
        url = f"{self._address}/data/plugin/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)

    def series(self, run: str) -> dict[str, list[tuple[int, float]]]:
        found = {}
        for part in ("train", "validation", "test"):
            name = f"{run}/{part}"
            for tag in self.get("scalars/tags").get(name, {}):
                if not tag.startswith(TIMED):
                    points = self.get("scalars/scalars", run=name, tag=tag)
                    found[f"{part}: {tag}"] = [(step, value) for _, step, value in points]
        return found

    def others(self, run: str) -> dict[str, Any]:
        """Steps of pictures and histograms."""
        found: dict[str, Any] = {}
        for part in ("train", "validation"):
            name = f"{run}/{part}"
            for tag in self.get("images/tags").get(name, {}):
                events = self.get("images/images", run=name, tag=tag, sample="0")
                found[f"{part}: {tag}"] = [event["step"] for event in events]
            for tag in self.get("histograms/tags").get(name, {}):
                events = self.get("histograms/histograms", run=name, tag=tag)
                found[f"{part}: {tag}"] = [(event[1], event[2]) for event in events]
        return found


@contextmanager
def board(folder: Path, fast: bool) -> Iterator[Board]:
    with subprocess.Popen(
        [
            sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--port", "0",
            "--host", "127.0.0.1", "--reload_interval", "1",
            f"--load_fast={'true' if fast else 'false'}",
        ],
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if "http://" in line:
                    yield Board("http://" + line.split("http://")[1].split("/")[0])
                    return
            raise AssertionError("TensorBoard did not start")
        finally:
            process.kill()


def equal(board: Board, seconds: float = 40.0) -> list[str]:
    """Tags that differ between the run that was resumed and the other, when all is read."""
    end = time.monotonic() + seconds
    while True:
        whole, parts = board.series("whole"), board.series("parts")
        whole |= board.others("whole")
        parts |= board.others("parts")
        differ = [tag for tag in whole.keys() | parts.keys()
                  if repr(whole.get(tag)) != repr(parts.get(tag))]  # fmt: skip
        if (whole and not differ) or time.monotonic() > end:
            return sorted(differ) if whole else ["nothing was read"]
        time.sleep(1)


GO = resumable(
    monitor=MonitorSettings(every=2, histograms_every=5),
    scheduler=partial(schedules.cosine),
    trainer=TrainerSettings(epochs=3, progress_bar=False, device="cpu"),
)


@pytest.mark.long
@pytest.mark.parametrize("fast", [True, False], ids=["data server", "Python reader"])
def test_opened_afresh(tmp_path: Path, fast: bool) -> None:
    """In the middle of an epoch, at its end, and of an accumulation of interruptions."""
    GO(tmp_path / "whole")
    interrupted(GO, tmp_path / "parts", 4)
    for iteration in (7, 16):
        interrupted(partial(GO, resume=True), tmp_path / "parts", iteration)
    GO(tmp_path / "parts", resume=True)
    with board(tmp_path, fast) as opened:
        assert equal(opened) == []


@pytest.mark.long
def test_already_open(tmp_path: Path) -> None:
    """Python's reader drops what was read behind the checkpoint: the killed part went further."""
    GO(tmp_path / "whole")
    with board(tmp_path, fast=False) as opened:
        interrupted(GO, tmp_path / "parts", 10)
        end = time.monotonic() + 40
        while "train: loss/total" not in opened.series("parts") and time.monotonic() < end:
            time.sleep(0.5)
        read = opened.series("parts")["train: loss/total"]
        assert read
        GO(tmp_path / "parts", resume=True)
        assert equal(opened) == []
