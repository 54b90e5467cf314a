"""Packets and frames as Kite's websocket sends them.

Belongs here: rows of `raw.ticks` to packets, and packets to frames. Does not belong here: where a
word stands in a packet (`optrade.formats.kite_layout`), reading packets, what the market does,
sockets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from optrade.formats.kite_layout import LAYOUT_OF, ORDERS, PRICES, divisors

HEARTBEAT = b"\x00"
Bytes = npt.NDArray[np.uint8]

_MOST_PACKETS = 1 << 16


def packets(mode: str, columns: Mapping[str, npt.ArrayLike]) -> Bytes:
    """Packets of one mode (a word of `TICK_MODES`), one a row: uint8 of shape (n, length).

    `columns` are those of `raw.ticks`, all of the same length: prices in rupees (rounded to what
    the wire can say), counts whole, stamps in unix seconds. A column that is left out, and NaN,
    is sent as 0, which is how the broker says "none"; columns the mode has no word for are not
    looked at. Raises `ValueError` for a value its word can't hold.
    """
    layout = LAYOUT_OF[mode]
    tokens = np.asarray(columns["instrument_token"], np.int64)
    words = np.zeros((len(tokens), len(layout.words)), ">u4")
    by = divisors(tokens)
    for place, word in enumerate(layout.words):
        if word in columns:
            values = np.nan_to_num(np.asarray(columns[word], np.float64))
            values = np.rint(values * by if word in PRICES else values)
            words[:, place] = _fitting(word, values)
    return words.view(np.uint8)


def full_packets(columns: Mapping[str, npt.ArrayLike]) -> Bytes:
    """Packets of mode `full`, one a row: uint8 of shape (n, 184). See `packets`."""
    return packets("full", columns)


def packet(mode: str, token: int, fields: Mapping[str, Any]) -> bytes:
    """One packet: `fields` as a row of `raw.ticks`, with aware datetimes; None is sent as 0."""
    said = {word: value for word, value in fields.items() if value is not None}
    columns = {
        word: [value.timestamp() if isinstance(value, datetime) else value]
        for word, value in said.items()
        if word in LAYOUT_OF[mode].words
    }
    return packets(mode, columns | {"instrument_token": [token]}).tobytes()


def frame(packets: Sequence[bytes] | Bytes) -> bytes:
    """One frame of these packets: a sequence of bytes, or packets of one mode as rows.

    Raises `ValueError` for more packets than a frame can count.
    """
    if len(packets) >= _MOST_PACKETS:
        raise ValueError(
            f"{len(packets):,} packets for one frame; it counts to {_MOST_PACKETS - 1:,}. "
            "Send several frames."
        )
    count = len(packets).to_bytes(2, "big")
    if isinstance(packets, np.ndarray):
        length = np.frombuffer(packets.shape[1].to_bytes(2, "big"), np.uint8)
        headers = np.broadcast_to(length, (len(packets), 2))
        return count + np.hstack([headers, packets]).tobytes()
    return count + b"".join(len(one).to_bytes(2, "big") + one for one in packets)


def _fitting(word: str, values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint32]:
    """Whole values as their word's bits."""
    if word in PRICES:
        low, high, shift = -(2**31), 2**31 - 1, 0
    elif word in ORDERS:
        low, high, shift = 0, 2**16 - 1, 16
    else:
        low, high, shift = 0, 2**32 - 1, 0
    outside = values[(values < low) | (values > high)]
    if outside.size:
        raise ValueError(
            f"{word}: {outside[0]:.0f} on the wire; its word holds {low} to {high}. "
            "Send a smaller value, or leave the column out."
        )
    return (values.astype(np.int64) << shift).astype(np.uint32)
