"""Kite frames to the columns of `raw.ticks`, against the official client, in one run.

The official client reads the same frames into dictionaries; it says less (unsigned prices, no
time zone, unknown lengths dropped). The floor is copying the frames' bytes once. Figures are
process CPU time, all threads, best of some repetitions: read the ratios.
Run: `python benchmarks/decode.py --ticks 60000`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from datetime import date

import numpy as np
from kiteconnect import KiteTicker

from optrade.formats.kite_frames import decode_frames, raw_ticks
from optrade.formats.kite_layout import FULL, LEVELS, PRICES, STAMPS
from optrade.simulation.kite_packets import frame, full_packets, packet

Frames = list[tuple[int, bytes]]

INSTRUMENTS = 440
MOST_PACKETS = 220
OFFICIAL_TICKS = 20_000
NIFTY = 256_265
START = 1_767_600_000


def make_packets(ticks: int) -> np.ndarray:
    """Full packets of a book of options whose every depth level is taken."""
    random = np.random.default_rng(1)
    columns = {}
    for word in FULL:
        if word in PRICES:
            columns[word] = random.integers(1, 2_000_000, ticks) / 100
        elif word in STAMPS:
            columns[word] = START + np.arange(ticks) // INSTRUMENTS
        else:
            columns[word] = random.integers(1, 60_000, ticks)
    columns["instrument_token"] = random.integers(50_000, 50_000 + INSTRUMENTS, ticks) << 8 | 2
    for level in LEVELS[3::5]:  # the fourth level is empty in one book of ten
        empty = random.random(ticks) < 0.1
        for column in level:
            columns[column][empty] = 0
    return full_packets(columns)


def make_frames(packets: np.ndarray, *, mixed: bool) -> Frames:
    """Frames of 1 to 220 packets; `mixed` ones have an index packet in the middle."""
    random = np.random.default_rng(2)
    index = packet("index_full", NIFTY, {"last_price": 25_000.05, "exchange_at": START})
    frames: Frames = []
    at = 0
    while at < len(packets):
        some = packets[at : at + int(random.integers(1, MOST_PACKETS))]
        at += len(some)
        rows = [row.tobytes() for row in some]
        if mixed:
            rows.insert(len(rows) // 2, index)
        frames.append((START * 1_000_000 + 100_000 * len(frames), frame(rows)))
    return frames


def ns_a_tick(work: Callable[[], object], ticks: int, times: int) -> float:
    """CPU nanoseconds a tick: the best of `times` calls."""
    taken = []
    for _ in range(times):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken) / ticks * 1e9


def sample(frames: Frames) -> tuple[list[bytes], int]:
    """The first frames with some ticks, for a reader that would take minutes over all."""
    some: list[bytes] = []
    ticks = 0
    for _, payload in frames:
        some.append(payload)
        ticks += int.from_bytes(payload[:2])
        if ticks >= OFFICIAL_TICKS:
            break
    return some, ticks


def measure(frames: Frames, times: int) -> dict[str, float]:
    """Nanoseconds a tick of every reader of these frames."""
    parse = KiteTicker("key", "token")._parse_binary  # noqa: SLF001 (what is measured)
    some, few = sample(frames)
    ticks = decode_frames(frames).counts["ticks"]
    payloads = np.frombuffer(b"".join(payload for _, payload in frames), np.uint8)
    target = np.zeros_like(payloads)

    def stored() -> None:
        raw_ticks(decode_frames(frames), date(2026, 1, 5), "133000-a", "simulated", {})

    return {
        "official client": ns_a_tick(lambda: [parse(p) for p in some], few, max(3, times // 3)),
        "ours: all columns, in order of arrival": ns_a_tick(
            lambda: decode_frames(frames), ticks, times
        ),
        "ours: and sorted as `raw.ticks` is stored": ns_a_tick(stored, ticks, times),
        "copying the bytes once": ns_a_tick(lambda: np.copyto(target, payloads), ticks, times),
    }


def table(title: str, found: dict[str, float]) -> Sequence[str]:
    """The figures as lines of Markdown."""
    official, copied = found["official client"], found["copying the bytes once"]
    lines = [
        f"| {title} | ns a tick | million ticks/s | times the official client | share of memcpy |",
        "|---|---|---|---|---|",
    ]
    for name, ns in found.items():
        cells = f"{ns:,.0f} | {1e3 / ns:.2f} | {official / ns:,.0f} | {copied / ns:.1%}"
        lines.append(f"| {name} | {cells} |")
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ticks", type=int, default=60_000, help="a busy minute")
    parser.add_argument("--times", type=int, default=15, help="repetitions (the best counts)")
    arguments = parser.parse_args()
    packets = make_packets(arguments.ticks)
    for title, mixed in (("full packets alone", False), ("an index in every frame", True)):
        found = measure(make_frames(packets, mixed=mixed), arguments.times)
        print("\n".join(table(f"{arguments.ticks:,} ticks: {title}", found)), end="\n\n")


if __name__ == "__main__":
    main()
