"""What a probe is: a look at one thing, and what was found there.

Belongs here: verdicts, findings, what probes are given, running them. Does not belong here: the
probes (see the modules beside this one), what to do about a trouble (`optrade.troubles`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import polars as pl

from optrade.calendar import TradingCalendar, load_calendar
from optrade.troubles import TROUBLES
from resources.clock import Clock, read_clock
from resources.lake import LakeLocation
from resources.settings import Settings

Verdict = Literal["ok", "warning", "trouble"]
GUIDE = "docs/troubleshooting.md"


@dataclass(frozen=True)
class Seen:
    """What a look saw; `trouble` names an entry of the guide where it is not the probe's own."""

    verdict: Verdict
    found: str
    trouble: str | None = None


@dataclass(frozen=True)
class Sight:
    """What probes are given. `port` is the web UI's; `network` allows to ask other machines."""

    settings: Settings
    port: int = 3000
    network: bool = False

    @cached_property
    def clock(self) -> Clock:
        """The market's clock."""
        return read_clock(self.settings.clock_file)

    @cached_property
    def calendar(self) -> TradingCalendar:
        """The trading calendar, with the user's additions."""
        return load_calendar(self.settings.calendar.extra_csv)

    @property
    def location(self) -> LakeLocation:
        """Where the lake is."""
        return LakeLocation(self.settings.lake_root, self.settings.market)


@dataclass(frozen=True)
class Probe:
    """A look at one thing; `trouble` is the entry of the guide that it is about."""

    name: str
    trouble: str
    look: Callable[[Sight], Iterator[Seen]]


@dataclass(frozen=True)
class Finding:
    """What a probe found, and where the guide tells of it."""

    probe: str
    verdict: Verdict
    found: str
    trouble: str

    def told(self) -> dict[str, object]:
        """As one says it: with what to do and the section, unless all is well."""
        entry = TROUBLES[self.trouble]
        well = self.verdict == "ok"
        return {
            "probe": self.probe,
            "verdict": self.verdict,
            "found": self.found,
            "do": [] if well else list(entry.do),
            "section": None if well else f"{GUIDE}#{entry.anchor}",
        }


def ok(found: str) -> Seen:
    """All is well."""
    return Seen("ok", found)


def warning(found: str, trouble: str | None = None) -> Seen:
    """It works, but somebody should look."""
    return Seen("warning", found, trouble)


def bad(found: str, trouble: str | None = None) -> Seen:
    """It does not work, or soon will not."""
    return Seen("trouble", found, trouble)


def findings(sight: Sight, probes: Sequence[Probe]) -> Iterator[Finding]:
    """What each probe finds; one that fails is a trouble itself, and the others go on."""
    for probe in probes:
        try:
            for seen in probe.look(sight):
                trouble = seen.trouble or probe.trouble
                yield Finding(probe.name, seen.verdict, seen.found, trouble)
        except (OSError, ValueError, sqlite3.Error, pl.exceptions.PolarsError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            yield Finding(probe.name, "trouble", f"cannot be looked at: {first}", probe.trouble)


def amount(size_bytes: float) -> str:
    """A size for people."""
    for unit in ("bytes", "kB", "MB"):
        if size_bytes < 1000:
            return f"{size_bytes:,.0f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:,.1f} GB"


def since(seconds: float) -> str:
    """A time that has passed, for people."""
    for limit, length, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"
