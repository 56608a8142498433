"""Read a CSV file as columns of text, and detect their types."""

import csv
from collections.abc import Sequence
from pathlib import Path

from trainkit.names import nearest

__all__ = ["Table", "is_missing", "numbers_of", "read_table"]

_DELIMITERS = ",;\t|"
_MISSING = {"", "na", "n/a", "nan", "null", "none", "?"}


class Table:
    """Columns by name, all of the same length, as text.

    Args:
        path: Where they come from, for errors.
        columns: Name → text of each row.
        lines: In which line of the file each row stands.
    """

    def __init__(self, path: Path, columns: dict[str, list[str]], lines: list[int]) -> None:
        self.path = path
        self.columns = columns
        self.lines = lines

    def check(self, name: str, key: str) -> None:
        """Refuse a column that is not there.

        Raises:
            ValueError: It is not; the message has the nearest names.
        """
        if name not in self.columns:
            raise ValueError(
                f"{key}: {self.path} has no column {name!r}; nearest: {nearest(name, self.columns)}"
            )

    def without(self, rows: Sequence[int]) -> "Table":
        """The table without these rows.

        Raises:
            ValueError: None is left.
        """
        gone = set(rows)
        kept = [i for i in range(len(self.lines)) if i not in gone]
        if not kept:
            raise ValueError(f"data.path: no row of {self.path} is complete")
        columns = {name: [text[i] for i in kept] for name, text in self.columns.items()}
        return Table(self.path, columns, [self.lines[i] for i in kept])


def read_table(path: str | Path, delimiter: str | None = None) -> Table:
    """Read a CSV file whose first line names the columns.

    Args:
        path: UTF-8, with a byte order mark or without.
        delimiter: Between the fields; None: the first of `,`, `;`, tab and `|` that is most
            frequent in the first line.

    Raises:
        ValueError: The file is not there, is no text, is empty, has no column names, two of the
            same name, no rows, or a row with more or fewer fields than there are names.
    """
    path = Path(path).expanduser()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            between = delimiter or max(_DELIMITERS, key=first.count)
            reader = csv.reader(file, delimiter=between)
            names = [name.strip() for name in next(reader, [])]
            rows = [(reader.line_num, row) for row in reader if row]
    except FileNotFoundError:
        beside = [each.name for each in path.parent.glob("*") if each.is_file()]
        hint = f"; nearest: {nearest(path.name, beside)}" if beside else ""
        raise ValueError(f"data.path: there is no file {str(path)!r}{hint}") from None
    except OSError as error:
        raise ValueError(f"data.path: cannot read {str(path)!r}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"data.path: {str(path)!r} is no UTF-8 text: {error}") from error
    except csv.Error as error:
        raise ValueError(f"data.path: {str(path)!r} is no CSV file: {error}") from error
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or twice or "" in names:
        found = f"{twice[0]!r} twice" if twice and twice[0] else "one without a name"
        raise ValueError(
            f"data.path: the first line of {path} must name the columns, each by a name of its "
            f"own, got {found if names else 'nothing'}"
        )
    for line, row in rows:
        if len(row) != len(names):
            raise ValueError(
                f"data.path: line {line} of {path} has {len(row)} fields, the first line names "
                f"{len(names)} columns (delimiter {between!r}; data.delimiter sets it)"
            )
    if not rows:
        raise ValueError(f"data.path: {path} has no rows below the names of its columns")
    columns = {name: [row[i].strip() for _, row in rows] for i, name in enumerate(names)}
    return Table(path, columns, [line for line, _ in rows])


def is_missing(text: str) -> bool:
    """Whether a field holds no value: empty, `NA`, `NaN`, `null`, `None` or `?`."""
    return text.lower() in _MISSING


def numbers_of(column: Sequence[str]) -> list[float] | None:
    """The numbers of a column, NaN where one is missing; None where something is no number."""
    try:
        return [float("nan") if is_missing(text) else float(text) for text in column]
    except ValueError:
        return None
