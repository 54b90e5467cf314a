"""Minute candles for the holes of a day: asked for one instrument at a time, at Kite's pace.

Belongs here: turning missing minutes into requests, and the answers into rows of `raw.candles`
with the bytes that prove them. Does not belong here: the requests themselves (see `broker`),
which minutes are missing (see `optrade.chain.candles`), storing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

import polars as pl

from optrade.calendar import IST
from resources.kite.broker import CANDLE
from resources.kite.errors import BrokerError, RequestRefused

PACE_SECONDS: Final = 0.34
"""Real seconds between two requests: Kite answers 3 for candles a second."""


class CandleBroker(Protocol):
    """A broker that answers for minute candles."""

    def day_candles(self, token: int, start: datetime, end: datetime) -> tuple[pl.DataFrame, bytes]:
        """Candles that begin from `start` to `end`, and the answer as it was sent."""


@dataclass(frozen=True)
class Answer:
    """What the broker said of one instrument: candles of the minutes asked for, or a refusal.

    `error` is a refusal of this request alone, or what ended the asking.
    """

    token: int
    request: str
    fetched_at: datetime
    candles: pl.DataFrame | None
    content: bytes
    error: BrokerError | None = None

    @property
    def ends(self) -> bool:
        """Whether nothing was asked after it."""
        return self.error is not None and not isinstance(self.error, RequestRefused)


def read_answer(content: bytes) -> pl.DataFrame:
    """The candles of an answer as it was sent: frame[CANDLE]. Raises `ValueError` for no answer."""
    try:
        told = json.loads(content)["data"]["candles"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"found {content[:80]!r}; expected an answer with candles") from error
    rows = [(datetime.fromisoformat(at).astimezone(IST), *figures) for at, *figures in told]
    return pl.DataFrame(rows, dict(CANDLE), orient="row")


def ask_candles(
    broker: CandleBroker,
    missing: Mapping[int, list[datetime]],
    now: Callable[[], datetime],
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Answer]:
    """The answers for `missing` minutes by token, as they come: one request an instrument.

    A request spans an instrument's first to last missing minute; of the answer only the missing
    minutes are given on. Ends early, with the error as the last answer, when the broker does not
    answer any more (`TokenExpired`, `BrokerDown`, ...); the client has then tried again itself.
    """
    for place, (token, minutes) in enumerate(missing.items()):
        if place:
            sleep(PACE_SECONDS)
        first, last = min(minutes).astimezone(IST), max(minutes).astimezone(IST)
        request = (
            f"/instruments/historical/{token}/minute?from={first:%Y-%m-%d %H:%M:%S}"
            f"&to={last:%Y-%m-%d %H:%M:%S}&oi=1"
        )
        at = now()
        try:
            candles, content = broker.day_candles(token, first, last)
        except BrokerError as error:
            answer = Answer(token, request, at, None, b"", error)
        else:
            answer = Answer(
                token, request, at, candles.filter(pl.col("at").is_in(minutes)), content
            )
        yield answer
        if answer.ends:
            return
