"""NSE FII derivatives statistics: `fii_stats_DD-Mon-YYYY.xls`, or the same sheet saved as CSV.

Belongs here: reading the one sheet into products and indices. Does not belong here: FII rows of
the participant files, and comparing with them.

Contracts are counts; amounts are crore rupees. Open interest counts long and short together;
options are valued at strike x quantity when traded and underlying close x quantity at the end of
the day. Sheets of 2018 have numbers in their cells and only the four product lines; later ones
have text, and lines for each index under the two index products. An index line's name is the
exchange's symbol, so new indices need no change here.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Any

import polars as pl
import xlrd

from optrade.formats import dates
from optrade.formats.archive import REFETCH, check_date
from optrade.formats.text import EDITED, LAYOUT, LINE, Sheet, cut, decode, refuse
from optrade.tables.raw import FII_STATS

_CONTRACTS = ("buy_contracts", "sell_contracts", "oi_contracts")
_CRORE = ("buy_crore", "sell_crore", "oi_crore")
_FIELDS = ("buy_contracts", "buy_crore", "sell_contracts", "sell_crore", "oi_contracts", "oi_crore")
_PRODUCTS = ("INDEX FUTURES", "INDEX OPTIONS", "STOCK FUTURES", "STOCK OPTIONS")
_LINE = re.compile(r"(?P<what>[A-Z0-9&][A-Z0-9& -]*?)\s+(?P<product>FUTURES|OPTIONS)")
_TITLE = re.compile(r"FII\s+DERIVATIVES\s+STATISTICS\s+FOR\s+(.+)", re.IGNORECASE)
_GROUPS = ((1, "BUY"), (3, "SELL"), (5, "OPEN INTEREST"))
_UNITS = ("NO. OF CONTRACTS", "AMT IN CRORES")
_WIDTH = 7

Grid = list[tuple[int, list[str]]]


def parse(file: str, data: bytes, trade_date: date, *, source: str, sha256: str) -> pl.DataFrame:
    """`raw.fii_stats` rows; `underlying` is `ALL` on a product's own line.

    Raises `InputRefused` with the rules of `Sheet`, and `container`, `title`, `date`, `header`,
    `fields`, `product`, `duplicate`, `missing_row`, `product_total`.
    """
    grid = _from_xls(file, data) if file.lower().endswith(".xls") else _from_csv(file, data)
    start = _check_title(file, grid, trade_date)
    body = _body(file, grid[start:])
    sheet = Sheet(file, pl.DataFrame(body, schema=["label", *_FIELDS, LINE], orient="row"))
    sheet.refuse_repeats(sheet.cells.select("label"), "label", "product or index")
    missing = [label for label in _PRODUCTS if label not in set(sheet.cells["label"])]
    if missing:
        refuse(
            file,
            "missing_row",
            field="label",
            found="no line of " + ", ".join(missing),
            expected=", ".join(_PRODUCTS),
            remedy="The sheet is cut off or edited; fetch it again.",
        )
    values = pl.DataFrame(
        [
            sheet.cells["label"],
            *(sheet.whole(name, ge=0) for name in _CONTRACTS),
            *(sheet.real(name, ge=0) for name in _CRORE),
        ]
    ).with_columns(_named(sheet.cells["label"]))
    _check_totals(sheet, values)
    frame = values.with_columns(
        trade_date=trade_date, source=pl.lit(source), source_sha256=pl.lit(sha256)
    )
    return FII_STATS.conform(frame)


def _from_csv(file: str, data: bytes) -> Grid:
    return [(number, cut(line)) for number, line in enumerate(decode(file, data), 1)]


def _from_xls(file: str, data: bytes) -> Grid:
    try:
        book = xlrd.open_workbook(file_contents=data, logfile=_Nowhere(), on_demand=False)
        sheet = book.sheet_by_index(0)
        return [(row + 1, [_cell(c.value) for c in sheet.row(row)]) for row in range(sheet.nrows)]
    except Exception as error:  # noqa: BLE001 (xlrd raises whatever a damaged book makes it)
        refuse(
            file,
            "container",
            found=f"a workbook that can't be read ({type(error).__name__}: {error})",
            expected="an Excel 97-2003 sheet",
            remedy=REFETCH,
        )


class _Nowhere:
    """Takes xlrd's remarks on odd but readable workbooks."""

    def write(self, text: str) -> int:
        return len(text)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value).strip()


def _check_title(file: str, grid: Grid, trade_date: date) -> int:
    """The position after the title, whose date must be the day's."""
    for position, (line, cells) in enumerate(grid):
        text = " ".join(cell for cell in cells if cell)
        if not text:
            continue
        match = _TITLE.search(text)
        if match is None:
            refuse(
                file,
                "title",
                line=line,
                field="title",
                found=repr(text),
                expected="FII DERIVATIVES STATISTICS FOR <date>",
                remedy=LAYOUT,
            )
        day = dates.titled(match[1].strip(" ,"))
        if day is None:
            refuse(
                file,
                "date_format",
                line=line,
                field="title",
                found=repr(text),
                expected="a title that ends in a date like 17-Jul-2025",
                remedy=LAYOUT,
            )
        check_date(file, "title", day, trade_date, line=line)
        return position + 1
    return len(grid)


def _body(file: str, grid: Grid) -> list[list[str | int]]:
    """The lines with figures, after a header in the order the exchange prints it."""
    rows: list[list[str | int]] = []
    groups = False
    for line, cells in grid:
        padded = [*cells, *[""] * _WIDTH][: max(_WIDTH, len(cells))]
        label = " ".join(padded[0].upper().split())
        figures = [cell for cell in padded[1:] if cell]
        is_line = _LINE.fullmatch(label) is not None
        if label.startswith("NOTE"):
            break
        if not (figures or is_line):
            continue
        if not label:
            groups = _check_header(file, line, padded) or groups
        elif not is_line:
            refuse(
                file,
                "product",
                line=line,
                field="label",
                found=repr(padded[0]),
                expected=f"{', '.join(_PRODUCTS)}, or an index of them",
                remedy="Add the new product after reading what the exchange means by it.",
            )
        elif len(figures) != len(_FIELDS) or any(padded[_WIDTH:]):
            refuse(
                file,
                "fields",
                line=line,
                field=label,
                found=f"{len(figures)} figures: {', '.join(figures)}",
                expected=f"{len(_FIELDS)} figures: {', '.join(_FIELDS)}",
                remedy=EDITED,
            )
        else:
            rows.append([label, *padded[1:_WIDTH], line])
    if rows and not groups:
        refuse(
            file,
            "header",
            field="header",
            found="no line of BUY, SELL, OPEN INTEREST over the figures",
            expected="that line",
            remedy=LAYOUT,
        )
    return rows


def _check_header(file: str, line: int, cells: list[str]) -> bool:
    """Whether a line without a label is the line of groups; refuses one out of order."""
    upper = [" ".join(cell.upper().split()) for cell in cells]
    if "BUY" in upper:
        wrong = [(name, upper[at]) for at, name in _GROUPS if not upper[at].startswith(name)]
    else:
        due = zip(upper[1:_WIDTH], _UNITS * 3, strict=True)
        wrong = [(name, found) for found, name in due if found != name]
    if wrong:
        refuse(
            file,
            "header",
            line=line,
            field=wrong[0][0],
            found=repr(wrong[0][1]),
            expected=wrong[0][0],
            remedy=LAYOUT,
        )
    return "BUY" in upper


def _named(labels: pl.Series) -> list[pl.Series]:
    parts = [match for label in labels if (match := _LINE.fullmatch(label))]
    kinds = ["future" if part["product"] == "FUTURES" else "option" for part in parts]
    wholes = [part["what"] in ("INDEX", "STOCK") for part in parts]
    group = ["stock" if part["what"] == "STOCK" else "index" for part in parts]
    return [
        pl.Series("product", [f"{g}_{k}" for g, k in zip(group, kinds, strict=True)]),
        pl.Series(
            "underlying",
            ["ALL" if w else p["what"] for w, p in zip(wholes, parts, strict=True)],
        ),
    ]


def _check_totals(sheet: Sheet, values: pl.DataFrame) -> None:
    """The index lines make up their product, within the rounding of each figure."""
    for product in ("index_future", "index_option"):
        lines = values.filter(pl.col("product") == product)
        whole = lines.filter(pl.col("underlying") == "ALL")
        parts = lines.filter(pl.col("underlying") != "ALL")
        if not parts.height:
            continue
        label = whole["label"][0]
        for name in _FIELDS:
            unit = 1 if name in _CONTRACTS else 0.01
            slack = unit * (parts.height + 1) / 2 * 1.001
            stated, summed = whole[name][0], parts[name].sum()
            if abs(stated - summed) > slack:
                refuse(
                    sheet.file,
                    "product_total",
                    line=int(sheet.cells.filter(sheet.cells["label"] == label)[LINE][0]),
                    field=name,
                    found=f"{label} {stated}, while its indices make {summed:.2f}",
                    expected=f"the sum of its {parts.height} index lines, within {slack:.3f}",
                    remedy=EDITED,
                )
