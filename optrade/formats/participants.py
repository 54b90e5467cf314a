"""NSE participant-wise open interest and trading volume (`fao_participant_oi`/`_vol`, from 2012).

Belongs here: the two files' one layout, a title, a header and five rows. Does not belong here:
what positions mean (`optrade.participants`).

Figures are contracts of the whole market. **Header order is Call Long, Put Long, Call Short, Put
Short.** Long is bought and short is sold in the volume file. Read as meant: the title's doubled
quotes (2025-26) or none (2020), padding and tabs after two names, and four spellings of its date.
The exchange rounds each figure on its own, so sums may be off by the rounding of their parts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date

import polars as pl

from optrade.formats import dates
from optrade.formats.archive import check_date
from optrade.formats.text import EDITED, LAYOUT, LINE, Sheet, decode, read, refuse
from optrade.tables.common import PARTICIPANTS, SEGMENTS
from optrade.tables.raw import PARTICIPANT_OI, PARTICIPANT_VOLUME
from optrade.tables.schema import Table

_SIDES: Mapping[str, tuple[str, str]] = {
    "index_future": ("Future Index Long", "Future Index Short"),
    "stock_future": ("Future Stock Long", "Future Stock Short"),
    "index_call": ("Option Index Call Long", "Option Index Call Short"),
    "index_put": ("Option Index Put Long", "Option Index Put Short"),
    "stock_call": ("Option Stock Call Long", "Option Stock Call Short"),
    "stock_put": ("Option Stock Put Long", "Option Stock Put Short"),
}
_TOTALS = ("Total Long Contracts", "Total Short Contracts")
COLUMNS = (
    "Client Type",
    "Future Index Long", "Future Index Short", "Future Stock Long", "Future Stock Short",
    "Option Index Call Long", "Option Index Put Long",
    "Option Index Call Short", "Option Index Put Short",
    "Option Stock Call Long", "Option Stock Put Long",
    "Option Stock Call Short", "Option Stock Put Short",
    *_TOTALS,
)  # fmt: skip
_PEOPLE = (*PARTICIPANTS, "TOTAL")
_KINDS: Mapping[str, tuple[Table, str]] = {
    "participant_oi": (PARTICIPANT_OI, "Open Interest"),
    "participant_volume": (PARTICIPANT_VOLUME, "Trading Volume"),
}
_TITLE_DATE = re.compile(r"as\s+on\s+([^\"]*?\d{4})", re.IGNORECASE)
_COLUMN_SLACK = 2
"""Four rounded figures and their rounded sum can differ by 2 at most (1 was seen)."""
_ROW_SLACK = 3
"""Six rounded figures and their rounded sum can differ by 3 at most (1 was seen)."""


def parse(
    kind: str, file: str, data: bytes, trade_date: date, *, source: str, sha256: str
) -> pl.DataFrame:
    """`raw.participant_oi` or `raw.participant_volume` rows, by `kind`; TOTAL is kept.

    Raises `InputRefused` with the rules of `text.read` and `Sheet`, and `title`, `date`,
    `participant`, `duplicate`, `missing_row`, `balance`, `column_total`, `row_total`.
    """
    table, measure = _KINDS[kind]
    lines = decode(file, data)
    _check_title(file, lines[0], measure, trade_date)
    sheet = read(file, lines, COLUMNS, header=2)
    people = _people(sheet)
    values = pl.DataFrame([people, *(sheet.whole(name, ge=0) for name in COLUMNS[1:])])
    _check_sums(sheet, values)
    frames = [
        values.select(
            pl.col("participant"),
            pl.lit(segment).alias("segment"),
            pl.col(long).alias("long_contracts"),
            pl.col(short).alias("short_contracts"),
        )
        for segment, (long, short) in _SIDES.items()
    ]
    frame = pl.concat(frames).with_columns(
        trade_date=trade_date, source=pl.lit(source), source_sha256=pl.lit(sha256)
    )
    return table.conform(frame)


def _check_title(file: str, title: str, measure: str, trade_date: date) -> None:
    text = title.replace('"', "").strip(" ,\t")
    if measure.lower() not in text.lower():
        refuse(
            file,
            "title",
            line=1,
            field="title",
            found=repr(text),
            expected=f"Participant wise {measure} (no. of contracts) ... as on <date>",
            remedy="Another report under this name, or its title line is gone. " + LAYOUT,
        )
    match = _TITLE_DATE.search(text)
    day = dates.titled(match[1]) if match else None
    if day is None:
        refuse(
            file,
            "date_format",
            line=1,
            field="title",
            found=repr(text),
            expected="a title that ends in a date like Jul 28, 2026",
            remedy=LAYOUT,
        )
    check_date(file, "title", day, trade_date, line=1)


def _people(sheet: Sheet) -> pl.Series:
    spelt = {cell: cell.upper() for cell in sheet.cells["Client Type"].unique()}
    known = {cell: word for cell, word in spelt.items() if word in _PEOPLE}
    sheet.refuse_rows(
        ~sheet.cells["Client Type"].is_in(list(known)),
        "participant",
        field="Client Type",
        expected=", ".join(_PEOPLE),
        remedy="Add the new participant class after reading what the exchange means by it.",
    )
    people = sheet.word("Client Type", known, "participant").alias("participant")
    sheet.refuse_repeats(people.to_frame(), "Client Type", "participant")
    missing = [word for word in _PEOPLE if word not in set(people)]
    if missing:
        refuse(
            sheet.file,
            "missing_row",
            field="Client Type",
            found="no row of " + ", ".join(missing),
            expected=", ".join(_PEOPLE),
            remedy="The file is cut off or edited; fetch it again.",
        )
    return people


def _check_sums(sheet: Sheet, values: pl.DataFrame) -> None:
    total = values["participant"] == "TOTAL"
    for long, short in (*_SIDES.values(), _TOTALS):
        sheet.refuse_rows(
            total & (values[long] != values[short]),
            "balance",
            field=short,
            expected=f"as many as {long}: every contract has two sides",
            show=(long, short),
        )
    for name in COLUMNS[1:]:
        stated, summed = values.filter(total)[name][0], values.filter(~total)[name].sum()
        if abs(stated - summed) > _COLUMN_SLACK:
            refuse(
                sheet.file,
                "column_total",
                line=int(sheet.cells.filter(total)[LINE][0]),
                field=name,
                found=f"TOTAL {stated}, while the four rows make {summed}",
                expected=f"the sum of the four rows, within {_COLUMN_SLACK}",
                remedy=EDITED,
            )
    for side, name in enumerate(_TOTALS):
        parts = [_SIDES[segment][side] for segment in SEGMENTS]
        summed_row = values.select(pl.sum_horizontal(parts)).to_series()
        sheet.refuse_rows(
            (summed_row - values[name]).abs() > _ROW_SLACK,
            "row_total",
            field=name,
            expected=f"the sum of the row's six segments, within {_ROW_SLACK}",
            show=("Client Type", name),
        )
