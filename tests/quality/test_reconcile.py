"""Our last minute against the exchange's close: hand-worked, and each usual fault by its cause."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import polars as pl
import pytest

from optrade.calendar import IST
from optrade.quality import Inputs, evaluate, rules_for
from optrade.quality.reconcile import reconcile
from optrade.tables import TABLES

DAY, EXPIRY, LOT = date(2026, 2, 2), date(2026, 2, 3), 65
CLOSE = datetime(2026, 2, 2, 15, 30, tzinfo=IST)
STRIKES = [24000.0 + 50 * n for n in range(21)]
FIELDS = ["lot_size", "oi", "previous_oi", "price", "strikes", "volume"]
TABLE = "quality.reconciliation"


def chain(name: str, **more: object) -> pl.DataFrame:
    """A chain whose calls have other figures than its puts, and every strike its own."""
    table = TABLES[name]
    rows = [
        {
            "trade_date": DAY, "underlying": "NIFTY", "expiry": EXPIRY, "strike": strike,
            "option_type": side, "oi_units": LOT * 1000 * (place + 1) * (3 if side == "CE" else 1),
            "oi_change_units": LOT * 10, "volume_units": LOT * 500 * (place + 1)
            * (1 if side == "CE" else 2),
            "last_price": 5.0 + (10 * place if side == "PE" else 200 - 8 * place),
            "close_price": 1.0, "lot_size": LOT, "source": "simulated", "snapshot_at": CLOSE,
        } | more
        for place, strike in enumerate(STRIKES)
        for side in ("CE", "PE")
    ]  # fmt: skip
    return pl.DataFrame(rows, dict(table.schema))


@pytest.fixture(scope="module")
def close() -> pl.DataFrame:
    return chain("snapshots.chain_close")


@pytest.fixture(scope="module")
def minute() -> pl.DataFrame:
    return chain("snapshots.chain_minute", minute=CLOSE - timedelta(minutes=1))


def by_field(rows: pl.DataFrame) -> dict[str, dict[str, object]]:
    TABLES[TABLE].pandera.validate(rows)
    return {row["field"]: row for row in rows.to_dicts()}


def causes(rows: pl.DataFrame) -> dict[str, object]:
    return {name: row["cause"] for name, row in by_field(rows).items() if row["cause"]}


def broken(rows: pl.DataFrame) -> set[str]:
    inputs = Inputs({TABLE: rows}, [DAY])
    return {
        rule.name
        for rule in rules_for(TABLE)
        if evaluate(rule, inputs, [DAY])["passed"].to_list() == [False]
    }


def test_the_same_figures_agree(minute: pl.DataFrame, close: pl.DataFrame) -> None:
    earlier = minute.with_columns(
        minute=pl.col("minute") - timedelta(minutes=1), oi_units=pl.lit(0, pl.Int64)
    )
    rows = reconcile(pl.concat([earlier, minute]), close)
    assert rows["field"].to_list() == FIELDS
    assert rows["compared"].to_list() == rows["within"].to_list() == [42] * 6
    assert rows["cause"].null_count() == rows["sample"].null_count() == 6
    assert set(rows["last_minute"]) == {CLOSE - timedelta(minutes=1)}
    assert broken(rows) == set()


def test_tolerances_by_hand(minute: pl.DataFrame, close: pl.DataFrame) -> None:
    at = (pl.col("strike") == 24000) & (pl.col("option_type") == "PE")  # 1,000 lots, 1,000 traded
    off = minute.with_columns(
        oi_units=pl.when(at).then(LOT * 1051).otherwise("oi_units"),  # 5 % is 50 lots
        oi_change_units=pl.when(at).then(LOT * 61).otherwise("oi_change_units"),
        volume_units=pl.when(at).then(LOT * 950).otherwise("volume_units"),
        last_price=pl.when(at).then(5.51).otherwise("last_price"),  # of 5.00: 0.50 is allowed
    )
    rows = by_field(reconcile(off, close))
    assert {name: row["within"] for name, row in rows.items()} == {
        "oi": 41, "volume": 42, "price": 41, "previous_oi": 42, "lot_size": 42, "strikes": 42,
    }  # fmt: skip
    assert rows["oi"]["worst_difference"] == LOT * 51
    assert rows["oi"]["sample"] == f"24000.0 PE: {LOT * 1051} against {LOT * 1000}"
    assert rows["oi"]["cause"] is None  # one of 42 is ordinary
    assert rows["volume"]["worst_difference"] == -LOT * 50


def test_what_is_null_is_not_compared(minute: pl.DataFrame, close: pl.DataFrame) -> None:
    unknown = close.with_columns(last_price=pl.lit(None, pl.Float64))
    price = by_field(reconcile(minute, unknown))["price"]
    assert (price["compared"], price["within"], price["cause"]) == (0, 0, None)
    assert price["worst_difference"] is None
    assert reconcile(minute.clear(), close).is_empty()
    assert reconcile(minute, close.clear()).is_empty()


@pytest.mark.parametrize("column", ["oi_units", "volume_units"])
@pytest.mark.parametrize("in_lots", [False, True])
def test_units_taken_for_lots(
    minute: pl.DataFrame, close: pl.DataFrame, column: str, in_lots: bool
) -> None:
    value = pl.col(column) // LOT if in_lots else pl.col(column) * LOT
    rows = reconcile(minute.with_columns(value.alias(column)), close)
    field = column.removesuffix("_units")
    assert causes(rows)[field] == "units_lots"
    assert "units_agree" in broken(rows)


def test_calls_taken_for_puts(minute: pl.DataFrame, close: pl.DataFrame) -> None:
    other = pl.when(pl.col("option_type") == "CE").then(pl.lit("PE")).otherwise(pl.lit("CE"))
    rows = reconcile(minute.with_columns(option_type=other), close)
    found = causes(rows)
    assert {found["oi"], found["volume"], found["price"]} == {"sides_swapped"}
    assert "sides_agree" in broken(rows)


def test_a_block_of_strikes_is_missing_or_beyond(minute: pl.DataFrame, close: pl.DataFrame) -> None:
    block = pl.col("strike").is_between(24200, 24300)
    rows = reconcile(minute.filter(~block), close)
    assert causes(rows) == {"strikes": "missing_strikes"}
    row = by_field(rows)["strikes"]
    assert (row["compared"], row["within"]) == (42, 36)
    assert str(row["sample"]).startswith("missing 6: 24200.0 CE, 24200.0 PE, 24250.0 CE; extra 0")
    assert broken(rows) == {"strikes_agree"}
    assert causes(reconcile(minute, close.filter(~block))) == {"strikes": "extra_strikes"}
    outer = minute.filter(pl.col("strike").is_between(24100, 24900))  # a narrower choice is none
    assert causes(reconcile(outer, close)) == {}


def test_minutes_that_end_early_say_so(minute: pl.DataFrame, close: pl.DataFrame) -> None:
    early = minute.with_columns(
        minute=pl.col("minute") - timedelta(minutes=20), volume_units=pl.col("volume_units") // 2
    )
    rows = reconcile(early, close)
    assert causes(rows) == {"volume": "ended_early"}
    assert broken(rows) == {"minutes_reach_close"}
    begun = early.with_columns(volume_units=pl.col("volume_units") * 2 // LOT)
    assert causes(reconcile(begun, close)) == {"volume": "ended_early"}, "not lots: a 65th of a day"
    late = reconcile(minute.with_columns(volume_units=pl.col("volume_units") // 2), close)
    assert (causes(late), broken(late)) == ({"volume": "unexplained"}, {"figures_agree"})
