"""The peer of `benchmarks/backfill.py`: the same tables from the same files, in one script.

Belongs here: what an engineer would write without an orchestrator or a lake. Does not belong
here: measuring.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import polars as pl

from assets.snapshots import session_closes
from optrade.calendar import TradingCalendar, load_calendar
from optrade.chain.exposure import dealer_weights, gamma_exposure_close
from optrade.chain.greeks import greeks_close
from optrade.chain.metrics import chain_metrics_close
from optrade.chain.open_interest import open_interest_close
from optrade.chain.premium import premium_close
from optrade.chain.premium_history import premium_overlay
from optrade.chain.snapshot import chain_close
from optrade.expiries import segments_expiring
from optrade.formats import parse
from optrade.formats.archive import candidates
from optrade.participants import (
    activity,
    cross,
    expiry_flags,
    ledger,
    positions,
    premium_flow,
)
from optrade.pricing.forward import RATE
from optrade.quality import Inputs, evaluate, rules_for
from optrade.signals import labels, scorecard, sentiment
from optrade.surface.frames import surface_close, surface_points_close
from optrade.volatility import vix_replica, volatility_history

KINDS = ("fo_bhavcopy", "participant_oi", "participant_volume", "fii_stats", "index_close")


def main() -> None:
    """Read the files of a range, compute every table, write one Parquet file a date."""
    root, first, last = Path(sys.argv[1]), *map(date.fromisoformat, sys.argv[2:4])
    calendar = load_calendar()
    days = calendar.sessions(first, last)
    tables = {f"raw.{kind}": read(root, kind, days) for kind in KINDS}
    tables |= computed(tables, calendar, days)
    if "--checks" in sys.argv:
        inputs = Inputs(tables, days)
        for name in tables:
            for rule in rules_for(name):
                evaluate(rule, inputs, days)
    with tempfile.TemporaryDirectory() as folder:
        for name, rows in tables.items():
            for (day,), slice_ in rows.partition_by("trade_date", as_dict=True).items():
                target = Path(folder) / name / f"trade_date={day}" / "rows.parquet"
                target.parent.mkdir(parents=True)
                slice_.write_parquet(target, compression="zstd", compression_level=3)


def read(root: Path, kind: str, days: list[date]) -> pl.DataFrame:
    """Every day's file of one kind as one frame."""
    frames = []
    for day in days:
        path = next(p for name in candidates(kind, day) if (p := root / name).exists())
        content = path.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        frames.append(parse(kind, path.name, content, day, source="simulated", sha256=sha256))
    return pl.concat(frames)


def computed(
    tables: Mapping[str, pl.DataFrame], calendar: TradingCalendar, days: list[date]
) -> dict[str, pl.DataFrame]:
    """Every table that follows from the files."""
    bhavcopy, index = tables["raw.fo_bhavcopy"], tables["raw.index_close"]
    oi, volume = tables["raw.participant_oi"], tables["raw.participant_volume"]
    closes = session_closes(calendar, tuple(days))
    options = bhavcopy.filter(pl.col("underlying_class") == "index")
    chain = chain_close(options, index, closes, RATE)
    greeks = greeks_close(chain)
    metrics = chain_metrics_close(chain, greeks)
    slices = surface_close(chain, greeks)
    premiums = premium_close(chain, dates=days, calendar=calendar)
    held, flows = positions(oi), premium_flow(volume, chain)
    acts, crossed = activity(oi, volume, flows), cross(held, days, days)
    read = {"activity": acts, "cross": crossed, "premium_flow": flows}
    mood = sentiment(days, days, chain_metrics=metrics, index_close=index, **read)
    before = {day: calendar.previous(day) for day in days}
    by_rule = {day: segments_expiring(calendar, day) for day in days}
    previous = pl.DataFrame({"trade_date": list(before), "previous_date": list(before.values())})
    return {
        "snapshots.chain_close": chain,
        "participants.positions": held,
        "participants.premium_flow": flows,
        "participants.activity": acts,
        "participants.cross": crossed,
        "participants.ledger": ledger(oi, volume, previous, expiry_flags(days, bhavcopy, by_rule)),
        "analytics.greeks_close": greeks,
        "analytics.chain_metrics_close": metrics,
        "analytics.surface_close": slices,
        "analytics.surface_points_close": surface_points_close(slices),
        "analytics.gamma_exposure_close": gamma_exposure_close(chain, greeks, dealer_weights(held)),
        "analytics.open_interest_close": open_interest_close(chain, days, before),
        "analytics.premium_close": premiums,
        "analytics.premium_overlay": premium_overlay(premiums, days, calendar),
        "analytics.vix_replica": vix_replica(chain, bhavcopy, index, RATE),
        "analytics.volatility_history": volatility_history(metrics, index, days, days),
        "analytics.sentiment": mood,
        "analytics.scorecard": scorecard(labels(acts, crossed, mood), index, days, days, closes),
    }


if __name__ == "__main__":
    main()
