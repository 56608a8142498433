"""A CSV file as data: what `x` and `y` are, recomputed by hand, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch

from trainkit.data import Batches, Data, csv_table, split
from trainkit.models import mlp_for_data

ROWS = [
    (i, [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0][i % 8] + i, ["red", "blue", "green"][i % 3], i % 2)
    for i in range(40)
]


def written(
    path: Path, rows: Any = ROWS, between: str = ",", head: str = "id,size,colour,y"
) -> Path:
    lines = [head.replace(",", between), *(between.join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return written(tmp_path / "t.csv")


def whole(data: Data, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    batches = getattr(data, name)
    assert isinstance(batches, Batches)
    x, y = batches.tensors
    return x, y


def test_a_regression_by_hand(path: Path) -> None:
    data = csv_table(path, "size", "regression", exclude=["id"], batch_size=8)
    parts = split(40, 0.2, 0.2, 0)
    sizes = torch.tensor([row[1] for row in ROWS], dtype=torch.float64)
    flags = torch.tensor([row[3] for row in ROWS], dtype=torch.float64)
    fitted = sizes[parts[0]]
    for name, rows in zip(("train", "validation", "test"), parts, strict=True):
        x, y = whole(data, name)
        # Scaled by the training part alone; then a feature for each colour, in order.
        expected = (sizes[rows] - fitted.mean()) / fitted.std(correction=0)
        assert torch.allclose(y, expected.float().unsqueeze(1))
        flag = (flags[rows] - flags[parts[0]].mean()) / flags[parts[0]].std(correction=0)
        assert torch.allclose(x[:, 3], flag.float())
        colours = [["blue", "green", "red"].index(ROWS[i][2]) for i in rows.tolist()]
        assert x[:, :3].argmax(1).tolist() == colours
        assert (x[:, :3].sum(1) == 1).all()
        assert (x.dtype, y.dtype, x.shape[1]) == (torch.float32, torch.float32, 4)
    raw = csv_table(path, "size", "regression", standardize_targets=False)
    assert torch.equal(whole(raw, "test")[1], sizes[parts[2]].float().unsqueeze(1))


def test_classes_of_texts_and_of_numbers(path: Path) -> None:
    colours = csv_table(path, "colour", "classification", features=["size"])
    assert colours.classes == ("blue", "green", "red")
    x, y = whole(colours, "train")
    assert (x.shape[1], y.dtype, y.ndim) == (1, torch.int64, 1)
    assert mlp_for_data(colours)(x).shape == (len(x), 3)
    binary = csv_table(path, "y", "binary")
    assert binary.classes == ("0", "1")
    x, y = whole(binary, "train")
    assert y.shape == (len(x), 1)
    assert set(y.flatten().tolist()) == {0.0, 1.0}
    assert mlp_for_data(binary)(x).shape == (len(x), 1)
    # The shares of the classes are kept: 8 of 40 rows, half of each.
    assert whole(binary, "test")[1].mean() == 0.5


def test_numbers_are_sorted_as_numbers(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", [(i, i, "a", (2, 10, 9)[i % 3]) for i in range(30)])
    assert csv_table(path, "y", "classification").classes == ("2", "9", "10")


@pytest.mark.parametrize("between", [";", "\t", "|"])
def test_delimiters_and_a_byte_order_mark(between: str, tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", between=between)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert whole(csv_table(path, "y", "binary", exclude=["id"]), "train")[0].shape[1] == 4


def with_holes(tmp_path: Path) -> Path:
    rows: list[Any] = [list(row) for row in ROWS]
    rows[3][1], rows[10][2], rows[20][3] = "NA", "", "nan"
    return written(tmp_path / "t.csv", rows)


def test_missing_values(tmp_path: Path) -> None:
    path = with_holes(tmp_path)
    with pytest.raises(
        ValueError, match=r"column 'y' .* has no value in 1 of 40 rows, first in li"
    ):
        csv_table(path, "y", "binary")
    with pytest.raises(ValueError, match=r"column 'size' .* in line 5; fill it, set data.missing="):
        csv_table(path, "id", "regression", features=["size"])
    dropped = csv_table(path, "y", "binary", missing="drop", validation=0, test=0)
    assert whole(dropped, "train")[0].shape[0] == 37
    filled = csv_table(path, "y", "binary", missing="mean", validation=0, test=0, exclude=["id"])
    x, _ = whole(filled, "train")
    assert x.shape[0] == 39  # all but the one without a target
    assert x[3, 0] == pytest.approx(0.0, abs=1e-6)  # the mean
    assert x[10, 1:].sum() == 0  # no colour


def test_the_mean_is_that_of_the_training_part(tmp_path: Path) -> None:
    rows: list[Any] = [list(row) for row in ROWS]
    train = split(40, 0.2, 0.2, 0)[0].tolist()
    hole = split(40, 0.2, 0.2, 0)[1].tolist()[0]
    rows[hole][1] = ""
    data = csv_table(
        written(tmp_path / "t.csv", rows), "id", "regression", features=["size"], missing="mean"
    )
    assert len(train) == 24
    assert whole(data, "validation")[0][0, 0] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "colur"}, r"data.target: .*t.csv has no column 'colur'; nearest: colour"),
        ({"exclude": ["ident"]}, r"data.exclude: .* has no column 'ident'; nearest: id"),
        ({"features": ["sise"]}, r"data.features: .* has no column 'sise'; nearest: size"),
        ({"features": ["y"]}, r"data.features: no column of .* is left to predict from"),
        ({"task": "cluster"}, r"data.task must be one of classification, binary, reg.*'cluster'"),
        ({"missing": "guess"}, r"data.missing must be one of refuse, drop, mean, got 'guess'"),
        ({"target": "colour", "task": "regression"}, r"no column of numbers \('red' in line 2\)"),
        (
            {"target": "colour", "task": "binary"},
            r"binary needs two classes, column 'colour' has 3",
        ),
        ({"target": "size", "task": "binary"}, r"binary needs two classes, column 'size' has \d+"),
    ],
)
def test_what_is_refused(options: dict[str, Any], message: str, path: Path) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        csv_table(path, **({"target": "y", "task": "binary"} | options))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"the first line of .* must name the columns, .*got nothing"),
        ("a,b\n", r"has no rows below the names"),
        ("a,a\n1,2\n", r"each by a name of its own, got 'a' twice"),
        ("a,,c\n1,2,3\n", r"got one without a name"),
        ("a,b\n1,2\n1,2,3\n", r"line 3 of .* has 3 fields, the first line names 2 columns"),
        ("a,b\n1,inf\n1,2\n", r"column 'b' .* is infinite in line 2"),
        (
            "a,b\n" + "".join(f"{i},t{i}\n" for i in range(300)),
            r"different texts \('t\d+' in line ",
        ),
    ],
)
def test_files_that_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        csv_table(tmp_path / "bad.csv", "a", "regression", validation=0, test=0)


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path, path: Path) -> None:
    with pytest.raises(ValueError, match=r"data.path: there is no file '.*s.csv'; nearest: t.csv"):
        csv_table(tmp_path / "s.csv", "y", "binary")
    path.write_bytes(b"a,b\n\xff\xfe,1\n")
    with pytest.raises(ValueError, match=r"is no UTF-8 text"):
        csv_table(path, "y", "binary")
    with pytest.raises(ValueError, match=r"data.path: cannot read '.*': Is a directory"):
        csv_table(tmp_path, "y", "binary")


def test_a_model_for_data_that_do_not_tell() -> None:
    x = torch.zeros(4, 7)
    with pytest.raises(ValueError, match=r"cannot tell how many classes there are"):
        mlp_for_data(Data([(x, torch.zeros(4, dtype=torch.long))]))
    with pytest.raises(TypeError, match=r"needs batches \(x, y\) of two tensors, got Tensor"):
        mlp_for_data(Data([x]))
