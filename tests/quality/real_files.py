"""The exchange's own files, where they are at hand, as an archive would give them.

Belongs here: reading them. Does not belong here: what is expected of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path


def real_files(nse: Path) -> Iterator[tuple[str, str, date, bytes]]:
    """Yield kind, name, date and bytes of every real file; split bhavcopies put together."""
    full = sorted(path.name for path in (nse / "fo_udiff_full_day_by_symbol").iterdir())
    for root in ("fo_udiff_by_symbol", "fo_udiff_full_day_by_symbol"):
        for folder in sorted((nse / root).iterdir()):
            if root == "fo_udiff_by_symbol" and folder.name in full:
                continue
            lines = [part.read_bytes().splitlines() for part in sorted(folder.glob("*.csv"))]
            body = [lines[0][0], *(line for part in lines for line in part[1:])]
            name = f"BhavCopy_NSE_FO_0_0_0_{folder.name.replace('-', '')}_F_0000.csv"
            yield "fo_bhavcopy", name, date.fromisoformat(folder.name), b"\n".join(body) + b"\n"
    named = {
        "fo_bhav_old": ("fo_bhavcopy", "fo%d%b%Ybhav"),
        "participant_oi": ("participant_oi", "fao_participant_oi_%d%m%Y"),
        "participant_vol": ("participant_volume", "fao_participant_vol_%d%m%Y"),
        "fii_stats": ("fii_stats", "fii_stats_%d-%b-%Y"),
        "ind_close_all": ("index_close", "ind_close_all_%d%m%Y"),
    }
    for root, (kind, pattern) in named.items():
        for path in sorted((nse / root).iterdir()):
            if path.suffix != ".xls":
                stem = path.name.split(".")[0]
                day = datetime.strptime(stem, pattern).astimezone().date()
                yield kind, path.name, day, path.read_bytes()
