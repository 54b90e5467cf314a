"""What the exchange's stamps tell: instruments that stand still, and a clock that is off.

Belongs here: looking through sealed segments. Does not belong here: what to do about it (see
`session`), the hot path of the frames.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median
from typing import Final

import polars as pl

from optrade.contracts import strike_ladder
from optrade.formats.kite_frames import decode_frames
from resources.spool import BINARY, read_records

NEAR_STRIKES: Final = 2
"""Options of the nearest expiry are watched so many strikes from the money."""
_CHUNK_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Seen:
    """What a segment told; stamps are microseconds since 1970 UTC, by the exchange.

    `silent`: tokens that now stand still, each since when. `moved`: silent ones that moved again,
    each when. `ahead_seconds`: how far arrival is from the exchange's stamp, the median over
    frames that brought news; None where none did. What a connection begins with carries the
    stamps of the last trades, which may be those of the session before: no news, and nothing
    about clocks. Stamps have whole seconds: half a second is nothing.
    """

    silent: list[tuple[int, int]]
    moved: list[tuple[int, int]]
    ahead_seconds: float | None


class Watch:
    """Remembers when each instrument moved last by exchange time; for one thread.

    Watched are indices with listed contracts, the nearest future and the options near the money
    of the nearest expiry: what else stands still may do so for want of interest.
    """

    def __init__(self, subscription: pl.DataFrame, day: date, silent_seconds: float) -> None:
        kind = pl.col("kind")
        nearest = pl.col("expiry") == pl.col("expiry").min().over("kind", "underlying")
        listed = subscription.filter(kind.is_in(["option", "future"]))["underlying"].unique()
        index = (kind == "index") & pl.col("underlying").is_in(listed.implode())
        steady = subscription.filter(index | (kind == "vix") | ((kind == "future") & nearest))
        self._steady = steady["instrument_token"].to_list()
        self._options = subscription.filter((kind == "option") & nearest).with_columns(
            trade_date=day
        )
        self._known = subscription["instrument_token"]
        self._indices = dict(
            subscription.filter(kind == "index").select("instrument_token", "underlying").rows()
        )
        self._patience = round(silent_seconds * 1_000_000)
        self._spots: dict[str, float] = {}
        self._last: dict[int, int] = {}
        self._silent: set[int] = set()
        self._held: set[int] = set()

    def hold(self, tokens: Sequence[int]) -> None:
        """Expect nothing of these: their socket is down."""
        self._held.update(tokens)

    def release(self, tokens: Sequence[int], at: int) -> None:
        """Expect them again, from then on."""
        self._held.difference_update(tokens)
        for token in tokens:
            self._last[token] = max(at, self._last.get(token, at))

    def look(self, segment: Path) -> Seen:
        """Take in a sealed segment. Raises `SpoolError` or `OSError` when it can't be read."""
        lags: list[float] = []
        moved: list[tuple[int, int]] = []
        for frames in _chunks(segment):
            ticks = (
                decode_frames(frames)
                .ticks.filter(pl.col("exchange_at").is_not_null())
                .select(
                    "instrument_token",
                    "last_price",
                    pl.col("exchange_at", "received_at").dt.epoch("us"),
                )
                .filter(pl.col("instrument_token").is_in(self._known.implode()))
            )
            lags += self._lags(ticks)
            moved += self._moved(ticks)
        return Seen(self._stand_still(), moved, median(lags) / 1_000_000 if lags else None)

    def _lags(self, ticks: pl.DataFrame) -> list[int]:
        """Arrival less the newest stamp, of each frame in which some instrument's stamp moved."""
        token, stamp = pl.col("instrument_token"), pl.col("exchange_at")
        known = token.replace_strict(self._last, default=None, return_dtype=pl.Int64)
        news = ticks.filter(stamp > pl.coalesce(stamp.shift(1).over(token), known))
        by_frame = news.group_by("received_at").agg(stamp.max())
        return (by_frame["received_at"] - by_frame["exchange_at"]).to_list()

    def _moved(self, ticks: pl.DataFrame) -> Iterator[tuple[int, int]]:
        """Remember the stamps; gives silent instruments that moved."""
        by_token = ticks.group_by("instrument_token").agg(
            pl.col("exchange_at").max(), pl.col("last_price").last()
        )
        for token, at, price in by_token.iter_rows():
            if token in self._indices:
                self._spots[self._indices[token]] = price
            last = self._last.get(token, at)
            if token in self._silent and at > last:
                self._silent.remove(token)
                later = (pl.col("instrument_token") == token) & (pl.col("exchange_at") > last)
                yield token, int(ticks.filter(later)["exchange_at"].min())  # type: ignore[arg-type]
            self._last[token] = max(at, last)

    def _stand_still(self) -> list[tuple[int, int]]:
        """Watched instruments that were left behind by most of the others just now."""
        watched = [token for token in (*self._steady, *self._near()) if token not in self._held]
        moving = [self._last[token] for token in watched if token in self._last]
        if not moving:
            return []
        now = int(median(moving))
        found = []
        for token in watched:
            since = self._last.setdefault(token, now)
            if token not in self._silent and now - since >= self._patience:
                self._silent.add(token)
                found.append((token, since))
        return found

    def _near(self) -> list[int]:
        """Options near the money, by the indices' last values."""
        spot = pl.col("underlying").replace_strict(
            self._spots, default=None, return_dtype=pl.Float64
        )
        options = self._options.with_columns(spot=spot).filter(pl.col("spot").is_not_null())
        near = strike_ladder(options, "spot").filter(pl.col("strike_offset").abs() <= NEAR_STRIKES)
        keys = ["underlying", "expiry", "strike"]
        return options.join(near, on=keys, how="semi")["instrument_token"].to_list()


def _chunks(segment: Path) -> Iterator[list[tuple[int, bytes]]]:
    """Binary frames of a segment, a few megabytes at a time."""
    frames: list[tuple[int, bytes]] = []
    size = 0
    with (
        segment.open("rb") as handle,
        mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        for _, record in read_records(content, segment.name):
            if record.kind == BINARY and len(record.payload) > 1:
                frames.append((record.received_at, record.payload))
                size += len(record.payload)
            if size >= _CHUNK_BYTES:
                yield frames
                frames, size = [], 0
    if frames:
        yield frames
