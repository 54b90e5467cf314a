"""Frames of Kite's websocket feed to `raw.ticks`.

Belongs here: cutting frames into packets and packets into columns, and what is damaged or not
known in them. Does not belong here: where a word stands in a packet (`kite_layout`), sockets,
the spool's files, anything computed from ticks.

A frame is a 2-byte packet count, then each packet behind its 2-byte length. Packets of all kinds
are laid out as full ones in one table of words, and the table is decoded column by column, a few
thousand packets at a time so that it stays in the processor's cache.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import compress, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from optrade.formats.kite_layout import (
    COUNTS,
    FULL,
    INDEX,
    INDICES,
    LAYOUTS,
    LEVELS,
    PRICES,
    STAMPS,
    WORD,
    WORDS,
    divisors,
)
from optrade.tables import IST, TIMESTAMP
from optrade.tables.raw_live import TICKS

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint32]
Places = slice | npt.NDArray[np.intp]
Kinds = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]

_BATCH = 2_048
_HEADER = 2
_LONGEST_RUN = 256
"""Looked for at once: bounds what a frame of ever changing packets costs."""
_TURNED = 256
"""Packets turned into columns at once."""
_FRAME, _BEGIN, _COUNT, _STEP = range(4)
_MODES = pl.Series("mode", [layout.mode for layout in LAYOUTS])
_UNKNOWN = len(LAYOUTS)
_KIND_OF_LENGTH = np.full(1 << 16, _UNKNOWN, np.uint8)
_KIND_OF_LENGTH[[layout.length for layout in LAYOUTS]] = range(len(LAYOUTS))
_PLACE = {word: place for place, word in enumerate(WORDS)}
_PLACES: list[Places] = [
    slice(len(layout.words))
    if layout.words == WORDS[: len(layout.words)]
    else np.array([_PLACE[word] for word in layout.words])
    for layout in LAYOUTS
]
_PRICES, _COUNTS, _STAMPS = (
    np.array([_PLACE[word] for word in words]) for words in (PRICES, COUNTS, STAMPS)
)
_DEPTH = _PLACE[LEVELS[0].units]
_LEVEL_UNITS, _LEVEL_PRICES, _LEVEL_ORDERS = (slice(_DEPTH + i, len(FULL), 3) for i in range(3))
_WHOLE = (*COUNTS, *STAMPS, "received_at", "sequence")
_STAMP = pa.timestamp("us", IST)
_SORTED_BY = [name for name in reversed(TICKS.order) if name not in ("segment", "sequence")]
"""Of the declared order what is not the same in, or already the order of, a segment's ticks."""
_COLUMNS = [
    name for name in TICKS.schema if name not in ("trade_date", "underlying", "segment", "source")
]


@dataclass(frozen=True)
class Decoded:
    """What frames held.

    `ticks`: the columns of `raw.ticks` but `trade_date`, `underlying`, `segment` and `source`,
    in order of arrival; `sequence` counts all packets, unknown ones too. `counts`: `frames`,
    `heartbeats`, `ticks`, `unknown_packets` and `broken_frames`. `unknown`: the packets of a
    length nobody knows, each with the position of its frame.
    """

    ticks: pl.DataFrame
    counts: dict[str, int]
    unknown: list[tuple[int, bytes]]


def decode_frames(frames: Sequence[tuple[int, bytes]]) -> Decoded:
    """Decode binary frames, each with its time of arrival (microseconds since 1970, UTC).

    Nothing is refused. A frame of one byte (or none) is a heartbeat. A frame is broken when it
    ends before its last packet does, or after: its whole packets are decoded all the same. What
    a packet's kind does not carry is null; so are a stamp of 0, a depth level without price and
    units, and for an index everything its own packets have no word for.
    """
    payloads = [payload for _, payload in frames]
    received_at = np.fromiter((at for at, _ in frames), np.int64, len(frames))
    runs, heartbeats, broken = _find_runs(payloads)
    known = _kinds(runs) != _UNKNOWN
    columns = _Columns(int(runs[_COUNT, known].sum()))
    for blob, part in _batches(payloads, runs[:, known]):
        frame, begin, count, step, first = part
        kinds = np.repeat(_kinds(part), count)
        nth = np.arange(len(kinds)) - np.repeat(np.cumsum(count) - count, count)
        start = np.repeat(begin, count) + nth * np.repeat(step, count)
        columns.add(
            _words(blob, start, kinds),
            kinds,
            received_at=np.repeat(received_at[frame], count),
            sequence=np.repeat(first, count) + nth,
        )
    unknown = [
        (frame, payloads[frame][start : start + step - _HEADER])
        for frame, begin, count, step, _ in runs[:, ~known].T.tolist()
        for start in range(begin, begin + count * step, step)
    ]
    counts = {
        "frames": len(frames) - heartbeats,
        "heartbeats": heartbeats,
        "ticks": columns.height,
        "unknown_packets": len(unknown),
        "broken_frames": broken,
    }
    return Decoded(columns.frame(), counts, unknown)


def raw_ticks(
    decoded: Decoded, day: date, segment: str, source: str, underlying_of: Mapping[int, str]
) -> pl.DataFrame:
    """`raw.ticks` rows of one segment of the spool, of a trading day.

    `underlying_of` names the known index of a token; other instruments get null. Rows are in
    the declared order.
    """
    underlying = pl.col("instrument_token").replace_strict(
        pl.Series(underlying_of.keys(), dtype=pl.Int64),
        pl.Series(underlying_of.values(), dtype=pl.String),
        default=None,
    )
    ticks = decoded.ticks
    keys = (ticks[name].to_physical().fill_null(-1).to_numpy() for name in _SORTED_BY)
    return (
        ticks[np.lexsort(list(keys))]
        .with_columns(
            trade_date=pl.lit(day),
            underlying=underlying,
            segment=pl.lit(segment),
            source=pl.lit(source),
        )
        .select(*TICKS.schema)
    )


def _find_runs(payloads: Sequence[bytes]) -> tuple[Ints, int, int]:
    """All packets, as runs of one length; and how many heartbeats and broken frames.

    A run is a column: number of its frame, byte where its first packet begins, packets, bytes
    from one packet to the next, packets before it in all frames.
    """
    found, heartbeats, broken = array("q"), 0, 0
    for number, payload in enumerate(payloads):
        if len(payload) < _HEADER:
            heartbeats += 1
            continue
        promised, at = int.from_bytes(payload[:_HEADER]), _HEADER
        for count, step in _steps(payload, promised):
            found.extend((number, at + _HEADER, count, step))
            promised -= count
            at += count * step
        broken += promised > 0 or at < len(payload)
    runs = np.array(found, np.int64).reshape(-1, 4).T
    return np.vstack([runs, np.cumsum(runs[_COUNT]) - runs[_COUNT]]), heartbeats, broken


def _steps(payload: bytes, left: int) -> Iterator[tuple[int, int]]:
    """Walk over a frame: how many whole packets of one length follow, and the step between."""
    at, size = _HEADER, len(payload)
    while left and at + _HEADER <= size:
        header = payload[at : at + _HEADER]
        step = _HEADER + int.from_bytes(header)
        count = min(left, (size - at) // step, _LONGEST_RUN)
        if not count:
            return
        if payload[at + step : at + step + _HEADER] != header:
            count = 1
        elif count > 1:
            end = at + count * step
            high, low = payload[at:end:step], payload[at + 1 : end : step]
            if high != header[:1] * count or low != header[1:] * count:
                count -= max(len(high.lstrip(header[:1])), len(low.lstrip(header[1:])))
        yield count, step
        at += count * step
        left -= count


def _kinds(runs: Ints) -> Kinds:
    """Of each run, the position in `LAYOUTS`, or `_UNKNOWN`."""
    kinds: Kinds = _KIND_OF_LENGTH[runs[_STEP] - _HEADER]
    return kinds


def _batches(payloads: Sequence[bytes], runs: Ints) -> Iterator[tuple[bytes, Ints]]:
    """Neighbouring frames with about `_BATCH` packets together: their bytes, and their runs.

    Runs of a batch begin at a byte of the batch.
    """
    before = np.cumsum(runs[_COUNT]) - runs[_COUNT]
    batch = before[np.searchsorted(runs[_FRAME], runs[_FRAME])] // _BATCH
    edges = sorted({0, *(np.flatnonzero(np.diff(batch)) + 1).tolist(), runs.shape[1]})
    for a, z in pairwise(edges):
        part = runs[:, a:z].copy()
        some = payloads[part[_FRAME, 0] : part[_FRAME, -1] + 1]
        sizes = np.fromiter(map(len, some), np.int64, len(some))
        part[_BEGIN] += (np.cumsum(sizes) - sizes)[part[_FRAME] - part[_FRAME, 0]]
        yield b"".join(some), part


def _words(blob: bytes, start: Ints, kinds: Kinds) -> Words:
    """Every packet as a full one: shape (WORDS, packets), zero where it has no such word."""
    rows = np.zeros((len(start), len(WORDS)), ">u4")
    for kind, places in enumerate(_PLACES):
        own = np.flatnonzero(kinds == kind)
        if own.size:
            length = LAYOUTS[kind].length
            packets = _items(blob, length, 1)[start[own]]
            if isinstance(places, slice):
                _items(rows, length, rows.strides[0])[own] = packets
            else:
                rows[np.ix_(own, places)] = packets.view((">u4", length // WORD))
    words = np.empty(rows.shape[::-1], np.uint32)
    for i in range(0, len(rows), _TURNED):
        words[:, i : i + _TURNED] = rows[i : i + _TURNED].T
    return words


def _items(content: Any, length: int, step: int) -> npt.NDArray[np.void]:
    """Stretches of memory that begin every `step` bytes; they may overlap."""
    count = (memoryview(content).nbytes - length) // step + 1
    return np.ndarray(count, f"V{length}", content, strides=step)


class _Columns:
    """The frame in the making: columns of `size` ticks as rows of a few arrays."""

    def __init__(self, size: int) -> None:
        self.height = 0
        # One allocation: large ones get large pages, whose first touch costs much less.
        self._whole, prices = np.split(
            np.empty((len(_WHOLE) + len(PRICES), size), np.int64), [len(_WHOLE)]
        )
        self._prices = prices.view(np.float64)
        self._kinds = np.empty(size, np.uint8)
        self._traded = np.empty(size, np.bool_)
        self._standing = np.empty((len(LEVELS), size), np.bool_)

    def add(self, words: Words, kinds: Kinds, *, received_at: Ints, sequence: Ints) -> None:
        """Decode a batch of laid-out packets."""
        span = slice(self.height, self.height + len(kinds))
        self.height = span.stop
        tokens = words[_PLACE["instrument_token"]]
        prices = words[_PRICES].view(np.int32)
        np.divide(prices, divisors(tokens), out=self._prices[:, span])
        words[_LEVEL_ORDERS] >>= 16
        whole = self._whole[:, span]
        whole[: len(COUNTS)] = words[_COUNTS]
        np.multiply(words[_STAMPS], 1_000_000, out=whole[len(COUNTS) : -2], dtype=np.int64)
        whole[-2:] = received_at, sequence
        self._kinds[span] = kinds
        self._traded[span] = tokens & 0xFF != INDICES
        standing = words[_LEVEL_PRICES] | words[_LEVEL_UNITS]
        np.not_equal(standing, 0, out=self._standing[:, span])

    def frame(self) -> pl.DataFrame:
        """The columns as `Decoded.ticks`, over the same memory, once every tick is added."""
        values = dict(zip(PRICES, self._prices, strict=True))
        values |= dict(zip(_WHOLE, self._whole, strict=True))
        known = self._known()
        columns = {}
        for name in _COLUMNS:
            if name in values:
                row = values[name]
                kind = pa.from_numpy_dtype(row.dtype)
                kind = _STAMP if TICKS.schema[name] == TIMESTAMP else kind
                buffers = [_bitmap(known.get(name)), pa.py_buffer(row)]
                columns[name] = pa.Array.from_buffers(kind, self.height, buffers)
        frame = pl.DataFrame(pa.table(columns))
        return frame.insert_column(_COLUMNS.index("mode"), _MODES.gather(self._kinds))

    def _known(self) -> dict[str, Flags]:
        """Which values of each word were said."""
        traded = self._traded
        of_kind = [self._kinds == kind for kind in range(len(LAYOUTS))]
        masks: dict[tuple[bool, ...], Flags] = {}
        known = {}
        for word in WORDS:
            says = tuple(word in layout.words for layout in LAYOUTS)
            if says not in masks:
                said = np.logical_or.reduce(list(compress(of_kind, says)))
                masks[says] = said if word in INDEX else said & traded
            known[word] = masks[says]
        for level, standing in zip(LEVELS, self._standing, strict=True):
            known |= dict.fromkeys(level, known[level.price] & standing)
        for i, stamp in enumerate(STAMPS, len(COUNTS)):
            known[stamp] = known[stamp] & (self._whole[i] != 0)
        return known


def _bitmap(known: Flags | None) -> pa.Buffer | None:
    """Arrow's validity bits; none where every value is known."""
    if known is None or known.all():
        return None
    return pa.py_buffer(np.packbits(known, bitorder="little"))
