"""`history.csv`: a row per evaluation, for spreadsheets and for pandas."""

import csv
from collections.abc import Iterable, Mapping
from functools import partial
from io import StringIO
from pathlib import Path

from trainkit.rundir.atomic_write import replace_atomically
from trainkit.rundir.bookkeeping import Bookkeeping

__all__ = ["History", "read_history"]

Row = dict[str, float | None]


class History:
    """The values of every evaluation, in memory and in a file.

    A row is appended in one write. Where that cannot be (a new column, a row that failed), the
    whole file is replaced, so that a reader never sees half of it.

    Args:
        path: The file; None: only in memory.
        bookkeeping: Told of what fails; the next row tries again.
        rows: What it begins with, where a run is resumed.
    """

    def __init__(
        self, path: Path | None, bookkeeping: Bookkeeping, rows: Iterable[Row] = ()
    ) -> None:
        self._path = path
        self._bookkeeping = bookkeeping
        self._columns: list[str] = []
        self._complete = False  # the file holds every row
        self.rows: list[Row] = list(rows)
        self._columns += dict.fromkeys(name for row in self.rows for name in row)
        if self.rows and path is not None:
            self._complete = bookkeeping.keep(path.name, partial(self._replace, path))

    def add(self, row: Mapping[str, float | None]) -> None:
        """Add a row; a column that it lacks stays empty."""
        self.rows.append(dict(row))
        if self._path is None:
            return
        new = [name for name in row if name not in self._columns]
        self._columns += new
        appending = self._complete and not new
        write = self._append if appending else self._replace
        self._complete = self._bookkeeping.keep(self._path.name, partial(write, self._path))

    def _append(self, path: Path) -> None:
        # Not mode "a": a file that was removed would start again without its header.
        with path.open("rb+", buffering=0) as file:
            file.seek(0, 2)
            file.write(self._text(self.rows[-1:], header=False))

    def _replace(self, path: Path) -> None:
        replace_atomically(path, lambda file: file.write(self._text(self.rows, header=True)))

    def _text(self, rows: list[Row], *, header: bool) -> bytes:
        text = StringIO()
        writer = csv.DictWriter(text, self._columns, lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().encode()


def read_history(path: Path) -> list[Row]:
    """The rows of a `history.csv`; an empty cell is None, a last line that is cut is left out.

    Raises:
        FileNotFoundError: There is none.
    """
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    return [
        {name: _number(cell) for name, cell in row.items() if name is not None}
        for row in csv.DictReader(StringIO(whole))
    ]


def _number(cell: str | None) -> float | None:
    if not cell:
        return None
    return int(cell) if cell.isdigit() else float(cell)
