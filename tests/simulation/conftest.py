"""One simulated quarter, shared: with a monthly expiry, moved expiries and a Sunday session."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import polars as pl
import pytest

from optrade.calendar import load_calendar
from optrade.formats import parse
from optrade.formats.archive import candidates
from optrade.simulation import MarketDay, market_days, render
from optrade.tables.raw import FILE_KINDS

KINDS = [kind for kind in FILE_KINDS if kind != "fo_market_activity"]


@pytest.fixture(scope="session")
def days() -> list[date]:
    return load_calendar().sessions(date(2026, 1, 5), date(2026, 3, 10))


@pytest.fixture(scope="session")
def market(days: Sequence[date]) -> list[MarketDay]:
    return list(market_days(days, seed=11))


@pytest.fixture(scope="session")
def tables(market: Sequence[MarketDay]) -> dict[str, pl.DataFrame]:
    """The files of the quarter as the lake would read them, by table name."""
    parts: dict[str, list[pl.DataFrame]] = {kind: [] for kind in KINDS}
    for one in market:
        files = render(one).files
        for kind in KINDS:
            path = candidates(kind, one.day)[-1]
            parts[kind].append(
                parse(kind, path, files[path], one.day, source="simulated", sha256="0" * 64)
            )
    return {kind: pl.concat(frames) for kind, frames in parts.items()}
