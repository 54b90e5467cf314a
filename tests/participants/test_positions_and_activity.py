"""Positions and activity: by hand, as properties, and against the csv module on real files."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optrade.participants import activity as made_activity
from optrade.participants import positions, premium_flow
from optrade.participants.positioning import RULE
from optrade.tables import TABLES
from optrade.tables.common import PARTICIPANTS, SEGMENTS

D1, D2 = date(2026, 7, 1), date(2026, 7, 2)
FLOWS = [f"net_premium_flow_{name}_rupees" for name in ("low", "mid", "high")]
NO_CHAIN = TABLES["snapshots.chain_close"].empty()


def activity(oi: pl.DataFrame, volume: pl.DataFrame) -> pl.DataFrame:
    """On days without a chain: no premium is known."""
    return made_activity(oi, volume, premium_flow(volume, NO_CHAIN))


def test_positions_by_hand(frame) -> None:
    held = {
        (D1, "CLIENT", "index_call"): (60, 10),
        (D1, "DII", "index_call"): (0, 0),
        (D1, "FII", "index_call"): (30, 50),
        (D1, "PRO", "index_call"): (10, 40),
        (D1, "CLIENT", "stock_put"): (0, 0),
    }
    found = positions(frame(held))
    TABLES["participants.positions"].pandera.validate(found)
    assert "TOTAL" not in found["participant"].to_list()
    row = found.row(by_predicate=pl.col("participant") == "FII", named=True)
    assert (row["net_contracts"], row["long_share"], row["short_share"]) == (-20, 0.3, 0.5)
    nobody = found.row(by_predicate=pl.col("segment") == "stock_put", named=True)
    assert (nobody["long_share"], nobody["short_share"]) == (None, None)


def test_activity_by_hand(frame, full) -> None:
    held, traded = full([D1]), full([D1], seed=5)
    held[D1, "FII", "index_future"] = (30, 10)
    held[D1, "FII", "index_call"] = (60, 40)
    held[D1, "FII", "index_put"] = (20, 30)
    traded[D1, "FII", "index_future"] = (5, 7)
    traded[D1, "FII", "index_call"] = (8, 2)
    traded[D1, "FII", "index_put"] = (9, 11)
    found = activity(frame(held), frame(traded))
    TABLES["participants.activity"].pandera.validate(found)
    row = found.row(by_predicate=pl.col("participant") == "FII", named=True)
    assert row == {
        "trade_date": D1,
        "participant": "FII",
        "call_long_oi_contracts": 60,
        "call_short_oi_contracts": 40,
        "call_oi_contracts": 100,
        "put_long_oi_contracts": 20,
        "put_short_oi_contracts": 30,
        "put_oi_contracts": 50,
        "call_bought_contracts": 8,
        "call_sold_contracts": 2,
        "call_volume_contracts": 10,
        "put_bought_contracts": 9,
        "put_sold_contracts": 11,
        "put_volume_contracts": 20,
        "pcr_oi": 0.5,
        "pcr_volume": 2.0,
        "net_index_future_contracts": 20,
        "net_index_future_volume_contracts": -2,
        "future_long_share": 0.75,
        "option_lean": (20 + 10) / 150,
        "traded_lean": (-2 + 6 + 2) / 190,
        "positioning": "BULLISH",
        "positioning_rule": RULE,
        "positioning_reason": None,
        **dict.fromkeys(FLOWS),
        "premium_flow_reason": "premium_not_held",
        "reason": None,
        "source": "exchange",
    }


def test_activity_without_the_volume_file(frame, full) -> None:
    found = activity(frame(full([D1, D2])), frame(full([D1])))
    assert found["trade_date"].to_list() == [D1] * 4 + [D2] * 4
    later = found.filter(pl.col("trade_date") == D2)
    assert later["reason"].to_list() == ["volume_file_not_held"] * 4
    assert later["premium_flow_reason"].to_list() == ["volume_file_not_held"] * 4
    assert later["positioning_reason"].to_list() == ["volume_file_not_held"] * 4
    for name in ("call_volume_contracts", "pcr_volume", "traded_lean", "positioning", *FLOWS):
        assert later[name].null_count() == 4
    assert later["call_oi_contracts"].null_count() == 0


def test_activity_of_a_class_without_calls_or_futures(frame, full) -> None:
    held = full([D1]) | {(D1, "DII", s): (0, 0) for s in ("index_call", "index_future")}
    row = activity(frame(held), frame(held)).row(
        by_predicate=pl.col("participant") == "DII", named=True
    )
    assert (row["pcr_oi"], row["pcr_volume"], row["future_long_share"]) == (None, None, None)
    assert (row["reason"], row["positioning"], row["positioning_reason"]) == (
        None,
        None,
        "no_positions",
    )


@pytest.mark.parametrize(
    ("future", "call", "traded", "expected"),
    [
        ((55, 45), (105, 95), 3, "BULLISH"),  # 0.55, 0.05 and 3 / 300: each at its threshold
        ((55, 45), (105, 95), 2, "BULLISH"),
        ((55, 45), (105, 95), -3, "NEUTRAL"),
        ((55, 45), (104, 96), 3, "BULLISH"),
        ((55, 45), (104, 96), 2, "NEUTRAL"),
        ((54, 46), (105, 95), 2, "NEUTRAL"),
        ((45, 55), (95, 105), -2, "BEARISH"),
        ((45, 55), (95, 105), 3, "NEUTRAL"),
        ((45, 55), (96, 104), -3, "BEARISH"),
        ((50, 50), (100, 100), -300, "NEUTRAL"),
    ],
)
def test_positioning_by_hand(frame, full, future, call, traded, expected) -> None:
    """Two votes of three decide."""
    held, deals = full([D1]), full([D1])
    held[D1, "FII", "index_future"] = future
    held[D1, "FII", "index_call"] = call
    held[D1, "FII", "index_put"] = (0, 0)
    deals |= {(D1, "FII", segment): (500, 500) for segment in SEGMENTS}
    deals[D1, "FII", "index_put"] = (500 - traded, 500)
    found = activity(frame(held), frame(deals))
    row = found.row(by_predicate=pl.col("participant") == "FII", named=True)
    assert row["positioning"] == expected
    assert row["option_lean"] == (call[0] - call[1]) / 200
    assert row["traded_lean"] == traded / 300


def test_activity_takes_the_total_premium_flow_over(frame, full) -> None:
    traded = frame(full([D1]))
    nil = dict.fromkeys(NO_CHAIN.columns)
    chain = pl.DataFrame(
        [
            nil
            | {"trade_date": D1, "expiry": D2, "option_type": kind, "volume_lots": n}
            | {"lot_size": 50, "average_price": 3.0}
            for kind, n in (("CE", 80), ("PE", 90))
        ],
        schema=NO_CHAIN.schema,
    )
    sides = traded.filter(pl.col("participant") == "TOTAL")
    lots = dict(sides.select("segment", "long_contracts").iter_rows())
    sized = {"CE": lots["index_call"], "PE": lots["index_put"]}
    chain = chain.with_columns(
        volume_lots=pl.col("option_type").replace_strict(sized, return_dtype=pl.Int64)
    )
    flows = premium_flow(traded, chain)
    found = made_activity(frame(full([D1])), traded, flows)
    total = flows.filter(pl.col("segment") == "total")
    assert found.select("participant", *FLOWS).equals(total.select("participant", *FLOWS))
    assert found["net_premium_flow_mid_rupees"].sum() == 0
    assert found["net_premium_flow_mid_rupees"].null_count() == 0
    assert found["premium_flow_reason"].null_count() == 4


SIDES = st.tuples(st.integers(0, 10**7), st.integers(0, 10**7))
BOOK = st.fixed_dictionaries({(w, s): SIDES for w in PARTICIPANTS for s in SEGMENTS})


@given(st.lists(BOOK, min_size=1, max_size=3))
def test_shares_sum_to_one_and_days_stand_alone(frame, books) -> None:
    days = [date(2026, 7, 1 + n) for n in range(len(books))]
    figures = {(d, *key): v for d, book in zip(days, books, strict=True) for key, v in book.items()}
    raw = frame(figures)
    found = positions(raw)
    sums = found.group_by("trade_date", "segment").agg(pl.col("long_share", "short_share").sum())
    for name in ("long_share", "short_share"):
        assert all(s == pytest.approx(1) or s == 0 for s in sums[name])
    for make in (positions, lambda r: activity(r, r)):
        alone = [make(raw.filter(pl.col("trade_date") == day)) for day in days]
        assert make(raw).equals(pl.concat(alone))


def test_real_positions_and_activity(frame, real_oi, real_volume) -> None:
    oi, volume = frame(real_oi), frame(real_volume)
    held = {
        (r["trade_date"], r["participant"], r["segment"]): r
        for r in positions(oi).iter_rows(named=True)
    }
    assert held.keys() == real_oi.keys()
    for (day, _, segment), row in held.items():
        long, short = real_oi[day, row["participant"], segment]
        total = sum(real_oi[day, who, segment][0] for who in PARTICIPANTS)
        assert row["net_contracts"] == long - short
        assert row["long_share"] == long / total
    for row in activity(oi, volume).iter_rows(named=True):
        day, who = row["trade_date"], row["participant"]
        calls, puts = (sum(real_oi[day, who, f"index_{k}"]) for k in ("call", "put"))
        assert row["pcr_oi"] == (puts / calls if calls else None)
        if (day, who, "index_call") in real_volume:
            assert row["call_bought_contracts"] == real_volume[day, who, "index_call"][0]
            assert row["put_sold_contracts"] == real_volume[day, who, "index_put"][1]
            assert row["positioning"] in ("BULLISH", "BEARISH", "NEUTRAL")
            net = [
                sum(real_volume[day, who, f"index_{kind}"][side] for kind in ("future", "call"))
                - real_volume[day, who, "index_put"][side]
                for side in (0, 1)
            ]
            gross = sum(sum(real_oi[day, who, f"index_{k}"]) for k in ("future", "call", "put"))
            assert row["traded_lean"] == (net[0] - net[1]) / gross
        else:
            assert row["reason"] == row["positioning_reason"] == "volume_file_not_held"
