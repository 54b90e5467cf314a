"""Kept raw files laid out like the exchange's archive, so that tables can be made from them anew.

Belongs here: that layout. Does not belong here: keeping files (see `lake_files`), asking an
archive (see `nse`).
"""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

from optrade.formats.archive import candidates
from resources.nse import SIMULATED_MARK
from resources.settings import Market


def lay_out_kept_files(lake: Path, archive: Path, market: Market) -> int:
    """Copy the kept files of the lake's folder into `archive`; gives how many days have any.

    Of several versions of a file the one kept last is taken.
    """
    archive.mkdir(parents=True, exist_ok=True)
    if market == "simulated":
        (archive / SIMULATED_MARK).write_text("{}\n", encoding="utf-8")
    days = set()
    kept = [path for path in (lake / "files").rglob("*") if path.is_file()]
    for path in sorted(kept, key=lambda path: path.stat().st_mtime_ns):
        kind, _, day, name = path.relative_to(lake / "files").parts
        for place in candidates(kind, date.fromisoformat(day)):
            if place.endswith(f"/{name.partition('-')[2]}"):
                target = archive / place
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target)
                days.add(day)
    return len(days)
