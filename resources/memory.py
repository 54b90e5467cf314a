"""How much memory a process takes, and what follows from the soft limit on it.

Belongs here: shares of the limit, measuring the process, what is done when it passes the limit.
Does not belong here: the settings (see `settings_archive`), the work that is cut into batches.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from resources.logs import get_logger
from resources.settings import Settings

_UNITS = {"MB": 10**6, "GB": 10**9, "MiB": 2**20, "GiB": 2**30}
_DAY_BYTES = 60_000_000
"""A full exchange day in the close lane: its rows, and copies made of them on the way."""
_SEGMENT_BYTES = 400_000_000
"""A minute of 3,000 instruments at two packets a second: frames, ticks, and copies of them."""
_STATM = Path("/proc/self/statm")
_LOG = get_logger("optrade.memory")


def bytes_of(size: str) -> int:
    """A size such as `4GB` or `512 MiB` in bytes."""
    number, unit = size[:-3], size[-3:]
    if unit not in _UNITS:
        number, unit = size[:-2], size[-2:]
    return int(float(number) * _UNITS[unit])


@dataclass(frozen=True)
class Budget:
    """What the parts of a process may take, so that it stays below `soft_limit_bytes`.

    DuckDB half, what a run keeps for its later steps a quarter, the work itself the rest.
    """

    soft_limit_bytes: int
    duckdb_limit: str
    cache_mb: float
    days_per_run: int

    @classmethod
    def of(cls, settings: Settings) -> Budget:
        """From the soft limit; settings of a part's own are a further bound on it."""
        limit = bytes_of(settings.memory.soft_limit)
        duckdb = min(bytes_of(settings.lake.memory_limit), limit // 2)
        days = max(1, limit // _DAY_BYTES)
        return cls(
            soft_limit_bytes=limit,
            duckdb_limit=f"{max(1, duckdb // 10**6)}MB",
            cache_mb=limit / 4 / 10**6,
            days_per_run=min(settings.backfill.days_per_run, days),
        )


def resident_bytes() -> int | None:
    """Memory this process holds now; None where the system does not tell without extras.

    Linux tells it; elsewhere on Unix there is only the most it ever held. Windows: None.
    """
    if _STATM.exists():
        pages = int(_STATM.read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    if sys.platform == "win32":
        return None
    import resource  # noqa: PLC0415 (Unix only)

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024)


@dataclass
class MemoryWatch:
    """Looks how much the process takes, and cuts batches once it takes too much.

    `passes` counts how often it was found above the limit; each time batches are halved.
    """

    soft_limit_bytes: int
    measure: Callable[[], int | None] = resident_bytes
    passes: int = 0
    peak_bytes: int | None = field(default=None)

    def look(self, at: str) -> bool:
        """Whether the process is above the limit now; if so, says so in the log."""
        held = self.measure()
        if held is None:
            return False
        self.peak_bytes = max(held, self.peak_bytes or 0)
        if held <= self.soft_limit_bytes:
            return False
        self.passes += 1
        _LOG.warning(
            "more memory than the soft limit: smaller batches from now on; if it goes on, lower "
            "OPTRADE_BACKFILL__DAYS_PER_RUN or raise OPTRADE_MEMORY__SOFT_LIMIT",
            at=at,
            resident_mb=held // 10**6,
            soft_limit_mb=self.soft_limit_bytes // 10**6,
            passes=self.passes,
        )
        return True

    def segments(self, most: int) -> int:
        """How many segments the next batch may have: `most` at best, 1 at worst."""
        fit = min(most, self.soft_limit_bytes // _SEGMENT_BYTES)
        return max(1, fit >> min(self.passes, 16))

    def told(self) -> dict[str, int]:
        """What a materialization says of it: passes so far, and the most that was seen (MB)."""
        seen = {} if self.peak_bytes is None else {"resident_mb": self.peak_bytes // 10**6}
        return {"memory_limit_passes": self.passes, **seen}
