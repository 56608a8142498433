"""Rows that line up under a header and fit the width."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Column", "Table"]

_STYLES = {"good": "32", "bad": "31", "bold": "1", "dim": "2"}


@dataclass(frozen=True)
class Column:
    """One column.

    Args:
        key: By which a row names its cell.
        title: Above the column.
        group: Above the title, once for neighbours with the same; what it belongs to.
        width: Of the widest cell that is expected.
        rank: Where there is no room for all, those of the highest rank are left out first.
    """

    key: str
    title: str
    group: str = ""
    width: int = 10
    rank: int = 0


class Table:
    """Columns of numbers, right-justified.

    Args:
        columns: From left to right.
        width: Of a line; None: any. Columns that do not fit are left out: the highest rank first,
            and of equal ones the last.
        color: Use colours.
    """

    def __init__(
        self, columns: Sequence[Column], width: int | None = None, *, color: bool = False
    ) -> None:
        self._color = color
        self.columns = list(columns)
        while width is not None and len(self.columns) > 1 and self._total() > width:
            worst = max(enumerate(self.columns), key=lambda pair: (pair[1].rank, pair[0]))
            self.columns.remove(worst[1])
        self.left_out = [column for column in columns if column not in self.columns]

    def header(self) -> list[str]:
        """Two lines: groups, and titles; one where there are no groups."""
        groups, i = "", 0
        while i < len(self.columns):
            group = self.columns[i].group
            end = i
            while end < len(self.columns) and self.columns[end].group == group:
                end += 1
            span = sum(self._width(column) + 2 for column in self.columns[i:end])
            group = group[: span - 2]
            groups += f"{group:>{span}}" if end - i == 1 else f"  {group:^{span - 2}}"
            i = end
        titles = self._line([column.title for column in self.columns])
        lines = [groups[2:].rstrip(), titles] if groups.strip() else [titles]
        return [self._styled(line, "dim") for line in lines]

    def row(self, cells: dict[str, str], styles: dict[str, str] | None = None) -> str:
        """One line; a cell that is not given is empty.

        Args:
            cells: Key of a column → text.
            styles: Key of a column → `good`, `bad`, `bold` or `dim`; for terminals only.
        """
        line = ""
        for column in self.columns:
            text = cells.get(column.key, "")
            padded = f"{text:>{self._width(column)}}"
            styled = self._styled(text, (styles or {}).get(column.key, ""))
            line += ("  " if line else "") + padded[: len(padded) - len(text)] + styled
        return line.rstrip()

    def _line(self, texts: Sequence[str]) -> str:
        pairs = zip(self.columns, texts, strict=True)
        return "  ".join(f"{text:>{self._width(column)}}" for column, text in pairs).rstrip()

    def _styled(self, text: str, style: str) -> str:
        if not self._color or not text.strip() or style not in _STYLES:
            return text
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"

    def _total(self) -> int:
        return sum(self._width(column) + 2 for column in self.columns) - 2

    def _width(self, column: Column) -> int:
        return max(column.width, len(column.title))
