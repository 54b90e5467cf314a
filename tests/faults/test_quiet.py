"""Days on which nothing is wrong: the live lane raises no incident. More: OPTRADE_STRESS=1."""

from __future__ import annotations

import json
import os
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest

from optrade.calendar import load_calendar
from optrade.formats.kite_instruments import parse_instruments
from optrade.simulation.intraday import IntradayMarket
from optrade.simulation.kite_packets import HEARTBEAT
from optrade.subscription import Subscription, choose
from resources.clock import ScaledClock
from resources.kite_exchange.faults import Faults
from resources.kite_exchange.feed import Feed
from resources.spool_segments import HEADER
from tests.assets.spooled_market import DAY, OPEN, Market, record
from tests.faults.hospital import close_day, incidents, journal

STRESS = os.environ.get("OPTRADE_STRESS") == "1"
SEEDS, MINUTES = (range(1, 21), 10) if STRESS else (range(1, 3), 3)
FIRST_DAY = date(2026, 1, 27)
CALENDAR = load_calendar()


def subscribed(simulated: IntradayMarket) -> Subscription:
    """What the collector would choose of that market."""
    dump = simulated.instruments_csv()
    listed = parse_instruments("instruments.csv", dump, DAY, source="simulated", sha256="ab" * 32)
    row = simulated.instruments.filter(tradingsymbol="NIFTY 50")
    token = int(row["instrument_token"][0])
    spot = simulated.quote([token], simulated.opens)[token]["last_price"]
    return choose(
        listed,
        {"NIFTY": spot},
        underlyings=("NIFTY",),
        buckets=("this_week", "next_week", "this_month"),
        width_pct=1.0,
        limit=3000,
    )


def collect(market: Market, simulated: IntradayMarket) -> None:
    """Spool the first minutes of the day as a collector leaves them."""
    market.folder.mkdir(parents=True)
    chosen = subscribed(simulated)
    (market.folder / "subscription.json").write_text(chosen.to_json(), encoding="utf-8")
    (market.folder / "instruments.csv").write_bytes(simulated.instruments_csv())
    journal(market, [], chosen.frame.height)
    tokens = chosen.frame["instrument_token"].to_list()
    feed = Feed(simulated, Faults(ScaledClock(OPEN, OPEN, 1.0)), 0, -5.0)
    feed.hear(json.dumps({"a": "subscribe", "v": tokens}))
    feed.hear(json.dumps({"a": "mode", "v": ["full", tokens]}))
    for minute in range(MINUTES):
        body = record(OPEN + timedelta(minutes=minute), HEARTBEAT)
        for second in range(60 * minute, 60 * minute + 60):
            at = OPEN + timedelta(seconds=second + 0.3)
            body += b"".join(record(at, said) for said in feed.frames(float(second)))
        market.seal(minute, HEADER + body)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_incident_on_a_day_without_a_fault(seed: int, tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        market = Market(tmp_path, instance)
        collect(market, IntradayMarket(DAY, seed, FIRST_DAY, CALENDAR))
        assert market.run().success
        close_day(market)
        assert market.read("snapshots.chain_minute")["minute"].n_unique() == MINUTES
        told = {at: row["evidence"] for at, row in incidents(market.settings).items()}
        assert told == {}
