"""The work of the minute lane on one day: which segments are new, and what they change.

Belongs here: reading what is new and what is held beside it, in batches that fit into memory,
and the frames that follow. Does not belong here: Dagster's side of it (see `minutes`), the maths.

Segments are cut by time of arrival, minutes by exchange time. A segment's first packets therefore
often belong to the minute before, which is computed again with them: the last state is the same
whatever the order or the batches, and the lake keeps the earlier ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any

import polars as pl

from assets.building import Graph
from assets.candles import DayHoles, session_hours
from assets.premium import minute_history
from optrade.chain.exposure import dealer_weights, gamma_exposure_minute
from optrade.chain.greeks import greeks_minute
from optrade.chain.metrics import chain_metrics_minute
from optrade.chain.minute import chain_minute, index_minute, minutes_of
from optrade.chain.open_interest import open_interest_minute
from optrade.chain.premium import premium_minute
from optrade.formats.kite_frames import Decoded, decode_frames, raw_ticks
from optrade.formats.kite_instruments import parse_instruments
from optrade.subscription import Subscription
from optrade.surface.frames import surface_minute, surface_points_minute
from optrade.tables import Table
from optrade.tables.analytics import (
    CHAIN_METRICS_MINUTE,
    GREEKS_MINUTE,
    OPEN_INTEREST_MINUTE,
)
from optrade.tables.exposure import GAMMA_EXPOSURE_MINUTE
from optrade.tables.participants import POSITIONS
from optrade.tables.premium import PREMIUM_MINUTE
from optrade.tables.quality import TICK_GAPS
from optrade.tables.raw_live import INSTRUMENTS, TICK_SEGMENTS, TICKS
from optrade.tables.snapshots import CHAIN_CLOSE, CHAIN_MINUTE, INDEX_MINUTE
from optrade.tables.surface import SURFACE_MINUTE, SURFACE_POINTS_MINUTE
from resources.lake_io import ReadLake
from resources.lake_parts import held_minutes
from resources.recordings import Recorded, RecordedDay

BATCH_SEGMENTS = 10
"""Most segments that are decoded and committed together when a day is caught up.

Fewer where the soft memory limit is low or was passed.
"""
_MINUTE = timedelta(minutes=1)
Frames = dict[str, pl.DataFrame]
Read = tuple[dict[str, Any], pl.DataFrame]
"""The row of a segment, and its ticks."""
Guard = Callable[[Table, pl.DataFrame], str | None]
"""Why rows of a table may not be stored; None where they may."""


@dataclass(frozen=True)
class Maths:
    """What the configured maths assumes: rate a year, tick in rupees, offsets, seconds held.

    `repair` says whether smiles with arbitrage are fitted again without.
    """

    rate: float
    tick: float
    offsets: tuple[int, ...]
    max_gap_seconds: float
    repair: bool


@dataclass(frozen=True)
class Batch:
    """What a batch of segments makes: frames by table, and the parts they replace.

    `refusals` say of other segments why none of their ticks is among the frames.
    """

    frames: Frames
    segments: tuple[str, ...]
    minutes: tuple[datetime, ...]
    refusals: tuple[str, ...] = ()

    def parts(self, table: Table) -> tuple[Any, ...] | None:
        """The parts of a table that its frame replaces; None where it replaces the whole date."""
        by_column = {"segment": self.segments, "minute": self.minutes}
        return by_column[table.part] if table.part else None


@dataclass(frozen=True)
class DayWork:
    """One day of the lane."""

    graph: Graph
    lake: ReadLake
    recorded: RecordedDay
    maths: Maths
    guard: Guard

    @property
    def day(self) -> date:
        """The trading day."""
        return self.recorded.day

    @property
    def source(self) -> str:
        """What every row of this market says of where it is from."""
        return self.graph.feed

    @cached_property
    def holes(self) -> DayHoles:
        """What is missing of the day."""
        return DayHoles(self.graph.calendar, self.lake, self.recorded, self.source)

    @cached_property
    def subscription(self) -> Subscription:
        """What was subscribed that day."""
        return self.recorded.subscription()

    @cached_property
    def underlying_of(self) -> dict[int, str]:
        """The index each subscribed instrument belongs to."""
        frame = self.subscription.frame.select("instrument_token", "underlying")
        return dict(frame.iter_rows())

    def new_segments(self, *, again: bool) -> list[str]:
        """Sealed segments the lake does not hold; all of them when the day is done `again`."""
        held = self.lake.read(TICK_SEGMENTS, [self.day], columns=["segment"])["segment"]
        known = set() if again else set(held)
        return [name for name in self.recorded.sealed() if name not in known]

    def batches(self, names: Sequence[str], bounded: Callable[[int], int]) -> Iterator[Batch]:
        """The frames of the named segments, some at a time, in order.

        `bounded` says how many of so many segments memory allows just now.
        """
        start = 0
        while start < len(names):
            end = start + bounded(BATCH_SEGMENTS)
            yield self._batch(names[start:end])
            start = end

    def filled(self, done: Collection[datetime], *, again: bool) -> Batch | None:
        """The minutes that candles fill and the lake does not show so; None where there are none.

        `done` are minutes computed just now; `again` does every other minute that candles fill.
        """
        touched = set(self.holes.candles["minute"]) if again else set(self.holes.due())
        minutes = self._minutes(sorted(touched.difference(done)))
        if not minutes:
            return None
        frames = self._computed(self._ticks_of(minutes, TICKS.empty(), ()), minutes)
        return Batch(frames, (), tuple(minutes))

    def minute(self, minute: datetime) -> Frames:
        """One minute again: from ticks the lake holds and the state that the one before left."""
        held = held_minutes(self.lake.lake, INDEX_MINUTE, self.day)
        held |= held_minutes(self.lake.lake, CHAIN_MINUTE, self.day)
        earlier = [other for other in held if other < minute]
        hours = session_hours(self.graph.calendar, self.day)
        since = max(earlier) + _MINUTE if earlier else hours[0]
        at = "coalesce(exchange_at, received_at)"
        span = f"{at} >= TIMESTAMPTZ '{since}' AND {at} < TIMESTAMPTZ '{minute + _MINUTE}'"
        ticks = self.lake.read(TICKS, [self.day], where=span)
        first = since if earlier else min([minute, *minutes_of(ticks, *hours)])
        minutes = [first + n * _MINUTE for n in range(int((minute - first) / _MINUTE) + 1)]
        frames = self._computed(ticks, minutes)
        return {name: rows.filter(pl.col("minute") == minute) for name, rows in frames.items()}

    def once(self) -> Frames:
        """What does not come in segments: the gaps so far, and the dump where it is news."""
        frames = {TICK_GAPS.full_name: self.holes.stated()}
        dump = self.recorded.instruments()
        if dump is not None:
            sha256 = hashlib.sha256(dump).hexdigest()
            held = self.lake.read(INSTRUMENTS, [self.day], columns=["source_sha256"])
            if set(held["source_sha256"]) != {sha256}:
                frames[INSTRUMENTS.full_name] = parse_instruments(
                    "instruments.csv", dump, self.day, source=self.source, sha256=sha256
                )
        return frames

    def _batch(self, names: Sequence[str]) -> Batch:
        segments, ticks = self.decoded(names)
        opened, closed = session_hours(self.graph.calendar, self.day)
        touched = minutes_of(ticks, opened, closed)
        minutes = self._minutes(touched)
        refused = dict(segments.drop_nulls("refusal").select("segment", "refusal").iter_rows())
        stored = tuple(name for name in names if name not in refused)
        frames = {
            TICK_SEGMENTS.full_name: self._with_held(segments),
            TICKS.full_name: ticks,
        }
        if minutes:
            frames |= self._computed(self._ticks_of(minutes, ticks, stored), minutes)
        return Batch(frames, stored, tuple(minutes), tuple(refused.values()))

    def decoded(self, names: Sequence[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The segments' rows and their ticks; a segment that breaks a rule has a row alone."""
        read = [self._read(name) for name in names]
        segments, ticks = _stacked(read)
        if self.guard(TICKS, ticks) or self.guard(TICK_SEGMENTS, segments):
            segments, ticks = _stacked([self._held_back(row, own) for row, own in read])
            self.guard(TICKS, ticks)
        return segments, ticks

    def _read(self, name: str) -> Read:
        recorded = self.recorded.read(name)
        decoded = decode_frames(recorded.segment.frames)
        ticks = raw_ticks(decoded, self.day, name, self.source, self.underlying_of)
        plausible = ticks.filter(TICKS.within())
        row = self._segment_row(recorded, decoded) | {
            "ticks": plausible.height,
            "implausible_packets": ticks.height - plausible.height,
        }
        return row, plausible

    def _held_back(self, row: dict[str, Any], ticks: pl.DataFrame) -> Read:
        """A segment without its ticks and stamps, and why, if either breaks a rule."""
        segment, _ = _stacked([(row, ticks)])
        refusal = self.guard(TICKS, ticks) or self.guard(TICK_SEGMENTS, segment)
        if refusal is None:
            return row, ticks
        unknown = dict.fromkeys(("first_received_at", "last_received_at"))
        why = f"{row['segment']}: {refusal}"
        return row | unknown | {"ticks": 0, "refusal": why}, TICKS.empty()

    def _segment_row(self, recorded: Recorded, decoded: Decoded) -> dict[str, Any]:
        segment = recorded.segment
        arrivals = [at for at, _ in segment.frames]
        stamps = pl.Series(
            [min(arrivals), max(arrivals)] if arrivals else [None, None], dtype=pl.Int64
        )
        first, last = stamps.cast(pl.Datetime("us", "UTC")).cast(
            TICK_SEGMENTS.schema["first_received_at"]
        )
        return {
            "trade_date": self.day,
            "segment": recorded.name,
            "session": recorded.session,
            "first_received_at": first,
            "last_received_at": last,
            **decoded.counts,
            "texts": len(segment.texts),
            "bytes": recorded.bytes,
            "lost_bytes": recorded.lost_bytes,
            "refusal": recorded.refusal,
            "stored_as": recorded.stored_as,
            "source_sha256": recorded.sha256,
            "source": self.source,
        }

    def _with_held(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The day's rows with these in place of the same segments' older ones.

        A segment that is refused now, and was not before, keeps the row of what is held of it.
        """
        held = self.lake.read(TICK_SEGMENTS, [self.day])
        good = held.filter(pl.col("refusal").is_null())["segment"].to_list()
        rows = rows.filter(pl.col("refusal").is_null() | ~pl.col("segment").is_in(good))
        kept = held.join(rows, on="segment", how="anti")
        return TICK_SEGMENTS.conform(pl.concat([kept, rows]))

    def _minutes(self, touched: Sequence[datetime]) -> list[datetime]:
        """The minutes to compute, without a hole: what touches none carries the last state on.

        From the first touched one (or the one after the last held, if that is earlier) to the
        last touched or held.
        """
        if not touched:
            return []
        held = held_minutes(self.lake.lake, INDEX_MINUTE, self.day)
        held |= held_minutes(self.lake.lake, CHAIN_MINUTE, self.day)
        first, last = min(touched), max([*touched, *held])
        if earlier := [minute for minute in held if minute < first]:
            first = max(earlier) + _MINUTE
        count = int((last - first) / _MINUTE)
        return [first + n * _MINUTE for n in range(count + 1)]

    def _ticks_of(
        self, minutes: Sequence[datetime], fresh: pl.DataFrame, names: Sequence[str]
    ) -> pl.DataFrame:
        """The new ticks and those held that may fall into the minutes."""
        since = f"TIMESTAMPTZ '{minutes[0].isoformat()}'"
        held = self.lake.read(
            TICKS, [self.day], where=f"coalesce(exchange_at, received_at) >= {since}"
        )
        return pl.concat([held.filter(~pl.col("segment").is_in(list(names))), fresh])

    def _state(self, table: Table, before: datetime) -> pl.DataFrame:
        """The rows of the last minute held before a moment."""
        held = held_minutes(self.lake.lake, table, self.day)
        earlier = [minute for minute in held if minute < before]
        if not earlier:
            return table.empty()
        where = f"minute = TIMESTAMPTZ '{max(earlier).isoformat()}'"
        return self.lake.read(table, [self.day], where=where)

    @cached_property
    def _previous_chain(self) -> pl.DataFrame:
        previous = self.graph.calendar.previous(self.day)
        return self.lake.read(CHAIN_CLOSE, [previous])

    @cached_property
    def _weights(self) -> pl.DataFrame:
        """What dealers held the evening before, dated as of this day."""
        positions = self.lake.read(POSITIONS, [self.graph.calendar.previous(self.day)])
        return dealer_weights(positions).with_columns(trade_date=pl.lit(self.day))

    @cached_property
    def _listed(self) -> pl.DataFrame | None:
        """trade_date, underlying, expiry of all options listed that day; None without a dump."""
        query = (
            f"SELECT DISTINCT trade_date, underlying, expiry FROM {INSTRUMENTS.full_name} "
            "WHERE trade_date = ? AND underlying IS NOT NULL AND instrument_type IN ('CE', 'PE')"
        )
        listed = self.lake.lake.sql(query, [self.day])
        return listed if listed.height else None

    def _computed(self, ticks: pl.DataFrame, minutes: Sequence[datetime]) -> Frames:
        chosen = self.subscription.frame
        opened, closed = session_hours(self.graph.calendar, self.day)
        candles = self.holes.filling(ticks, minutes)
        chain_before = self._state(CHAIN_MINUTE, minutes[0])
        index = index_minute(
            ticks, chosen, self._state(INDEX_MINUTE, minutes[0]), minutes,
            session_open=opened, session_close=closed,
            max_gap_seconds=self.maths.max_gap_seconds, candles=candles,
        )  # fmt: skip
        chain = chain_minute(
            ticks, chosen, chain_before, minutes, index, self._previous_chain,
            rate=self.maths.rate, session_open=opened, session_close=closed,
            max_gap_seconds=self.maths.max_gap_seconds, candles=candles,
        )  # fmt: skip
        greeks = greeks_minute(chain, self.maths.tick)
        surface = surface_minute(chain, greeks, repair=self.maths.repair)
        return {
            INDEX_MINUTE.full_name: index,
            CHAIN_MINUTE.full_name: chain,
            GREEKS_MINUTE.full_name: greeks,
            CHAIN_METRICS_MINUTE.full_name: chain_metrics_minute(chain, greeks),
            GAMMA_EXPOSURE_MINUTE.full_name: gamma_exposure_minute(chain, greeks, self._weights),
            SURFACE_MINUTE.full_name: surface,
            SURFACE_POINTS_MINUTE.full_name: surface_points_minute(surface),
            OPEN_INTEREST_MINUTE.full_name: open_interest_minute(chain),
            PREMIUM_MINUTE.full_name: premium_minute(
                chain,
                self.maths.offsets,
                self._listed,
                state=self._state(PREMIUM_MINUTE, minutes[0]),
                chain_before=chain_before,
                history=minute_history(self.lake, self.graph.calendar, self.day, minutes),
                calendar=self.graph.calendar,
            ),
        }


def _stacked(read: Sequence[Read]) -> tuple[pl.DataFrame, pl.DataFrame]:
    segments = pl.DataFrame([row for row, _ in read], schema=TICK_SEGMENTS.schema)
    return segments, pl.concat([TICKS.empty(), *(ticks for _, ticks in read)])
