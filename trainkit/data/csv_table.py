"""A table in a CSV file: features, and a column to predict."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from trainkit.data.batches import Batches, part
from trainkit.data.csv_columns import Table, is_missing, numbers_of, read_table
from trainkit.data.data import Data
from trainkit.data.splits import Standardization, split

__all__ = ["csv_table"]

_TASKS = ("classification", "binary", "regression")
_MOST = 100  # maximum number of distinct texts of a column that become features


def csv_table(
    path: str | Path,
    target: str,
    task: str,
    features: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    missing: str = "refuse",
    batch_size: int = 32,
    validation: float = 0.2,
    test: float = 0.2,
    seed: int = 0,
    split_seed: int = 0,
    standardize_targets: bool = True,
    delimiter: str | None = None,
) -> Data:
    """Rows of a CSV file whose first line names the columns.

    `x` is float32 of shape `[N, F]`: columns of numbers, standardized by the training part, then
    one feature of 0 or 1 for each text of a column of texts, as it occurs in the training part
    (one that does not occur there has 0 in all of them). `y` is

    - `classification`: int64 of shape `[N]`, the index of the class in `Data.classes`, which are
      sorted (by value, if all are numbers). The split keeps the shares of the classes.
    - `binary`: the same with two classes, as float32 0 or 1 of shape `[N, 1]`.
    - `regression`: float32 of shape `[N, 1]`, standardized by the training part.

    Args:
        path: The file, UTF-8.
        target: The column to predict.
        task: `classification`, `binary` or `regression`.
        features: The columns to predict from; None: all others.
        exclude: Columns to leave out of them: row numbers, names, what is known only afterwards.
        missing: What to do with a field without a value (empty, `NA`, `NaN`, `null`, `None`, `?`):
            `refuse`; `drop` its row; `mean` takes the mean of the training part (of a column of
            texts: no text). A row without a target is dropped or refused.
        batch_size: Samples per batch.
        validation: Share of the samples that is the validation part; 0: there is none.
        test: Share of the samples that is the test part; 0: there is none.
        seed: Of the order of the training samples.
        split_seed: Of the choice of the parts.
        standardize_targets: In regression: mean 0 and standard deviation 1 in the training part;
            otherwise as they are in the file.
        delimiter: Between fields; None: looked up in the first line.

    Raises:
        ValueError: The file cannot be read, a column is not there or cannot be taken, a value is
            missing, or a value out of range.
    """
    if task not in _TASKS:
        raise ValueError(f"data.task must be one of {', '.join(_TASKS)}, got {task!r}")
    if missing not in ("refuse", "drop", "mean"):
        raise ValueError(f"data.missing must be one of refuse, drop, mean, got {missing!r}")
    table = read_table(path, delimiter)
    table.check(target, "data.target")
    for key, names in (("data.features", features or ()), ("data.exclude", exclude)):
        for name in names:
            table.check(name, key)
    chosen = list(table.columns) if features is None else list(features)
    chosen = [name for name in chosen if name != target and name not in exclude]
    if not chosen:
        raise ValueError(f"data.features: no column of {table.path} is left to predict from")
    table = _complete(table, target, chosen, missing)
    y, classes = _targets(table, target, task)
    parts = split(len(y), validation, test, split_seed, None if task == "regression" else y)
    x = torch.cat([_feature(table, name, parts[0]) for name in chosen], 1)
    if task == "regression" and standardize_targets:
        y = Standardization(y[parts[0]])(y)
    y = y if task == "classification" else y.reshape(-1, 1).to(torch.float32)
    train, valid, held_out = parts
    return Data(
        train=Batches(x[train], y[train], batch_size=batch_size, shuffle=True, seed=seed),
        validation=part(x[valid], y[valid], batch_size),
        test=part(x[held_out], y[held_out], batch_size),
        classes=classes,
    )


def _complete(table: Table, target: str, features: Sequence[str], missing: str) -> Table:
    """The table without the rows that are not to be used, or a word about the first of them."""
    holes = {
        name: [i for i, text in enumerate(table.columns[name]) if is_missing(text)]
        for name in [target, *features]
    }
    for name, rows in holes.items():
        if rows and missing == "refuse":
            raise ValueError(
                f"data.path: column {name!r} of {table.path} has no value in {len(rows)} of "
                f"{len(table.lines)} rows, first in line {table.lines[rows[0]]}; fill it, set "
                "data.missing=drop or mean, or leave the column out: data.exclude=[...]"
            )
    dropped = holes[target] if missing == "mean" else [i for rows in holes.values() for i in rows]
    return table.without(dropped) if dropped else table


def _targets(table: Table, target: str, task: str) -> tuple[Tensor, tuple[str, ...]]:
    column = table.columns[target]
    numbers = numbers_of(column)
    if task == "regression":
        if numbers is None:
            raise ValueError(
                f"data.target: column {target!r} is no column of numbers ({_text(table, target)}); "
                "data.task=classification predicts texts"
            )
        return _finite(table, target, numbers), ()
    if numbers is None:
        labels = sorted(set(column))
        indices = {label: i for i, label in enumerate(labels)}
        y = torch.tensor([indices[text] for text in column])
    else:
        values, y = torch.tensor(numbers, dtype=torch.float64).unique(return_inverse=True)  # type: ignore[no-untyped-call]
        labels = [f"{value:g}" for value in values.tolist()]
    if len(labels) < 2 or (task == "binary" and len(labels) != 2):
        raise ValueError(
            f"data.target: {task} needs {'two' if task == 'binary' else 'two or more'} classes, "
            f"column {target!r} has {len(labels)}: {', '.join(labels[:5])}"
            f"{', ...' if len(labels) > 5 else ''}"
        )
    if len(labels) > max(_MOST, len(column) // 2):
        raise ValueError(
            f"data.target: column {target!r} has {len(labels)} different values in {len(column)} "
            "rows, too many for classes; data.task=regression predicts numbers"
        )
    return y, tuple(labels)


def _feature(table: Table, name: str, train: Tensor) -> Tensor:
    column = table.columns[name]
    numbers = numbers_of(column)
    if numbers is not None:
        values = _finite(table, name, numbers)
        known = values[train]
        known = known[~known.isnan()]
        if not len(known):
            raise ValueError(f"data.path: column {name!r} of {table.path} has no value to train on")
        values = values.nan_to_num(nan=float(known.mean())).unsqueeze(1)
        return Standardization(values[train])(values).to(torch.float32)
    texts = sorted({column[i] for i in train.tolist() if not is_missing(column[i])})
    if len(texts) > _MOST:
        raise ValueError(
            f"data.path: column {name!r} of {table.path} has {len(texts)} different texts "
            f"({_text(table, name)}), too many to be a feature each (at most {_MOST}); leave it "
            f"out: data.exclude=[{name}]"
        )
    found = torch.zeros(len(column), len(texts))
    places = {text: i for i, text in enumerate(texts)}
    for row, text in enumerate(column):
        if text in places:
            found[row, places[text]] = 1.0
    return found


def _finite(table: Table, name: str, numbers: list[float]) -> Tensor:
    values = torch.tensor(numbers, dtype=torch.float64)
    infinite = values.isinf().nonzero().flatten().tolist()
    if infinite:
        raise ValueError(
            f"data.path: column {name!r} of {table.path} is infinite in line "
            f"{table.lines[infinite[0]]}"
        )
    return values


def _text(table: Table, name: str) -> str:
    for line, text in zip(table.lines, table.columns[name], strict=True):
        if not is_missing(text) and numbers_of([text]) is None:
            return f"{text!r:.40} in line {line}"
    return "none"
