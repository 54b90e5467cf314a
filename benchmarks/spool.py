"""What buffers and memory maps of the spool cost and gain, beside a plain file.

Frames as long as those of 3,000 instruments are written with several settings of
`OPTRADE_SPOOL__FLUSH_SECONDS` and `OPTRADE_SPOOL__FSYNC_SECONDS`; the peer is Python's own file,
written and synced once, without checksums. A segment is then read as a run does, copied and mapped
(`OPTRADE_MEMORY__MAP_SEGMENTS`); each reading is a process of its own, whose memory that
is not backed by a file is looked at. Run: `python benchmarks/spool.py` (Linux).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from resources.spool import BINARY, SpoolWriter, microseconds, sealed_segments
from resources.spool_segments import parse_segment, segment_content

BUFFERS = ((0.2, 1.0), (0.0, 1.0), (0.0, 0.0), (1.0, 10.0))
FRAME_BYTES, FRAMES_A_SECOND, SPEED = 184 * 1_000, 6, 4


def made(frames: int) -> list[bytes]:
    """Frames of a thousand packets, from a seed."""
    numbers = np.random.default_rng(7)
    return [numbers.bytes(FRAME_BYTES) for _ in range(min(frames, 20))] * (frames // 20)


def plain(path: Path, frames: list[bytes]) -> float:
    """CPU seconds of the peer."""
    start = time.process_time()
    with path.open("wb") as file:
        for frame in frames:
            file.write(frame)
        file.flush()
        os.fsync(file.fileno())
    return time.process_time() - start


def spooled(folder: Path, frames: list[bytes], flush: float, sync: float) -> tuple[float, float]:
    """CPU seconds and a frame's longest wait in ms, at `SPEED` times the feed's pace."""
    longest, start = 0.0, time.process_time()
    with SpoolWriter(folder, "bench", flush_seconds=flush, fsync_seconds=sync) as writer:
        for frame in frames:
            before = time.perf_counter()
            writer.append(BINARY, 0, microseconds(datetime.now(UTC)), frame)
            longest = max(longest, time.perf_counter() - before)
            time.sleep(1 / FRAMES_A_SECOND / SPEED)
    return time.process_time() - start, longest * 1_000


def anonymous_mb() -> float:
    """Memory of this process that no file backs."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def read(path: Path, *, memory_map: bool) -> None:
    """What the child does: read a segment as a run does, and tell memory and time."""
    before, start = anonymous_mb(), time.perf_counter()
    with segment_content(path, memory_map=memory_map) as content:
        sha256 = hashlib.sha256(content).hexdigest()
        segment = parse_segment(content, path.name)
        print(anonymous_mb() - before, time.perf_counter() - start, len(segment.frames), sha256)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--read", nargs=2, metavar=("SEGMENT", "MAPPED"))
    asked = parser.parse_args()
    if asked.read:
        read(Path(asked.read[0]), memory_map=asked.read[1] == "true")
        return
    frames = made(asked.frames)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        peer = plain(folder / "plain", frames)
        print(
            f"{len(frames)} frames of {FRAME_BYTES:,} bytes; plain file: {peer:.2f} CPU s\n\n"
            "| flush, fsync (s) | CPU s | of the plain file | longest wait of a frame, ms |\n"
            "|---|---|---|---|"
        )
        for number, (flush, sync) in enumerate(BUFFERS):
            cpu, longest = spooled(folder / str(number), frames, flush, sync)
            print(f"| {flush}, {sync} | {cpu:.2f} | {cpu / peer:.2f} | {longest:.2f} |", flush=True)
        path = max(sealed_segments(folder / "0"), key=lambda one: one.stat().st_size)
        size = path.stat().st_size / 2**20
        print(
            f"\na segment of {size:.0f} MiB\n\n"
            "| `OPTRADE_MEMORY__MAP_SEGMENTS` | MiB not backed by a file | of the segment | s |\n"
            "|---|---|---|---|"
        )
        told = set()
        for mapped in ("false", "true"):
            words = [sys.executable, __file__, "--read", str(path), mapped]
            out = subprocess.run(words, stdout=subprocess.PIPE, check=True, text=True).stdout
            mb, seconds, *same = out.split()
            told.add(tuple(same))
            print(f"| {mapped} | {float(mb):.0f} | {float(mb) / size:.2f} | {float(seconds):.2f} |")
        if len(told) > 1:
            raise SystemExit(f"found {told}; expected the same frames and hash from both.")


if __name__ == "__main__":
    main()
