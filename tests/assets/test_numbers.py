"""The lake's figures against the same figures worked out from the files without Polars."""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from decimal import Decimal
from itertools import pairwise

import pytest


def by_expiry(day):
    """Rows of the index options of a published day, by underlying and expiry."""
    groups = defaultdict(list)
    for row in day.index_options():
        expiry = date.fromisoformat(row["FininstrmActlXpryDt"])
        groups[row["TckrSymb"], expiry].append(row)
    return groups


def total(rows, side, column):
    return sum(int(row[column]) for row in rows if row["OptnTp"] == side)


def ratio(rows, column):
    calls, puts = total(rows, "CE", column), total(rows, "PE", column)
    return puts / calls if calls else None


def agree(found, expected):
    if found is None or expected is None:
        return found is expected
    return found == pytest.approx(expected, rel=1e-12, abs=0)


def max_pain(rows):
    """Lowest strike of those at which all options together pay out least, and the payout."""
    if not any(int(row["OpnIntrst"]) for row in rows):
        return None, None
    strikes = sorted({Decimal(row["StrkPric"]) for row in rows})

    def payout(at):
        sign = {"CE": 1, "PE": -1}
        return sum(
            max(sign[row["OptnTp"]] * (at - Decimal(row["StrkPric"])), 0) * int(row["OpnIntrst"])
            for row in rows
        )

    best = min(strikes, key=payout)
    return best, payout(best)


@pytest.fixture(scope="module")
def metrics(filled, sessions):
    rows = filled[0].read("analytics.chain_metrics_close", *sessions)
    return {(row["trade_date"], row["underlying"], row["expiry"]): row for row in rows}


@pytest.fixture(scope="module")
def chains(published):
    return {
        (day, *key): rows
        for day, files in published.items()
        for key, rows in by_expiry(files).items()
    }


def test_every_published_expiry_has_its_metrics(metrics, chains):
    assert set(metrics) == set(chains)
    assert len(chains) > 100


def test_put_call_ratios(metrics, chains):
    for key, rows in chains.items():
        assert agree(metrics[key]["pcr_oi"], ratio(rows, "OpnIntrst")), key
        assert agree(metrics[key]["pcr_volume"], ratio(rows, "TtlTradgVol")), key


def test_open_interest_sums(metrics, chains):
    for key, rows in chains.items():
        assert metrics[key]["call_oi_units"] == total(rows, "CE", "OpnIntrst"), key
        assert metrics[key]["put_oi_units"] == total(rows, "PE", "OpnIntrst"), key


def test_put_call_ratio_of_the_whole_underlying(metrics, published):
    for day, files in published.items():
        everything = defaultdict(list)
        for row in files.index_options():
            everything[row["TckrSymb"]].append(row)
        for underlying, rows in everything.items():
            of_chain = [row for key, row in metrics.items() if key[:2] == (day, underlying)]
            assert of_chain
            for row in of_chain:
                assert agree(row["underlying_pcr_oi"], ratio(rows, "OpnIntrst"))
                assert agree(row["underlying_pcr_volume"], ratio(rows, "TtlTradgVol"))


def test_max_pain(metrics, chains):
    for key, rows in chains.items():
        strike, payout = max_pain(rows)
        found = metrics[key]
        assert found["max_pain_strike"] == (None if strike is None else float(strike)), key
        assert found["max_pain_payout_rupees"] == (None if payout is None else float(payout)), key


def test_net_positions_of_participants(filled, published, sessions):
    rows = filled[0].read("participants.positions", *sessions)
    found = {
        (row["trade_date"], row["participant"], row["segment"]): row["net_contracts"]
        for row in rows
    }
    assert found == {
        (day, *key): long - short
        for day, files in published.items()
        for key, (long, short) in files.held.items()
    }


def test_ledger_residuals(filled, published, sessions):
    rows = filled[0].read("participants.ledger", *sessions)
    found = {(row["trade_date"], row["participant"], row["segment"]): row for row in rows}
    expected = {}
    for before, day in pairwise(sessions):
        for key, (long, short) in published[day].held.items():
            long_before, short_before = published[before].held[key]
            bought, sold = published[day].traded[key]
            expected[day, *key] = (long - short) - (long_before - short_before) - (bought - sold)
    first = {key for key in found if key[0] == sessions[0]}
    assert {found[key]["reason"] for key in first} == {"previous_day_not_held"}
    assert {key: row["residual"] for key, row in found.items() if key not in first} == expected


def test_the_ledger_names_the_expiry_and_is_exact_elsewhere(filled, published, sessions):
    rows = filled[0].read("participants.ledger", *sessions[1:])
    with_expiry = {
        day
        for day in sessions
        if any(row["FininstrmActlXpryDt"] == str(day) for row in published[day].contracts)
    }
    assert with_expiry == {date(2026, 1, 27)}
    quiet = [row for row in rows if row["trade_date"] not in with_expiry]
    assert {row["identity"] for row in quiet} == {"exact"}
    expired = [row for row in rows if row["trade_date"] in with_expiry and row["residual"]]
    assert {row["identity"] for row in expired} <= {"expiry", "rounding"}
    assert "expiry" in {row["identity"] for row in expired}


def test_premium_flow(filled, published, sessions):
    """Net contracts at turnover less strike, over the lots that traded; nothing left over."""
    rows = filled[0].read("participants.premium_flow", *sessions)
    found = {(row["trade_date"], row["participant"], row["segment"]): row for row in rows}
    mid = "net_premium_flow_mid_rupees"
    for day, files in published.items():
        for segment, side in (("index_call", "CE"), ("index_put", "PE")):
            traded = [row for row in files.index_options() if row["OptnTp"] == side]
            lots = sum(int(row["TtlTradgVol"]) for row in traded)
            paid = sum(
                Decimal(row["TtlTrfVal"])
                - Decimal(row["StrkPric"]) * int(row["TtlTradgVol"]) * int(row["NewBrdLotQty"])
                for row in traded
            )
            mean = paid / lots
            for who in ("CLIENT", "DII", "FII", "PRO"):
                bought, sold = files.traded[who, segment]
                row = found[day, who, segment]
                assert row["priced_share"] == 1
                assert abs(Decimal(row["mean_premium_rupees"]) - mean) <= Decimal(1) / 100
                assert row[mid] == (bought - sold) * row["mean_premium_rupees"]
        for segment in ("index_call", "index_put", "total"):
            of = [row for (d, _, s), row in found.items() if (d, s) == (day, segment)]
            assert sum(row[mid] for row in of) == 0
            assert {row["spread_basis"] for row in of} == {
                "bounds" if day == date(2026, 1, 27) else "deviation"
            }


def test_labels_have_a_record_from_the_first_day(filled, sessions):
    rows = filled[0].read("analytics.scorecard", *sessions)
    assert {row["trade_date"] for row in rows} == set(sessions)
    assert {row["verdict"] for row in rows} == {"too_few", "no_claim"}
    assert all(row["last_outcome_date"] is None or row["lead_hours"] > 0 for row in rows)
    last = [row for row in rows if row["trade_date"] == sessions[-1]]
    longest = {h: max(row["all_n"] for row in last if row["horizon_sessions"] == h) for h in (1, 5)}
    assert longest == {1: len(sessions) - 2, 5: 0}
