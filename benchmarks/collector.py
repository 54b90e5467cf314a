"""What collecting costs: CPU and memory of the collector, and whether any frame is missing.

Another process plays the broker and sends full packets of 3,000 instruments, two a second
each; this process is the collector as it runs in earnest, on the official client. Every frame sent
is then looked for in the spool, in order. Run: `python benchmarks/collector.py --seconds 300`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import resource
import tempfile
import threading
import time
import zlib
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from optrade.calendar import IST
from optrade.formats.kite_instruments import COLUMNS
from optrade.formats.kite_layout import FULL, WORD
from optrade.simulation.kite_packets import frame, full_packets
from resources.clock import SystemClock
from resources.collector import Access
from resources.collector.session import Hours, Session
from resources.journal import Entry
from resources.settings import load_settings
from resources.spool import read_segment, sealed_segments

STRIKES = range(6_275, 43_750, 25)
STAMP = FULL.index("exchange_at") * WORD
TARGET_PCT = 25.0


def dump(day: date) -> bytes:
    """An instrument dump with 3,000 instruments: two indices, and the options of an expiry."""
    lines = [",".join(COLUMNS), "256265,1001,NIFTY 50,NIFTY 50,0,,0,0,0,EQ,INDICES,NSE"]
    lines.append("264969,1035,INDIA VIX,INDIA VIX,0,,0,0,0,EQ,INDICES,NSE")
    contracts = [(strike, kind) for strike in STRIKES for kind in ("CE", "PE")]
    for token, (strike, kind) in enumerate(contracts, 40_000):
        tail = f"{day},{strike},0.05,65,{kind},NFO-OPT,NFO"
        lines.append(f"{token << 8 | 2},{token},NIFTY{day:%y%m%d}{strike}{kind},NIFTY,0,{tail}")
    return ("\n".join(lines) + "\n").encode()


class Broker:
    """The REST API's part."""

    def __init__(self, port: int) -> None:
        self.access = Access(f"ws://127.0.0.1:{port}", "key", "token")

    def instruments(self) -> bytes:
        """The dump."""
        return dump(datetime.now(IST).date())

    def spots(self, underlyings: Sequence[str]) -> dict[str, float]:
        """Where the money is."""
        return dict.fromkeys(underlyings, 25_000.0)


def play_broker(pipe: Connection, seconds: float, rate: float, per_frame: int) -> None:
    """Serve one client; tells its port, then how many frames went out and their checksum."""
    asyncio.run(_serve(pipe, seconds, rate, per_frame))


async def _serve(pipe: Connection, seconds: float, rate: float, per_frame: int) -> None:
    done = asyncio.Event()

    async def hold(line: ServerConnection) -> None:
        tokens = json.loads(await line.recv())["v"]
        await line.recv()
        packets = full_packets({"instrument_token": tokens, "last_price": [100.0] * len(tokens)})
        frames = crc = 0
        start, place = time.monotonic(), 0
        while time.monotonic() - start < seconds:
            rows = packets[place : place + per_frame]
            stamp = np.frombuffer(int(time.time()).to_bytes(4, "big"), np.uint8)
            rows[:, STAMP : STAMP + WORD] = stamp
            payload = frame(rows)
            await line.send(payload)
            frames, crc = frames + 1, zlib.crc32(payload, crc)
            place = (place + per_frame) % len(tokens)
            due = start + frames * per_frame / (len(tokens) * rate)
            await asyncio.sleep(max(due - time.monotonic(), 0))
        pipe.send((frames, crc, len(tokens)))
        try:
            await line.recv()
        except ConnectionClosed:
            done.set()

    async with serve(hold, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        pipe.send(next(iter(server.sockets)).getsockname()[1])
        await done.wait()


def collect(home: Path, port: int, stop: threading.Event, report: list[Entry]) -> Session:
    """A collector's session from now on."""
    settings = load_settings(
        home=home,
        market="simulated",
        collector={"underlyings": ("NIFTY",), "strike_width_pct": 100},
    )
    now = datetime.now(IST)
    hours = Hours(now.date(), now, None, None, now + timedelta(days=1))
    return Session(settings, hours, SystemClock(), lambda: Broker(port), report.append, stop)


def heard(folder: Path) -> tuple[int, int, int]:
    """Frames in the spool, their checksum in order, bytes of the segments."""
    frames = crc = size = 0
    for path in sealed_segments(folder):
        segment = read_segment(path)
        for _, payload in segment.frames:
            frames, crc = frames + 1, zlib.crc32(payload, crc)
        size += segment.valid_bytes
    return frames, crc, size


def measure(home: Path, seconds: float, rate: float, per_frame: int) -> bool:
    """Run it and print the table; whether nothing is missing."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    sender = multiprocessing.get_context("spawn").Process(
        target=play_broker, args=(theirs, seconds, rate, per_frame), daemon=True
    )
    sender.start()
    stop, report = threading.Event(), list[Entry]()
    session = collect(home, ours.recv(), stop, report)
    thread = threading.Thread(target=session.run)
    thread.start()
    while not any(entry["event"] == "connected" for entry in report):
        time.sleep(0.01)
    cpu, wall = time.process_time(), time.monotonic()
    frames, crc, instruments = ours.recv()
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    time.sleep(0.5)
    stop.set()
    thread.join()
    sender.join(10)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    kept, kept_crc, size = heard(next((home / "simulated" / "spool").iterdir()))
    print("| what | measured | target |\n|---|---:|---:|")
    for row in (
        ("seconds", f"{wall:,.0f}", ""),
        ("instruments on one socket", f"{instruments:,}", ""),
        ("ticks a second", f"{frames * per_frame / wall:,.0f}", f"{instruments * rate:,.0f}"),
        ("frames a second", f"{frames / wall:,.1f}", ""),
        ("MB a second", f"{size / wall / 1e6:.2f}", ""),
        ("CPU, % of a core", f"{100 * cpu / wall:.1f}", f"< {TARGET_PCT:g}"),
        ("peak memory, MB", f"{peak:,.0f}", ""),
        ("frames sent", f"{frames:,}", ""),
        ("frames in the spool", f"{kept:,}", f"{frames:,}"),
        ("frames dropped", f"{frames - kept:,}", "0"),
        ("same bytes in the same order", "yes" if crc == kept_crc else "NO", "yes"),
    ):
        print("| " + " | ".join(row) + " |")
    return (frames, crc) == (kept, kept_crc)


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--rate", type=float, default=2.0, help="ticks a second and instrument")
    parser.add_argument("--packets-per-frame", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        whole = measure(Path(home), options.seconds, options.rate, options.packets_per_frame)
    raise SystemExit(0 if whole else 1)


if __name__ == "__main__":
    main()
