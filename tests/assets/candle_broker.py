"""What a broker knows of the spooled market: its true minute bars, as candles.

Belongs here: a broker for tests that heal holes. Does not belong here: the market itself (see
`spooled_market`), the simulated broker (`resources.kite_exchange`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache

import dagster as dg
import polars as pl

from optrade.formats.kite_frames import decode_frames
from optrade.simulation.kite_packets import frame
from optrade_dagster.definitions import build_defs
from optrade_dagster.jobs import HEAL_MINUTES
from resources.kite.broker import CANDLE
from resources.kite.errors import RequestRefused, TokenExpired
from tests.assets.spooled_market import DAY, OPEN, QUIET, Market, packets_at

MINUTE = timedelta(minutes=1)


@cache
def said(second: int) -> dict[int, tuple[float, int | None]]:
    """Price and open interest of each instrument as the market says them that second."""
    ticks = decode_frames([(0, frame(packets_at(second)))]).ticks
    rows = ticks.select("instrument_token", "last_price", "oi_units").iter_rows()
    return {token: (price, oi) for token, price, oi in rows}


def true_bars(token: int, minute: int) -> tuple[float, float, float, float, int, int]:
    """Open, high, low, close, volume and open interest of a minute."""
    found = [said(second)[token] for second in range(60 * minute, 60 * minute + 60)]
    prices, oi = [price for price, _ in found], found[-1][1]
    return prices[0], max(prices), min(prices), prices[-1], 0 if oi is None else 65 * 60, oi or 0


@dataclass
class Broker:
    """Knows the true bars; refuses a token, or all from some request on, or answers amiss.

    It has no candles of tokens that it does not `know` and of what it `forgot`: tokens and minutes
    from the open. The highest price of the token it `contradicts` is below the lowest. `meanwhile`
    happens at the first request.
    """

    refuses: int | None = None
    contradicts: int | None = None
    forgot: Collection[tuple[int, int]] = ()
    expires_after: int | None = None
    logged_in: bool = True
    knows: Callable[[int], bool] = lambda _: True
    meanwhile: Callable[[], object] = lambda: None
    asked: list[int] = field(default_factory=list)

    def enter(self) -> Broker:
        if not self.logged_in:
            raise TokenExpired("Nobody is logged in to Kite.")
        return self

    def now(self) -> datetime:
        return OPEN + timedelta(hours=7)

    def _bars(self, token: int, minute: int) -> tuple[float, float, float, float, int, int]:
        bars = true_bars(token, minute)
        return (bars[0], bars[2] - 1, bars[1], *bars[3:]) if token == self.contradicts else bars

    def day_candles(self, token: int, start: datetime, end: datetime) -> tuple[pl.DataFrame, bytes]:
        if self.expires_after is not None and len(self.asked) >= self.expires_after:
            raise TokenExpired("candles: Kite answered 403 TokenException.")
        if not self.asked:
            self.meanwhile()
        self.asked.append(token)
        if token == self.refuses:
            raise RequestRefused("candles: Kite answered 400 InputException, 'invalid token'.")
        count = int((end - start) / MINUTE) + 1
        first = int((start - OPEN) / MINUTE)
        rows = [
            (start + n * MINUTE, *self._bars(token, first + n))
            for n in range(count)
            if self.knows(token) and (token, first + n) not in self.forgot
        ]
        told = {"status": "success", "data": {"candles": rows}}
        content = json.dumps(told, default=datetime.isoformat).encode()
        return pl.DataFrame(rows, dict(CANDLE), orient="row"), content


def heal(market: Market, broker: Broker, **tags: str) -> dg.ExecuteInProcessResult:
    """A run of the job that fills holes, with this broker; `tags` are those of an attempt."""
    job = build_defs(market.settings, {"broker": broker}).resolve_job_def(HEAL_MINUTES)
    return job.execute_in_process(
        instance=market.instance,
        partition_key=DAY.isoformat(),
        run_config=QUIET,
        tags=tags,
        raise_on_error=False,
    )
