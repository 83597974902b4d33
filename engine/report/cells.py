"""Words of other people in files: names stay one line, and are no formula and no markup.

Names of folders, files, models and studies are whatever somebody called them.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

FORMULA = tuple("=+-@＝＋－＠")
"""What a cell may begin with to be taken for a formula by one spreadsheet or another."""

PIECE = 1 << 16
"""Characters that are written at a time, about."""

_MARKDOWN = re.compile(r"[\\`*\[\]<>|~&]|(?<!\w)_|_(?!\w)")


def one_line(text: str) -> str:
    """The text without line ends and other characters that are not seen or that steer a screen."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else " " for letter in text)


def cell(value: Any) -> Any:
    """A value for a table that a spreadsheet may open.

    Numbers stay numbers. Text that would be a formula gets an apostrophe in front, which
    spreadsheets take for "this is text".
    """
    if not isinstance(value, str) or (value[:1].isalnum() and value.isprintable()):
        return value
    text = one_line(value)
    if not text.lstrip().startswith(FORMULA) or _is_number(text):
        return text
    return f"'{text}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def markdown(text: str) -> str:
    """The text as it is to be read, in a cell of a Markdown table."""
    return _MARKDOWN.sub(lambda found: f"\\{found[0]}", one_line(text))


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any] | Mapping[str, Any]]) -> str:
    """A CSV file: a line of column names, and one per row.

    Args:
        columns: their names.
        rows: each has the values in this order, or by these names and perhaps more.
    """
    return "".join(csv_pieces(columns, rows))


def csv_pieces(
    columns: Sequence[str], rows: Iterable[Sequence[Any] | Mapping[str, Any]]
) -> Iterator[str]:
    """As ``csv_text``, in pieces of whole lines; few rows are taken before these are asked."""
    values = _values(columns, rows)
    some = iter(lambda: list(itertools.islice(values, _AT_A_TIME)), [])
    return csv_of_columns(columns, (list(zip(*few, strict=True)) for few in some))


def csv_of_columns(
    columns: Sequence[str], parts: Iterable[Sequence[Sequence[Any]]]
) -> Iterator[str]:
    """As ``csv_pieces``, from the columns of some rows at a time."""
    known = _Cells()
    head = known.lines([[name] for name in columns])
    return in_pieces(itertools.chain([head], map(known.lines, parts)))


def _values(
    columns: Sequence[str], rows: Iterable[Sequence[Any] | Mapping[str, Any]]
) -> Iterator[Sequence[Any]]:
    for row in rows:
        # Lists go by first: to see whether something is a Mapping takes long.
        if type(row) is not list and isinstance(row, Mapping):
            yield [row[name] for name in columns]
        else:
            yield row


class _Cells(dict[str, str]):
    """Texts as they stand in a CSV file, each formed once; it forgets all when it holds many.

    Most cells of a table are empty, numbers, or words that many rows share.
    """

    def __missing__(self, text: str) -> str:
        if len(self) > _MOST:
            self.clear()
        written = text if _PLAIN(text) else _written(cell(text))
        if len(text) < _SHORT:
            self[text] = written
        return written

    def lines(self, columns: Sequence[Sequence[Any]]) -> str:
        """Rows given by columns, as ``csv.writer`` writes them; but no cell is a formula."""
        texts: Iterator[str] = map(",".join, zip(*self._fields(columns), strict=True))
        if len(columns) == 1:
            # What is alone in its row and empty gets quotes: the line would be none.
            texts = (text or _ALONE for text in texts)
        return "\n".join([*texts, ""])

    def _fields(self, columns: Sequence[Sequence[Any]]) -> Iterator[Iterable[str]]:
        """The cells of the columns; columns that have the same in all rows are joined already."""
        written = map(self._column, columns)
        for alike, some in itertools.groupby(written, lambda column: isinstance(column, str)):
            if alike:
                yield itertools.repeat(",".join(cast(Iterator[str], some)), len(columns[0]))
            else:
                yield from some

    def _column(self, values: Sequence[Any]) -> Iterable[str] | str:
        """The cells of a column, or what all of them are: in many they are the same, or few."""
        first = values[0]
        if type(first) in _UNLIKE_OTHERS and values.count(first) == len(values):
            return self._cell(first)
        kinds = set(map(type, values))
        kind = kinds.pop() if len(kinds) == 1 else None
        if kind is str:
            return map(self.__getitem__, values)
        if kind not in _NUMBERS:
            return map(self._cell, values)
        distinct = set(values)
        # Zero each by itself, for -0.0 is equal to it and another text.
        if len(distinct) > len(values) / 2 or (kind is float and 0.0 in distinct):
            return map(repr, values)
        if len(distinct) == 1:
            return repr(first)
        texts = {value: repr(value) for value in distinct}
        return map(texts.__getitem__, values)

    def _cell(self, value: Any) -> str:
        if value is None:
            return ""
        kind = type(value)
        if kind is str:
            return self[value]
        return repr(value) if kind in _NUMBERS else _written(value)


_AT_A_TIME = 128
"""Rows: so many fit into the cache of a processor."""

_ALONE = '""'
_NUMBERS = {int, float}
_UNLIKE_OTHERS = {str, type(None)}
"""Kinds of which no value is equal to one of another kind, as 1 and 1.0 are."""


_MOST = 1000
"""Texts that are kept: times of day differ from row to row, the rest are few."""
_SHORT = 200

_PLAIN = re.compile(r"[A-Za-z0-9][\w .:+-]*", re.ASCII).fullmatch
"""Tells, quickly, texts that are no formula, stay as they are and need no quotes."""


def _written(value: Any) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow((value, None))  # alone it may get quotes
    return text.getvalue()[:-1]


def in_pieces(texts: Iterable[str]) -> Iterator[str]:
    """Short texts put together, so that each is worth a write."""
    waiting, size = [], 0
    for text in texts:
        waiting.append(text)
        size += len(text)
        if size > PIECE:
            yield "".join(waiting)
            waiting, size = [], 0
    yield "".join(waiting)
