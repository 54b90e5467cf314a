"""Requests to the broker with the session of the day.

Belongs here: what is asked, and the shape of the answers. Does not belong here: asking (`client`),
logging in (`login`), keeping the session (`session`), what an instrument dump means.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import polars as pl

from optrade.calendar import IST
from optrade.formats.kite_instruments import KITE_INDICES
from optrade.tables import TIMESTAMP
from resources.clock import Clock
from resources.kite.access import broker_settings
from resources.kite.client import Client
from resources.kite.errors import TokenExpired
from resources.kite.session import Session, SessionJournal, require_session
from resources.settings import Settings

if TYPE_CHECKING:
    from resources.collector.boundary import Access

CANDLE: Final = MappingProxyType(
    {
        "at": TIMESTAMP,
        "open": pl.Float64(),
        "high": pl.Float64(),
        "low": pl.Float64(),
        "close": pl.Float64(),
        "volume_units": pl.Int64(),
        "oi_units": pl.Int64(),
    }
)
"""Columns of candles: the start of each, rupees (points for an index), units."""
MOST_QUOTES: Final = 500
_CANDLE_SPAN: Final = timedelta(days=60)
"""Longest span of minute candles in one request."""
_T = TypeVar("_T")


class KiteBroker:
    """The broker of a market with a session; every request may raise a `BrokerError`.

    A session that the broker no longer accepts is written to the journal and raises
    `TokenExpired`.
    """

    def __init__(
        self,
        settings: Settings,
        session: Session,
        clock: Clock,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._kite, self._session = broker_settings(settings), session
        self._journal = SessionJournal(settings.market_home, clock)
        self._client = Client(self._kite, session.access_token.get_secret_value(), sleep=sleep)

    @classmethod
    def enter(cls, settings: Settings, clock: Clock) -> Self:
        """The broker with the kept session, which it has just accepted.

        Raises `TokenExpired` when there is no session that it accepts.
        """
        broker = cls(settings, require_session(settings, clock), clock)
        broker.profile()
        return broker

    def __repr__(self) -> str:
        return f"KiteBroker({self._kite.root_url}, {self._session.user_id})"

    @property
    def access(self) -> Access:
        """What a websocket is opened with; holds the access token as it is."""
        from resources.collector.boundary import Access  # noqa: PLC0415 (it knows us)

        token = self._session.access_token.get_secret_value()
        return Access(self._kite.stream_url, self._kite.api_key, token)

    def profile(self) -> dict[str, Any]:
        """The account: user_id, user_name, exchanges and more, in Kite's words."""
        return dict(self._ask("profile", lambda kite: kite.profile()))

    def instruments(self, exchange: str | None = None) -> bytes:
        """Today's dump of instruments as the broker sent it (CSV), all or those of an exchange."""
        what = f"instruments of {exchange or 'all exchanges'}"
        return bytes(self._ask(what, lambda kite: kite.instruments(exchange)))

    def quote(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Kite's full quotes by name, EXCHANGE:TRADINGSYMBOL; unknown names are missing.

        Prices are rupees; stamps are aware, Asia/Kolkata, None before a first trade.
        """
        parts = [list(names[at : at + MOST_QUOTES]) for at in range(0, len(names), MOST_QUOTES)]
        stamps = ("timestamp", "last_trade_time")
        return {
            name: quote | {stamp: _aware(quote.get(stamp)) for stamp in stamps}
            for part in parts
            for name, quote in self._quotes(part).items()
        }

    def spots(self, underlyings: Sequence[str]) -> dict[str, float]:
        """The index of each underlying in points; those that Kite does not know are missing.

        `VIX` of `optrade.formats.kite_instruments` asks for India VIX.
        """
        names = {
            f"{index.exchange}:{index.tradingsymbol}": symbol
            for symbol, index in KITE_INDICES.items()
            if symbol in underlyings
        }
        found = self._ask("index levels", lambda kite: kite.ltp(list(names))) if names else {}
        return {names[name]: float(quote["last_price"]) for name, quote in found.items()}

    def candles(
        self, token: int, start: datetime, end: datetime, interval: str = "minute"
    ) -> pl.DataFrame:
        """Candles that begin from `start` to `end`, both included: the columns of `CANDLE`.

        Kite forgets the candles of a contract when it expires: `RequestRefused`.
        """
        rows = [
            row
            for first, last in _spans(start.astimezone(IST), end.astimezone(IST))
            for row in self._candles(token, first, last, interval)
        ]
        return _candle_frame(rows)

    def day_candles(self, token: int, start: datetime, end: datetime) -> tuple[pl.DataFrame, bytes]:
        """Minute candles as `candles` gives them, of one day, and the answer as it was sent."""
        first, last = start.astimezone(IST), end.astimezone(IST)
        rows = _candle_frame(self._candles(token, first, last, "minute"))
        return rows, self._client.heard

    def _quotes(self, names: list[str]) -> dict[str, dict[str, Any]]:
        return self._ask("quotes", lambda kite: dict(kite.quote(names)))

    def _candles(
        self, token: int, first: datetime, last: datetime, interval: str
    ) -> list[dict[str, Any]]:
        what = f"{interval} candles of {token}"
        return self._ask(
            what, lambda kite: list(kite.historical_data(token, first, last, interval, oi=True))
        )

    def _ask(self, what: str, question: Callable[[Any], _T]) -> _T:
        try:
            return self._client.ask(what, question)
        except TokenExpired as error:
            self._journal.write_once("refused", self._session.user_id, str(error))
            raise


def _candle_frame(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "at": [row["date"].astimezone(IST) for row in rows],
            **{name: [row[name] for row in rows] for name in ("open", "high", "low", "close")},
            "volume_units": [row["volume"] for row in rows],
            "oi_units": [row.get("oi") for row in rows],
        },
        dict(CANDLE),
    )


def _aware(stamp: object) -> datetime | None:
    """Kite's naive time of India; its client leaves what is no time as it was."""
    return stamp.replace(tzinfo=IST) if isinstance(stamp, datetime) else None


def _spans(start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Spans that together cover `start` to `end`, a second apart."""
    while start <= end:
        yield start, min(start + _CANDLE_SPAN, end)
        start += _CANDLE_SPAN + timedelta(seconds=1)
