"""What time it is in the market: this machine's time, or a simulated one that runs faster.

Belongs here: clocks, and the file by which several processes share one. Does not belong here:
trading days and hours (`optrade.calendar`), what happens at which time.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from optrade.calendar import IST

_REMEDY = "Start the simulated broker again, or remove the file to go by this machine's clock."


class ClockError(ValueError):
    """A clock that cannot run, or a clock file that cannot be read; says what to do instead."""


class Clock(Protocol):
    """Tells the market's time and waits in it."""

    @property
    def speed(self) -> float:
        """Market seconds in a real one."""

    def now(self) -> datetime:
        """The market's time: aware, Asia/Kolkata."""

    def sleep(self, seconds: float) -> None:
        """Wait so many market seconds; not at all when it is 0 or less."""


@dataclass(frozen=True, slots=True)
class SystemClock:
    """This machine's clock."""

    @property
    def speed(self) -> float:
        """Always 1."""
        return 1.0

    def now(self) -> datetime:
        """This machine's time: aware, Asia/Kolkata."""
        return datetime.now(IST)

    def sleep(self, seconds: float) -> None:
        """Wait so many seconds; not at all when it is 0 or less."""
        time.sleep(max(seconds, 0.0))


@dataclass(frozen=True, slots=True)
class ScaledClock:
    """`market_start` + (real time - `real_start`) x `speed`, the same in every process.

    Before `real_start` it shows times before `market_start`. Raises `ClockError` for a naive
    time and for a speed that is not above 0.
    """

    market_start: datetime
    real_start: datetime
    speed: float

    def __post_init__(self) -> None:
        if not 0 < self.speed < float("inf"):
            raise ClockError(f"a speed of {self.speed} is impossible: choose one above 0")
        for name in ("market_start", "real_start"):
            if getattr(self, name).tzinfo is None:
                raise ClockError(f"{name} {getattr(self, name)} has no time zone: give it one")

    def now(self) -> datetime:
        """The market's time: aware, Asia/Kolkata."""
        passed = datetime.now(UTC) - self.real_start
        return self.market_start.astimezone(IST) + passed * self.speed

    def sleep(self, seconds: float) -> None:
        """Wait so many market seconds; not at all when it is 0 or less."""
        time.sleep(max(seconds, 0.0) / self.speed)


def write_clock(path: Path, clock: Clock) -> None:
    """Share a clock: `read_clock(path)` gives one that shows the same time.

    The file appears whole or not at all. For a `SystemClock` it is removed, since its absence
    means just that. Raises `ClockError` for any other kind of clock.
    """
    if isinstance(clock, SystemClock):
        path.unlink(missing_ok=True)
        return
    if not isinstance(clock, ScaledClock):
        raise ClockError(f"a {type(clock).__name__} cannot be shared: use a ScaledClock")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    text = json.dumps(
        {
            "market_start": clock.market_start.isoformat(),
            "real_start": clock.real_start.isoformat(),
            "speed": clock.speed,
        },
        indent=2,
    )
    try:
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_clock(path: Path) -> SystemClock | ScaledClock:
    """The clock shared at `path`; this machine's where there is no such file.

    Raises `ClockError` when the file is there but is not one of ours.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return SystemClock()
    try:
        found = json.loads(text)
        return ScaledClock(
            datetime.fromisoformat(found["market_start"]),
            datetime.fromisoformat(found["real_start"]),
            float(found["speed"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ClockError(
            f"{path} is no clock: found {text[:80]!r} ({error}), expected market_start, "
            f"real_start and speed. {_REMEDY}"
        ) from error
