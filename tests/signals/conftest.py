"""Made-up sessions, index closes and labels."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from optrade.signals.labels import SCHEMA, available_from
from optrade.tables import IST

FIRST = date(2024, 1, 1)


def weekdays(n: int) -> list[date]:
    """The first `n` weekdays of a span."""
    days = (FIRST + timedelta(days=i) for i in range(n * 2))
    return [day for day in days if day.weekday() < 5][:n]


class Market:
    """`n` sessions, NIFTY's closes and the labels laid over them."""

    def __init__(self, n: int, returns: np.ndarray) -> None:
        self.sessions = weekdays(n)
        self.returns = returns
        zone = ZoneInfo(IST)
        self.closes = {d: datetime.combine(d, time(15, 30), zone) for d in self.sessions}
        levels = 20_000 * np.exp(np.cumsum(returns))
        self.index_close = pl.DataFrame(
            {"trade_date": self.sessions, "index_name": "Nifty 50", "close": levels}
        )

    def labels(self, **signals: list[str | None]) -> pl.DataFrame:
        """Labels as they can be known: each on the evening of its session."""
        rows = [
            (day, name, "rule-1", label, "exchange")
            for name, words in signals.items()
            for day, label in zip(self.sessions, words, strict=True)
            if label is not None
        ]
        names = ["trade_date", "signal", "rule", "label", "source"]
        schema = {name: SCHEMA[name] for name in names}
        frame = pl.DataFrame(rows, schema=schema, orient="row")
        return frame.with_columns(available_from=available_from()).select(*SCHEMA)


@pytest.fixture(scope="session")
def quiet() -> Market:
    """400 sessions of returns that nobody can foresee."""
    return Market(400, 0.01 * np.random.default_rng(1).standard_t(5, 400))


@pytest.fixture(scope="session")
def make() -> type[Market]:
    return Market
