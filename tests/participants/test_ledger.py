"""Identity 2: by hand, as properties, and on the real files of 2025 and 2026."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optrade.participants import expiring_segments, expiry_flags, ledger
from optrade.tables import TABLES
from optrade.tables.common import PARTICIPANTS, SEGMENTS

D0, D1, D2 = date(2026, 7, 1), date(2026, 7, 2), date(2026, 7, 3)
CONTRACTS = {
    "trade_date": pl.Date,
    "underlying_class": pl.String,
    "instrument_type": pl.String,
    "expiry": pl.Date,
}


def contracts(*rows: tuple[date, str, str, date]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=CONTRACTS, orient="row")


def days(*pairs: tuple[date, date | None]) -> pl.DataFrame:
    schema = {"trade_date": pl.Date, "previous_date": pl.Date}
    return pl.DataFrame(list(pairs), schema=schema, orient="row")


def by_rule(*dates: date, **expiring: set[str]) -> pl.DataFrame:
    return expiry_flags(dates, contracts(), {d: expiring.get(f"d{d.day}", ()) for d in dates})


def one(frame: pl.DataFrame, segment: str = "index_call", who: str = "FII") -> dict:
    where = (pl.col("participant") == who) & (pl.col("segment") == segment)
    return frame.row(by_predicate=where, named=True)


@pytest.mark.parametrize(
    ("bought", "expires", "identity"),
    [
        (7, (), "exact"),
        (6, (), "rounding"),
        (5, (), "broken"),
        (7, {"index_call"}, "exact"),
        (8, {"index_call"}, "rounding"),
        (9, {"index_call"}, "expiry"),
        (9, {"index_put"}, "broken"),
    ],
)
def test_identity_by_hand(frame, full, bought, expires, identity) -> None:
    held, traded = full([D0, D1]), full([D1])
    held[D0, "FII", "index_call"] = (100, 40)
    held[D1, "FII", "index_call"] = (110, 43)
    traded[D1, "FII", "index_call"] = (50 + bought, 50)
    found = ledger(frame(held), frame(traded), days((D1, D0)), by_rule(D1, d2=expires))
    TABLES["participants.ledger"].pandera.validate(found)
    assert found.height == 24
    row = one(found)
    assert (row["net_oi_change"], row["net_volume"]) == (7, bought)
    assert (row["residual"], row["identity"], row["reason"]) == (7 - bought, identity, None)
    assert row["expiry_basis"] == "rule"
    expired = {"expiry": (bought - 7, None), "broken": (None, "nothing_expired")}
    small = (None, "within_rounding" if expires else "nothing_expired")
    found = row["expired_net_contracts"], row["expired_reason"]
    assert found == expired.get(identity, small)


def test_missing_files_have_reasons(frame, full) -> None:
    pairs = days((D0, date(2026, 6, 30)), (D1, D0), (D2, D1))
    flags = by_rule(D0, D1, D2)

    def reasons(oi: list[date], volume: list[date]) -> dict[date, set]:
        found = ledger(frame(full(oi)), frame(full(volume)), pairs, flags)
        assert found["residual"].is_null().equals(found["reason"].is_not_null())
        assert found["identity"].is_null().equals(found["reason"].is_not_null())
        unknown = found["expired_reason"] == "residual_unknown"
        assert unknown.fill_null(value=False).equals(found["reason"].is_not_null())
        return {
            day: set(found.filter(pl.col("trade_date") == day)["reason"])
            for day in sorted(set(found["trade_date"]))
        }

    assert reasons([D0, D1, D2], [D0, D1, D2]) == {
        D0: {"previous_day_not_held"},
        D1: {None},
        D2: {None},
    }
    assert reasons([D0, D1], [D1, D2]) == {
        D0: {"previous_day_not_held"},
        D1: {None},
        D2: {"oi_file_not_held"},
    }
    assert reasons([D0, D1], []) == {D0: {"previous_day_not_held"}, D1: {"volume_file_not_held"}}
    assert reasons([], [D1]) == {D1: {"oi_file_not_held"}}
    assert reasons([], []) == {}


def test_what_is_known_stands_beside_what_is_not(frame, full) -> None:
    row = one(ledger(frame(full([D0, D1])), frame({}), days((D1, D0)), by_rule(D1)))
    assert row["net_oi_change"] is not None
    assert row["net_volume"] is None
    row = one(ledger(frame({}), frame(full([D1])), days((D1, None)), by_rule(D1)))
    assert row["net_oi_change"] is None
    assert row["net_volume"] is not None


def test_a_day_no_expiry_is_known_of_is_refused(frame, full) -> None:
    held = frame(full([D0, D1]))
    with pytest.raises(ValueError, match="says nothing of 2026-07-02"):
        ledger(held, held, days((D1, D0)), by_rule(D0))


def test_expiring_segments_by_hand() -> None:
    found = expiring_segments(
        contracts(
            (D1, "index", "CE", D1),
            (D1, "index", "CE", D1),
            (D1, "index", "PE", D2),
            (D1, "stock", "FUT", D1),
            (D1, "volatility", "FUT", D1),
            (D2, "stock", "PE", D2),
        )
    )
    assert found.rows() == [
        (D1, "index_call"),
        (D1, "index_future"),
        (D1, "stock_future"),
        (D2, "stock_put"),
    ]


def test_flags_come_from_contracts_where_held_else_from_the_rule() -> None:
    found = expiry_flags(
        [D1, D2], contracts((D1, "index", "CE", D1)), {D1: {"stock_put"}, D2: {"index_put"}}
    )
    assert found.height == 12
    assert found.filter("expires").select("trade_date", "segment", "expiry_basis").rows() == [
        (D1, "index_call", "contract"),
        (D2, "index_put", "rule"),
    ]
    assert set(found.filter(pl.col("trade_date") == D1)["expiry_basis"]) == {"contract"}
    with pytest.raises(KeyError):
        expiry_flags([D1, D2], contracts((D1, "index", "CE", D1)), {})


WEEK = [D0 + timedelta(days=n) for n in range(5)]
BOOK = st.dictionaries(
    st.tuples(st.sampled_from(WEEK), st.sampled_from(PARTICIPANTS), st.sampled_from(SEGMENTS)),
    st.tuples(st.integers(0, 9), st.integers(0, 9)),
)


@given(BOOK, BOOK, st.sets(st.sampled_from(WEEK)))
def test_days_stand_alone(frame, held, traded, asked) -> None:
    pairs = days(*zip(WEEK[1:], WEEK[:-1], strict=True))
    flags = by_rule(*WEEK, d3={"index_call", "index_put"})
    oi, volume = frame(held), frame(traded)
    together = ledger(oi, volume, pairs.filter(pl.col("trade_date").is_in(list(asked))), flags)
    parts = [
        ledger(oi, volume, days((day, before)), flags)
        for before, day in pairwise(WEEK)
        if day in asked
    ]
    assert together.equals(pl.concat([*parts, together.clear()]))
    for row in together.iter_rows(named=True):
        key = (row["participant"], row["segment"])
        now, was = (held.get((d, *key)) for d in (row["trade_date"], before_of(row["trade_date"])))
        deal = traded.get((row["trade_date"], *key))
        if None not in (now, was, deal):
            assert row["residual"] == (now[0] - now[1]) - (was[0] - was[1]) - (deal[0] - deal[1])
        else:
            assert row["residual"] is None


def before_of(day: date) -> date:
    return day - timedelta(days=1)


WEEKLY = [date(2025, 9, 2), *(date(2026, 7, day) for day in (7, 14, 21))]
MONTHLY = [date(2025, 8, 28), date(2026, 7, 28)]
HOLIDAY = date(2025, 8, 27)
SMALL = {
    (date(2025, 9, 1), "index_call"): 13,
    (date(2026, 7, 9), "index_call"): 2,
}
"""The largest residuals on days without an expiry, by day and segment."""


def real_pairs(real_oi) -> list[tuple[date, date]]:
    held = sorted({day for day, _, _ in real_oi})
    pairs = []
    for day in held:
        before = day - timedelta(days=1)
        while before.weekday() > 4 or before == HOLIDAY:
            before -= timedelta(days=1)
        pairs.append((day, before))
    return pairs


def test_real_residuals_show_on_expiry_days_only(frame, real_oi, real_volume) -> None:
    pairs = real_pairs(real_oi)
    expiring = dict.fromkeys(WEEKLY, ("index_call", "index_put")) | dict.fromkeys(MONTHLY, SEGMENTS)
    flags = expiry_flags(
        [day for day, _ in pairs], contracts(), {d: expiring.get(d, ()) for d, _ in pairs}
    )
    found = ledger(frame(real_oi), frame(real_volume), days(*pairs), flags)
    known = found.drop_nulls("residual")
    assert known["trade_date"].n_unique() == 26
    for row in known.iter_rows(named=True):
        day, who, segment = row["trade_date"], row["participant"], row["segment"]
        (now, was) = (real_oi[d, who, segment] for d in (day, dict(pairs)[day]))
        deal = real_volume[day, who, segment]
        assert row["residual"] == (now[0] - now[1]) - (was[0] - was[1]) - (deal[0] - deal[1])
    broken = known.filter(pl.col("identity") == "broken")
    assert {(r["trade_date"], r["segment"]): abs(r["residual"]) for r in broken.to_dicts()} == SMALL
    seen = known.filter(pl.col("identity") == "expiry").select("trade_date", "segment").unique()
    assert set(seen.rows()) == {(day, s) for day, segments in expiring.items() for s in segments}
    inventory = known.drop_nulls("expired_net_contracts")
    nil = known.filter(pl.col("expired_reason") == "within_rounding")
    assert (inventory.height, nil.height) == (74, 6)
    sums = inventory.group_by("trade_date", "segment").agg(pl.col("expired_net_contracts").sum())
    assert sums["expired_net_contracts"].abs().max() <= 2
