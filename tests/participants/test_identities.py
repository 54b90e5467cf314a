"""Identities 1 and 3: by hand, and on every real day."""

from __future__ import annotations

import csv
from datetime import date, datetime

import polars as pl
import pytest

from optrade.participants import fii_disagreements, unbalanced

D1 = date(2026, 7, 1)
PUBLISHED = {
    "INDEX FUTURES": "index_future",
    "INDEX OPTIONS": "index_option",
    "STOCK FUTURES": "stock_future",
    "STOCK OPTIONS": "stock_option",
}


def test_balanced_by_hand(frame, full) -> None:
    assert unbalanced(frame(full([D1]))).is_empty()


@pytest.mark.parametrize(
    ("who", "side", "by", "whats"),
    [
        ("FII", "long_contracts", 1, []),
        ("FII", "long_contracts", -2, ["total_long"]),
        ("CLIENT", "short_contracts", 2, ["total_short"]),
        ("TOTAL", "long_contracts", 1, ["total_sides"]),
        ("TOTAL", "short_contracts", 2, ["total_short", "total_sides"]),
    ],
)
def test_unbalanced_by_hand(frame, full, who, side, by, whats) -> None:
    hit = (pl.col("participant") == who) & (pl.col("segment") == "index_put")
    rows = frame(full([D1])).with_columns(
        pl.when(hit).then(pl.col(side) + by).otherwise(side).alias(side)
    )
    found = unbalanced(rows)
    assert found["what"].to_list() == whats
    assert set(found["segment"]) <= {"index_put"}
    assert all(abs(d) == abs(by) for d in found["difference"])


def test_an_absent_class_or_total_shows(frame, full) -> None:
    rows = frame(full([D1]))
    gone = unbalanced(rows.filter(pl.col("participant") != "TOTAL"))
    assert set(gone["what"]) == {"total_long", "total_short"}
    assert gone.height == 12
    assert unbalanced(rows.filter(pl.col("participant") != "FII")).height == 12


def stats(**lines: tuple[int, int, int]) -> pl.DataFrame:
    rows = [(D1, product, "ALL", *figures) for product, figures in lines.items()]
    rows.append((D1, "index_option", "NIFTY", 1, 1, 1))
    names = ("trade_date", "product", "underlying")
    counts = ("buy_contracts", "sell_contracts", "oi_contracts")
    return pl.DataFrame(rows, schema=[*names, *counts], orient="row")


def test_fii_by_hand(frame) -> None:
    held = frame(
        {
            (D1, "FII", "index_future"): (10, 20),
            (D1, "FII", "index_call"): (1, 2),
            (D1, "FII", "index_put"): (3, 4),
            (D1, "PRO", "index_put"): (90, 90),
        }
    )
    traded = frame(
        {
            (D1, "FII", "index_future"): (5, 6),
            (D1, "FII", "index_call"): (7, 8),
            (D1, "FII", "index_put"): (9, 1),
        }
    )
    right = stats(index_future=(5, 6, 30), index_option=(16, 9, 10))
    assert fii_disagreements(right, held, traded).is_empty()
    near = stats(index_future=(5, 6, 30), index_option=(17, 8, 11))
    assert fii_disagreements(near, held, traded).is_empty()
    wrong = stats(index_future=(5, 7, 30), index_option=(16, 9, 12))
    found = fii_disagreements(wrong, held, traded)
    assert found.rows() == [
        (D1, "index_future", "sold", 7, 6, 1),
        (D1, "index_option", "open_interest", 12, 10, 2),
    ]
    only_volume = fii_disagreements(wrong, frame({}), traded)
    assert only_volume["what"].to_list() == ["sold"]


def test_real_files_balance(frame, nse, real_oi, real_volume) -> None:
    for folder, figures in (("participant_oi", real_oi), ("participant_vol", real_volume)):
        rows = frame(figures).filter(pl.col("participant") != "TOTAL")
        totals = []
        for path in sorted((nse / folder).glob("*.csv")):
            day = datetime.strptime(path.stem[-8:], "%d%m%Y").astimezone().date()
            (cells,) = (
                c
                for c in csv.reader(path.read_text().splitlines())
                if c[0].strip().upper() == "TOTAL"
            )
            for segment, (long, short) in {
                "index_future": (1, 2),
                "stock_future": (3, 4),
                "index_call": (5, 7),
                "index_put": (6, 8),
                "stock_call": (9, 11),
                "stock_put": (10, 12),
            }.items():
                sides = int(float(cells[long])), int(float(cells[short]))
                totals.append((day, "TOTAL", segment, *sides, "exchange", "0" * 64))
        published = pl.DataFrame(totals, schema=rows.schema, orient="row")
        assert unbalanced(pl.concat([rows, published])).is_empty()


def test_real_fii_statistics_agree(frame, nse, real_oi, real_volume) -> None:
    lines = []
    for path in sorted((nse / "fii_stats").glob("*.csv")):
        day = datetime.strptime(path.stem[-11:], "%d-%b-%Y").astimezone().date()
        for cells in csv.reader(path.read_text(encoding="utf-8-sig").splitlines()):
            if cells and cells[0].strip() in PUBLISHED:
                figures = (int(float(cells[n])) for n in (1, 3, 5))
                lines.append((day, PUBLISHED[cells[0].strip()], "ALL", *figures))
    stated = pl.DataFrame(lines, schema=stats().schema, orient="row")
    assert stated["trade_date"].n_unique() == 10
    assert fii_disagreements(stated, frame(real_oi), frame(real_volume)).is_empty()
    for day, product, _, bought, sold, held in lines:
        parts = (
            [product]
            if product.endswith("future")
            else [product.replace("option", kind) for kind in ("call", "put")]
        )
        if (day, "FII", parts[0]) not in real_oi:
            continue
        room = 0 if product.endswith("future") else 1
        assert abs(held - sum(sum(real_oi[day, "FII", part]) for part in parts)) <= room
        assert abs(bought - sum(real_volume[day, "FII", part][0] for part in parts)) <= room
        assert abs(sold - sum(real_volume[day, "FII", part][1] for part in parts)) <= room
