"""Comma-separated text to columns, and the line to blame when a cell can't be read.

Belongs here: what every text format shares - decoding, the header, one row per line, strict
numbers, dates and words, and the refusals of those. Does not belong here: the columns or the
arithmetic of any one file.

Everything is read as text first and cast strictly, column by column, so that a bad cell can be
named by its line as a person sees it (1 is the first line of the file).
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NoReturn

import polars as pl

from optrade.errors import InputRefused
from optrade.formats.archive import REFETCH, check_date

LINE = "_line"
MISSING = ("", "-")
LAYOUT = (
    "The exchange changed its layout or the file was edited; compare it with the archive's copy."
)
EDITED = "The file contradicts itself, so a column or a row was moved or edited. " + REFETCH
_SHOWN = 60


def decode(file: str, data: bytes) -> list[str]:
    """The lines of a text file without line ends; UTF-8 with or without a mark, or UTF-16.

    Raises `InputRefused` (`encoding`) for any other bytes.
    """
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        refuse(
            file,
            "encoding",
            line=data.count(b"\n", 0, error.start) + 1,
            found=f"byte {data[error.start]:#04x} at offset {error.start}",
            expected="plain text (UTF-8)",
            remedy=REFETCH,
        )
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.split("\n")


def cut(line: str) -> list[str]:
    """The fields of one line, quotes (doubled ones too) and padding taken off."""
    if '"' not in line:
        return [cell.strip() for cell in line.split(",")]
    try:
        cells = next(csv.reader([line]))
    except csv.Error:
        cells = line.split(",")
    return [cell.strip().strip('"').strip() for cell in cells]


def refuse(
    file: str,
    rule: str,
    *,
    found: str,
    expected: str,
    remedy: str,
    line: int | None = None,
    field: str | None = None,
) -> NoReturn:
    """Raise `InputRefused` for this file."""
    raise InputRefused(
        file=file,
        line=line,
        field=field,
        found=found,
        expected=expected,
        remedy=remedy,
        rule=rule,
    )


@dataclass(frozen=True)
class Sheet:
    """The rows of one text file as text cells, with `LINE` telling where each row stood."""

    file: str
    cells: pl.DataFrame

    def refuse_rows(
        self,
        bad: pl.Series,
        rule: str,
        *,
        field: str,
        expected: str,
        remedy: str = EDITED,
        show: Sequence[str] = (),
    ) -> None:
        """Refuse when any row is `bad` (null counts as good), naming the first and the count."""
        bad = bad.fill_null(value=False)
        if not bad.any():
            return
        row = bad.arg_true()[0]
        found = ", ".join(f"{name} {self.cells[name][row]!r}" for name in (show or (field,)))
        others = int(bad.sum()) - 1
        if others:
            found += f" (and {others} more line{'s' if others > 1 else ''})"
        refuse(
            self.file,
            rule,
            line=int(self.cells[LINE][row]),
            field=field,
            found=found,
            expected=expected,
            remedy=remedy,
        )

    def keep(self, good: pl.Series) -> Sheet:
        """This sheet with only the good rows."""
        return Sheet(self.file, self.cells.filter(good))

    def is_missing(self, field: str) -> pl.Series:
        """Which rows leave this field out (blank or `-`)."""
        return self.cells[field].is_in(MISSING)

    def real(self, field: str, *, nullable: bool = False, ge: float | None = None) -> pl.Series:
        """The field as finite numbers; blank and `-` become null where `nullable`.

        Raises `InputRefused`: `number` for a cell that is no number, `negative` for one below
        `ge`.
        """
        return self._number(field, pl.Float64(), nullable=nullable, ge=ge)

    def whole(self, field: str, *, nullable: bool = False, ge: float | None = None) -> pl.Series:
        """The field as whole numbers (`12`, `012`, `12.0`); otherwise as `real`."""
        return self._number(field, pl.Int64(), nullable=nullable, ge=ge)

    def _number(
        self, field: str, dtype: pl.DataType, *, nullable: bool, ge: float | None
    ) -> pl.Series:
        text = self.cells[field]
        value = text.cast(dtype, strict=False)
        if value.null_count() or not (dtype.is_integer() or value.is_finite().all()):
            loose = text.str.replace_all(",", "", literal=True).cast(pl.Float64, strict=False)
            loose = loose.set(~loose.is_finite().fill_null(value=False), None)
            if dtype.is_integer():
                loose = loose.set(loose != loose.round(0), None)
            value = loose.cast(dtype, strict=False)
            unread = value.is_null() & ~(self.is_missing(field) if nullable else pl.Series([False]))
            self.refuse_rows(
                unread,
                "number",
                field=field,
                expected="a whole number" if dtype.is_integer() else "a number",
            )
        if ge is not None:
            self.refuse_rows(value < ge, "negative", field=field, expected=f"{ge:g} or more")
        return value.alias(field)

    def day(self, field: str, read: Callable[[str], date | None], example: str) -> pl.Series:
        """The field as dates, each spelling read once; refuses `date_format` otherwise."""
        text = self.cells[field]
        known = {word: read(word) for word in text.unique()}
        values = text.replace_strict(known, return_dtype=pl.Date)
        self.refuse_rows(
            values.is_null(), "date_format", field=field, expected=f"a date like {example}"
        )
        return values

    def check_days(
        self, field: str, read: Callable[[str], date | None], example: str, trade_date: date
    ) -> None:
        """Refuse (`date`) the first row whose date is not the trading day; reads as `day`."""
        days = self.day(field, read, example)
        wrong = (days != trade_date).arg_true()
        if len(wrong):
            line = int(self.cells[LINE][wrong[0]])
            check_date(self.file, field, days[wrong[0]], trade_date, line=line)

    def word(self, field: str, words: Mapping[str, str], rule: str) -> pl.Series:
        """The field with its words replaced; refuses, by `rule`, a word that is not a key."""
        values = self.cells[field].replace_strict(words, default=None, return_dtype=pl.String)
        self.refuse_rows(
            values.is_null(),
            rule,
            field=field,
            expected=" or ".join(words),
            remedy="Add the new word to the format after reading what the exchange means by it.",
        )
        return values

    def refuse_repeats(self, keys: pl.DataFrame, field: str, what: str) -> None:
        """Refuse (`duplicate`) when two rows agree on all of `keys`, naming both lines.

        `keys` are the read values, row for row, so that `100` and `100.00` are one strike.
        """
        if not keys.is_duplicated().any():
            return
        repeats = keys.with_columns(self.cells[LINE]).filter(keys.is_duplicated())
        lines = repeats.group_by(keys.columns, maintain_order=True).agg(LINE).row(0, named=True)
        first, again = (int(line) for line in lines.pop(LINE)[:2])
        spelt = " ".join(str(value) for value in lines.values() if value is not None)
        refuse(
            self.file,
            "duplicate",
            line=again,
            field=field,
            found=f"{spelt} again, already on line {first}",
            expected=f"one row for each {what}",
            remedy=EDITED,
        )


def _check_header(file: str, line: int, found: list[str], columns: Sequence[str]) -> None:
    if [name.casefold() for name in found] == [name.casefold() for name in columns]:
        return
    missing = [name for name in columns if name not in found]
    extra = [name for name in found if name not in columns]
    moved = [
        f"{name} in place of {due}"
        for name, due in zip(found, columns, strict=False)
        if name != due
    ]
    parts = []
    if missing:
        parts.append("no column " + ", ".join(missing))
    if extra:
        parts.append("unknown column " + ", ".join(repr(name) for name in extra))
    if not parts:
        parts.append("columns in another order: " + ", ".join(moved[:2]))
    at = next((d for f, d in zip(found, columns, strict=False) if f != d), "header")
    refuse(
        file,
        "header",
        line=line,
        field=missing[0] if missing else at,
        found="; ".join(parts),
        expected=",".join(columns),
        remedy=LAYOUT,
    )


def _fit(file: str, number: int, line: str, width: int, *, glued: bool) -> list[list[str]]:
    """The rows of a line that has another number of fields than the header."""
    fields = cut(line)
    if len(fields) >= width and not any(fields[width:]):
        return [fields[:width]]
    records = (len(fields) - 1) // width
    if glued and records > 1 and len(fields) == records * width + 1 and not fields[-1]:
        return [fields[i * width : (i + 1) * width] for i in range(records)]
    refuse(
        file,
        "fields",
        line=number,
        found=f"{len(fields)} fields: {line[:_SHOWN]!r}",
        expected=f"{width} fields",
        remedy="The line was cut or joined; a cut last line means a cut file. " + REFETCH,
    )


def read(
    file: str,
    lines: Sequence[str],
    columns: Sequence[str],
    *,
    header: int = 1,
    aliases: Mapping[str, str] | None = None,
    footnote: str | None = None,
    glued: bool = False,
) -> Sheet:
    """The rows under the header line (1-based), as text under the names in `columns`.

    Blank lines are passed over, and lines that begin with `footnote`; a trailing comma is
    harmless. `aliases` are other spellings of a column seen in real files; `glued` allows
    several records on a line, each ended by a comma. Raises `InputRefused`: `header`, `fields`,
    or `empty` when there are no rows.
    """
    found = cut(lines[header - 1]) if len(lines) >= header else []
    found = [(aliases or {}).get(name, name) for name in found]
    while found and not found[-1]:
        found.pop()
    _check_header(file, header, found, columns)
    body = pl.Series(lines[header:], dtype=pl.String)
    held = body.str.strip_chars(', \t"') != ""
    if footnote is not None:
        held &= ~body.str.strip_chars_start(' "').str.starts_with(footnote)
    if not held.any():
        refuse(
            file, "empty", found="a header and no rows", expected="at least one row", remedy=REFETCH
        )
    numbers = held.arg_true().cast(pl.Int64) + (header + 1)
    return Sheet(file, _cells(file, body.filter(held), numbers, columns, glued=glued))


def _cells(
    file: str, body: pl.Series, numbers: pl.Series, columns: Sequence[str], *, glued: bool
) -> pl.DataFrame:
    """The text cells of the lines; one pass of Polars, or line by line where any is irregular."""
    width = len(columns)
    text = "\n".join(body.to_list())
    commas = body.str.count_matches(",", literal=True)
    ended = bool((commas == width).all() and body.str.ends_with(",").all())
    if '"' in text or not (ended or bool((commas == width - 1).all())):
        rows = [
            (number, row)
            for number, line in zip(numbers, body, strict=True)
            for row in _fit(file, number, line, width, glued=glued)
        ]
        cells = pl.DataFrame([row for _, row in rows], list(columns), orient="row")
        numbers = pl.Series([number for number, _ in rows], dtype=pl.Int64)
    else:
        cells = pl.read_csv(
            text.encode(),
            has_header=False,
            schema=dict.fromkeys([*columns, "_end"] if ended else columns, pl.String()),
            quote_char=None,
            empty_string_is_null=False,
        ).select(columns)
        if " " in text or "\t" in text:
            cells = cells.with_columns(pl.all().str.strip_chars())
    return cells.with_columns(numbers.alias(LINE))
