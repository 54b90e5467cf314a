"""The composite reading: by hand, never without a part, and blind to the future."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from optrade.history import against_past
from optrade.signals import sentiment
from optrade.signals.sentiment import RULE, WEIGHTS
from optrade.tables import TABLES
from optrade.tables.signals import PARTS

SESSIONS = [date(2026, 1, 1) + timedelta(days=n) for n in range(70)]
LAST = SESSIONS[21]
MID = "net_premium_flow_mid_rupees"
Values = dict[str, list[float | None]]


def rows(name: str, *given: dict) -> pl.DataFrame:
    table = TABLES[name]
    base = dict.fromkeys(table.schema) | {"source": "exchange"}
    return pl.DataFrame([base | row for row in given], schema=table.schema)


def frames(values: Values, days: list[date]) -> dict[str, pl.DataFrame]:
    """The tables whose parts are `values`, one a day; other indices and classes say otherwise."""
    each = [
        (day, dict(zip(values, at, strict=True)))
        for day, at in zip(days, zip(*values.values(), strict=True), strict=False)
    ]
    return {
        "chain_metrics": rows(
            "analytics.chain_metrics_close",
            *({"trade_date": d, "underlying": "NIFTY", "underlying_pcr_oi": v["put_call_ratio"]}
              for d, v in each),
            *({"trade_date": d, "underlying": "BANKNIFTY", "underlying_pcr_oi": 9.0}
              for d, _ in each),
        ),
        "index_close": rows(
            "raw.index_close",
            *({"trade_date": d, "index_name": "India VIX", "close": v["india_vix"]}
              for d, v in each),
            *({"trade_date": d, "index_name": "Nifty 50", "close": 9.0} for d, _ in each),
        ),
        "activity": rows(
            "participants.activity",
            *({"trade_date": d, "participant": "FII", "future_long_share": v["future_long_share"]}
              for d, v in each),
            *({"trade_date": d, "participant": "PRO", "future_long_share": 0.9} for d, _ in each),
        ),
        "cross": rows(
            "participants.cross",
            *({"trade_date": d, "fii_lean": v["smart_money_direction"],
               "crowd_vs_smart_gap": v["crowd_vs_smart_gap"]} for d, v in each),
        ),
        "premium_flow": rows(
            "participants.premium_flow",
            *({"trade_date": d, "participant": who, "segment": segment, MID: paid}
              for d, v in each
              for who, segment, paid in (
                  ("FII", "index_call", v["premium_flow_rupees"]),
                  ("FII", "index_put", 100.0),
                  ("FII", "total", 7.0),
                  ("PRO", "index_call", 7.0),
              )),
        ),
    }  # fmt: skip


def alternating(n: int, last: float) -> list[float | None]:
    """0 and 2 in turn, of mean 1; then `last`."""
    return [float(i % 2 * 2) for i in range(n)] + [last]


def steady(**last: float) -> Values:
    """21 days of history for each part, then its value of the day: 1, its mean, if not given."""
    return {part: alternating(21, last.get(part, 1.0)) for part in PARTS}


def deviation(n: int) -> float:
    return float(np.std([i % 2 * 2 for i in range(n)], ddof=1))


def read(values: Values, day: date = LAST, days: list[date] = SESSIONS) -> dict:
    found = sentiment([day], SESSIONS, **frames(values, days))
    TABLES["analytics.sentiment"].pandera.validate(found)
    return found.row(0, named=True)


def test_by_hand() -> None:
    mean, std = 20 / 21, deviation(21)
    row = read(
        steady(put_call_ratio=mean + std, india_vix=mean + 8 * std, crowd_vs_smart_gap=mean - std)
    )
    assert row["put_call_ratio"] == pytest.approx(mean + std)
    assert row["put_call_ratio_standardised"] == pytest.approx(1)
    assert row["india_vix_standardised"] == pytest.approx(8)
    assert row["crowd_vs_smart_gap_standardised"] == pytest.approx(-1)
    assert {row[f"{part}_history_n"] for part in PARTS} == {21}
    assert row["premium_flow_rupees"] == pytest.approx(1 - 100)  # calls less puts
    small = (1 - mean) / std / 2 / 6  # what the two other parts at 1 add
    flow = (1 - 100 - (mean - 100)) / std / 2 / 6
    expected = 0.5 / 6 - 1 / 6 + 0.5 / 6 + 2 * small + flow
    assert row["score"] == pytest.approx(expected)
    assert (row["label"], row["reason"], row["missing_parts"]) == ("NEUTRAL", None, None)
    assert (row["underlying"], row["rule"]) == ("NIFTY", RULE)
    assert [row[f"{part}_weight"] for part in PARTS] == list(WEIGHTS.values())


def test_full_scores_and_labels() -> None:
    far = {part: 99.0 if weight > 0 else -99.0 for part, weight in WEIGHTS.items()}
    row = read(steady(**far))
    assert (row["score"], row["label"]) == (pytest.approx(1), "BULLISH")
    row = read(steady(**{part: -value for part, value in far.items()}))
    assert (row["score"], row["label"]) == (pytest.approx(-1), "BEARISH")


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_part_is_never_filled_up(part) -> None:
    values = steady()
    values[part] = [*values[part][:-1], None]
    row = read(values)
    assert (row["score"], row["label"], row["reason"]) == (None, None, "part_missing")
    assert row["missing_parts"] == part
    assert row[f"{part}_standardised"] is None
    assert sum(abs(row[f"{p}_weight"]) for p in PARTS) == pytest.approx(1)


def test_a_missing_table_and_a_short_history() -> None:
    given = frames(steady(), SESSIONS)
    given["premium_flow"] = given["premium_flow"].clear()
    row = sentiment([LAST], SESSIONS, **given).row(0, named=True)
    assert (row["reason"], row["missing_parts"]) == ("part_missing", "premium_flow_rupees")
    row = read(steady(), SESSIONS[19])
    assert (row["reason"], row["missing_parts"]) == ("too_few_days", ", ".join(PARTS))
    assert row["put_call_ratio_history_n"] == 19
    still = steady() | {"india_vix": [1.0] * 22}
    row = read(still)
    assert (row["reason"], row["missing_parts"]) == ("no_variation", "india_vix")


def test_dates_alone_or_together_and_no_look_ahead() -> None:
    rng = np.random.default_rng(4)
    values: Values = {part: list(rng.standard_normal(70)) for part in PARTS}
    given = frames(values, SESSIONS)
    together = sentiment(SESSIONS, SESSIONS, **given)
    assert together["score"].count() == 50
    for n in (19, 20, 45, 69):
        day = SESSIONS[n]
        expected = together.filter(pl.col("trade_date") == day)
        assert sentiment([day], SESSIONS, **given).equals(expected)
        until = SESSIONS[max(0, n - 60) : n + 1]
        known = {
            name: frame.filter(pl.col("trade_date").is_in(until)) for name, frame in given.items()
        }
        assert sentiment([day], until, **known).equals(expected)


def test_nothing_held_gives_no_rows() -> None:
    assert sentiment(SESSIONS, SESSIONS, **frames({p: [] for p in PARTS}, [])).is_empty()


def test_a_stray_day_is_refused() -> None:
    values = pl.DataFrame({"trade_date": [SESSIONS[0]], "value": [1.0]})
    with pytest.raises(ValueError, match="2026-01-01, which is not one of the sessions"):
        against_past(values, [SESSIONS[0]], SESSIONS[1:])


def test_parts_are_measured_apart() -> None:
    days = SESSIONS[:25]
    values = pl.DataFrame(
        {
            "trade_date": days * 2,
            "part": ["a"] * 25 + ["b"] * 25,
            "value": [float(n) for n in range(25)] + [float(n * n) for n in range(25)],
        }
    )
    found = against_past(values, days[-1:], days, by=["part"]).sort("part")
    for row, past in zip(
        found.iter_rows(named=True), ([*range(24)], [n * n for n in range(24)]), strict=True
    ):
        assert row["history_n"] == 24
        z = (row["value"] - np.mean(past)) / np.std(past, ddof=1)
        assert row["standardised"] == pytest.approx(z)
