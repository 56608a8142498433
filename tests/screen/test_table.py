import re

import pytest

from trainkit.screen import Column, Table, numbers_text, titled

COLUMNS = [
    Column("epoch", "epoch", width=6),
    Column("a", "train", "loss"),
    Column("b", "validation", "loss"),
    Column("c", "change"),
    Column("d", "train", "a_metric_with_a_very_long_name"),
]


def test_cells_stand_under_their_titles() -> None:
    table = Table(COLUMNS)
    groups, titles = table.header()
    row = table.row({"epoch": "1/3", "a": "0.5000", "b": "1.250", "d": "7"})
    ends = {title: match.end() for title in ("epoch", "validation", "change")
            if (match := re.search(title, titles))}  # fmt: skip
    assert row[: ends["epoch"]].endswith("1/3")
    assert row[: ends["validation"]].endswith("1.250")
    assert row[ends["validation"] : ends["change"]].strip() == ""
    assert len(row) == len(titles)
    assert titles.index("train") <= groups.index("loss") < ends["validation"]


@pytest.mark.parametrize("width", [10, 20, 34, 45, 80])
def test_what_does_not_fit_is_left_out_and_named(width: int) -> None:
    table = Table(COLUMNS, width)
    assert [c for c in COLUMNS if c in table.columns or c in table.left_out] == COLUMNS
    lines = [*table.header(), table.row(dict.fromkeys("abcd", "1234567890"))]
    assert max(map(len, lines)) <= width
    assert bool(table.left_out) == (width < 56)


def test_the_lowest_rank_stays_longest() -> None:
    ranks = [Column(str(i), "x", width=8, rank=rank) for i, rank in enumerate((0, 3, 1, 3, 2))]
    kept = [[c.key for c in Table(ranks, 10 * n - 2).columns] for n in (5, 4, 3, 2, 1)]
    assert kept == [["0", "1", "2", "3", "4"], ["0", "1", "2", "4"], ["0", "2", "4"], ["0", "2"],
                    ["0"]]  # fmt: skip


def test_colours_take_no_room() -> None:
    plain, colored = Table(COLUMNS), Table(COLUMNS, color=True)
    cells, styles = {"epoch": "1/3", "a": "0.5"}, {"a": "good"}
    row = colored.row(cells, styles)
    assert "\x1b[32m0.5\x1b[0m" in row
    assert re.sub(r"\x1b\[\d+m", "", row) == plain.row(cells, styles)


def test_words() -> None:
    values = {"loss": 0.5, "loss/mse": 0.4, "loss/l2": 0.1, "mae": 0.2}
    assert numbers_text(values) == "loss 0.5 (mse 0.4, l2 0.1), mae 0.2"
    assert numbers_text({"loss": 0.5, "accuracy": 1.0}) == "loss 0.5, accuracy 1"
    text = titled("model", "a very long line that does not fit into it", 40)
    assert max(map(len, text.split("\n"))) <= 40
    assert all(line.startswith(" " * 12) for line in text.split("\n")[1:])
