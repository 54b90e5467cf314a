"""FII derivatives statistics, as a workbook and as CSV."""

from __future__ import annotations

import pytest

from tests.formats import samples as s
from tests.formats.conftest import Read, Refused

KIND = "fii_stats"
CSV = s.name_of(KIND, s.DAY, 1)


def with_cell(row: int, column: int, value: object) -> list[list[object]]:
    """The sheet with one cell replaced; `row` is 1-based as a person sees it."""
    grid = s.fii_grid()
    grid[row - 1][column] = value
    return grid


def test_lines_become_products_and_indices(read: Read) -> None:
    frame = read(KIND, s.fii_xls(), s.DAY)
    assert frame.select("product", "underlying").rows() == [
        ("index_future", "ALL"),
        ("index_future", "BANKNIFTY"),
        ("index_future", "NIFTY"),
        ("index_option", "ALL"),
        ("index_option", "NIFTY"),
        ("stock_future", "ALL"),
        ("stock_option", "ALL"),
    ]
    assert frame.row(0, named=True) == frame.row(0, named=True) | {
        "trade_date": s.DAY,
        "buy_contracts": 100,
        "buy_crore": 18.02,
        "sell_contracts": 90,
        "sell_crore": 16.2,
        "oi_contracts": 1000,
        "oi_crore": 180.0,
    }


def test_workbook_and_csv_say_the_same(read: Read) -> None:
    book = read(KIND, s.fii_xls(), s.DAY).drop("source_sha256")
    assert read(KIND, s.fii_csv(), s.DAY, CSV).drop("source_sha256").equals(book)


def test_sheets_of_2018_have_numbers_and_four_lines(read: Read) -> None:
    lines = [
        ["INDEX FUTURES", 12672, 1072.9683, 25205, 2103.2341, 167645, 13461.1314],
        ["INDEX OPTIONS", 586709, 52735.8227, 570075, 51190.877, 686764, 55446.4665],
        ["STOCK FUTURES", 129084, 9595.6776, 135754, 10011.2891, 929183, 68150.8927],
        ["STOCK OPTIONS", 79685, 6015.4393, 79372, 5997.2949, 48141, 3671.2184],
    ]
    grid = s.fii_grid(lines)
    grid[1] = ["", "BUY", "", "SELL", "", "OPEN INTEREST AT THE END OF THE DAY", ""]
    frame = read(KIND, s.fii_xls(grid), s.DAY)
    assert frame["underlying"].to_list() == ["ALL"] * 4
    assert frame["buy_contracts"].to_list() == [12672, 586709, 129084, 79685]
    assert frame["oi_crore"].to_list() == [13461.1314, 55446.4665, 68150.8927, 3671.2184]


def test_a_new_index_needs_no_change(read: Read) -> None:
    lines = [*s.FII_LINES]
    lines[5:6] = [
        ["NIFTY OPTIONS", "4000", "700.50", "4100", "710.50", "8000", "1400.25"],
        ["NIFTYDEFENCE OPTIONS", "1000", "200.00", "1000", "200.00", "1000", "200.00"],
    ]
    frame = read(KIND, s.fii_csv(s.fii_grid(lines)), s.DAY, CSV)
    assert "NIFTYDEFENCE" in frame["underlying"].to_list()


@pytest.mark.parametrize(
    ("rule", "row", "column", "value", "field", "found"),
    [
        ("title", 1, 0, "FII STATISTICS", "title", "'FII STATISTICS'"),
        ("date_format", 1, 0, f"{s.FII_TITLE[:31]} Tuesday", "title", "Tuesday"),
        ("date", 1, 0, s.FII_TITLE.replace("06-", "05-"), "title", "2026-01-05"),
        ("header", 2, 1, "SELL", "BUY", "'SELL'"),
        ("header", 3, 1, "Amt in Crores", "NO. OF CONTRACTS", "'AMT IN CRORES'"),
        ("product", 4, 0, "CURRENCY FUNDS", "label", "'CURRENCY FUNDS'"),
        ("fields", 5, 3, "", "BANKNIFTY FUTURES", "5 figures: 40, 7.01, 5.20, 400, 70.00"),
        ("number", 5, 1, "4O", "buy_contracts", "'4O'"),
        ("number", 5, 1, "7.01", "buy_contracts", "'7.01'"),
        ("negative", 5, 6, "-70.00", "oi_crore", "'-70.00'"),
        ("duplicate", 6, 0, "BANKNIFTY FUTURES", "label", "again, already on line 5"),
        ("product_total", 4, 1, "103", "buy_contracts", "INDEX FUTURES 103, while its indices"),
        ("product_total", 4, 6, "180.02", "oi_crore", "make 180.00"),
    ],
)
@pytest.mark.parametrize("form", ["xls", "csv"])
def test_a_spoilt_cell_is_named(
    form: str,
    rule: str,
    row: int,
    column: int,
    value: str,
    field: str,
    found: str,
    refused: Refused,
) -> None:
    grid = with_cell(row, column, value)
    if form == "xls":
        error = refused(rule, KIND, s.fii_xls(grid), s.DAY)
    else:
        error = refused(rule, KIND, s.fii_csv(grid), s.DAY, CSV)
    assert (error.line, error.field) == (row, field)
    assert found in error.found


def test_contracts_and_amounts_swapped_are_refused(refused: Refused) -> None:
    grid = s.fii_grid()
    for row in grid[3:]:
        row[1], row[2] = row[2], row[1]
    error = refused("number", KIND, s.fii_csv(grid), s.DAY, CSV)
    assert (error.line, error.field) == (4, "buy_contracts")


def test_a_missing_product_is_refused(refused: Refused) -> None:
    error = refused("missing_row", KIND, s.fii_xls(s.fii_grid(s.FII_LINES[:-1])), s.DAY)
    assert error.found == "no line of STOCK OPTIONS"


def test_a_header_gone_is_refused(refused: Refused) -> None:
    grid = s.fii_grid()
    del grid[1]
    error = refused("header", KIND, s.fii_csv(grid), s.DAY, CSV)
    assert "no line of BUY, SELL, OPEN INTEREST" in error.found


def test_a_whole_container_that_is_no_workbook_is_refused(refused: Refused) -> None:
    data = s.fii_xls().replace("Workbook".encode("utf-16-le"), "Worldook".encode("utf-16-le"))
    error = refused("container", KIND, data, s.DAY)
    assert "can't be read" in error.found
