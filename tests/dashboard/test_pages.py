"""The pages that `trainkit board` prints, from what runs hold."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from trainkit import EventFileWriter
from trainkit.dashboard.contents import Contents, contents_of
from trainkit.dashboard.pages import pages, pinned

ADDRESS = "http://127.0.0.1:6006/"


def write(folder: Path, *tags: str) -> None:
    writer = EventFileWriter(folder)
    writer.write_scalars(1, dict.fromkeys(tags, 0.5))
    writer.close()


def cards(address: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(parse_qs(urlsplit(address).query)["pinnedCards"][0])
    return found


def test_one_run_is_seen_with_train_and_validation_together(tmp_path: Path) -> None:
    write(
        tmp_path / "train", "loss/total", "metrics/accuracy", "gradients/log10_global_norm",
        "updates/log10_global_ratio", "hyperparameters/lr", "tensors.weights.norm/x",
    )  # fmt: skip
    write(tmp_path / "validation", "loss/total", "metrics/accuracy")
    found = contents_of(tmp_path)
    assert found.runs == {"."}
    first = pages(ADDRESS, found)[0]
    assert "smoothing=0" in first.address
    assert "runFilter" not in first.address
    assert [card["tag"] for card in cards(first.address)] == [
        "loss/total", "metrics/accuracy", "gradients/log10_global_norm",
        "updates/log10_global_ratio", "hyperparameters/lr",
    ]  # fmt: skip


def test_of_several_runs_validation_comes_first_and_each_has_one_colour(tmp_path: Path) -> None:
    for run in "ab":
        write(tmp_path / run / "train", "loss/total", "updates/log10_global_ratio")
        write(tmp_path / run / "validation", "loss/total")
    first, second, *_ = pages(ADDRESS, contents_of(tmp_path))
    query = parse_qs(urlsplit(first.address).query)
    assert query["runFilter"] == ["validation$"]
    assert query["runColorGroup"] == ["regex:^(.*)/(?:train|validation|test)$"]
    assert [card["tag"] for card in cards(first.address)] == ["loss/total"]
    assert [card["tag"] for card in cards(second.address)][-1] == "updates/log10_global_ratio"


def test_the_metric_that_picks_the_best_checkpoint_is_pinned(tmp_path: Path) -> None:
    write(tmp_path / "a" / "validation", "loss/total", "metrics/accuracy", "metrics/f1")
    (tmp_path / "a" / "run.json").write_text('{"best": {"metric": "f1"}}')
    tags = [card["tag"] for card in pinned(contents_of(tmp_path), "validation")]
    assert tags == ["loss/total", "metrics/f1"]


def test_each_optimizer_has_its_card(tmp_path: Path) -> None:
    write(
        tmp_path / "train",
        "loss/total",
        "updates/g/log10_global_ratio",
        "updates/d/log10_global_ratio",
    )
    tags = [card["tag"] for card in pinned(contents_of(tmp_path), "")]
    assert tags == ["loss/total", "updates/d/log10_global_ratio", "updates/g/log10_global_ratio"]


@pytest.mark.parametrize(("rows", "narrowed"), [(40, False), (41, True)])
def test_pages_that_select_nothing_beyond_forty_rows_are_narrowed(
    rows: int, narrowed: bool
) -> None:
    found = Contents(folders={f"{i}/validation" for i in range(rows)})
    for page in pages(ADDRESS, found):
        if "#custom_scalars" in page.address or "#text" in page.address:
            assert ("regexInput=" in page.address) == narrowed


def test_files_that_cannot_be_read_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "train", "loss/total")
    (tmp_path / "validation").mkdir()
    (tmp_path / "validation" / "events.out.tfevents.1").write_bytes(b"no event file at all")
    (tmp_path / "run.json").write_text("[")
    found = contents_of(tmp_path)
    assert found.tags == {"loss/total": {"train"}}
    assert found.folders == {"train", "validation"}
