"""Rules of the broker's candles: a good answer passes each, and damage meant for it fails it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta

import polars as pl
import pytest

from optrade.calendar import IST
from optrade.quality import Inputs, Rule, evaluate, rules_for
from optrade.tables import TABLES

DAY = date(2026, 1, 12)
TABLE = TABLES["raw.candles"]
OPEN = datetime(2026, 1, 12, 9, 15, tzinfo=IST)
RULES = rules_for(TABLE.full_name)
first = pl.col("minute") == OPEN


@pytest.fixture
def good() -> pl.DataFrame:
    rows = [
        {
            "trade_date": DAY, "instrument_token": token, "underlying": "NIFTY",
            "minute": OPEN + timedelta(minutes=minute), "open": 60.0, "high": 62.5, "low": 59.0,
            "close": 61.0, "volume_units": 650, "oi_units": 130_000,
            "fetched_at": OPEN + timedelta(hours=7), "request": "/instruments/historical/1/minute",
            "stored_as": "files/candles/x", "source_sha256": "0" * 64, "source": "simulated",
        }
        for token in (1, 2)
        for minute in range(3)
    ]  # fmt: skip
    return TABLE.conform(pl.DataFrame(rows, schema=TABLE.schema))


def put(**values: object) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Other values in the first minute."""

    def damage(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(
            pl.when(first).then(pl.lit(v, frame.schema[name])).otherwise(name).alias(name)
            for name, v in values.items()
        )

    return damage


DAMAGES: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
    "declared": put(volume_units=-1),
    "unique_key": lambda frame: pl.concat([frame, frame.head(1)]),
    "inside_date": put(minute=OPEN - timedelta(days=1)),
    "prices_ordered": put(low=61.5),
    "minute_over": put(fetched_at=OPEN + timedelta(seconds=59)),
}


def judged(rule: Rule, frame: pl.DataFrame) -> dict[str, object]:
    inputs = Inputs({TABLE.full_name: frame}, [DAY])
    return evaluate(rule, inputs, [DAY]).row(0, named=True)


def test_every_rule_has_its_damage() -> None:
    assert set(DAMAGES) == {rule.name for rule in RULES}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_passes_a_good_answer_and_fails_a_damaged_one(rule: Rule, good: pl.DataFrame) -> None:
    assert judged(rule, good)["passed"] is True
    verdict = judged(rule, DAMAGES[rule.name](good))
    assert verdict["passed"] is False
    assert verdict["sample"]
