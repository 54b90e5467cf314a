"""Where the exchange keeps each daily file, and whether what came back is such a file at all.

Belongs here: archive paths by kind and day, the date a file name claims, and cheap looks at the
bytes (a web page, a cut-off container, the one member of a zip). Does not belong here: fetching,
hosts, and the meaning of any column.

Paths are relative to the archive host's root, as in NSE's "All reports - Derivatives" listing;
the UDiFF common format replaced the older bhavcopy on 8 July 2024 (NSE circular 62424).
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from datetime import date

from optrade.errors import InputRefused
from optrade.formats import dates
from optrade.formats.dates import MONTHS
from optrade.tables.raw import FILE_KINDS

UDIFF_FROM = date(2024, 7, 8)
_LEGACY_UNTIL = date(2024, 7, 5)
_UDIFF_BACK_PUBLISHED_FROM = date(2024, 1, 1)
_LARGEST_MEMBER = 512 * 1024 * 1024
REFETCH = (
    "Fetch it again; if the same bytes come back, try the archive's other host or a local copy."
)

_ZIP_START, _ZIP_END = b"PK\x03\x04", b"PK\x05\x06"
_OLE_START = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OLE_HEADER = 512
_OLE_SECTORS = (9, 12)
_OLE_FREE, _OLE_MAX = 0xFFFFFFFF, 0xFFFFFFFA


def _udiff(day: date) -> str:
    return f"content/fo/BhavCopy_NSE_FO_0_0_0_{day:%Y%m%d}_F_0000.csv.zip"


def _legacy(day: date) -> str:
    month = MONTHS[day.month - 1].upper()
    folder = f"content/historical/DERIVATIVES/{day.year}/{month}"
    return f"{folder}/fo{day:%d}{month}{day.year}bhav.csv.zip"


def _bhavcopy(day: date) -> tuple[str, ...]:
    if day > _LEGACY_UNTIL:
        return (_udiff(day),)
    if day >= _UDIFF_BACK_PUBLISHED_FROM:
        return (_legacy(day), _udiff(day))
    return (_legacy(day),)


def _fii_stats(day: date) -> tuple[str, ...]:
    stem = f"content/fo/fii_stats_{day:%d}-{MONTHS[day.month - 1]}-{day.year}"
    return (f"{stem}.xls", f"{stem}.csv")


_PATHS: Mapping[str, Callable[[date], tuple[str, ...]]] = {
    "fo_bhavcopy": _bhavcopy,
    "fo_market_activity": lambda day: (f"archives/fo/mkt/fo{day:%d%m%Y}.zip",),
    "participant_oi": lambda day: (f"content/nsccl/fao_participant_oi_{day:%d%m%Y}.csv",),
    "participant_volume": lambda day: (f"content/nsccl/fao_participant_vol_{day:%d%m%Y}.csv",),
    "fii_stats": _fii_stats,
    "index_close": lambda day: (f"content/indices/ind_close_all_{day:%d%m%Y}.csv",),
}

_NAMES: Mapping[str, tuple[tuple[re.Pattern[str], Callable[[str], date | None]], ...]] = {
    kind: tuple((re.compile(pattern, re.IGNORECASE), read) for pattern, read in patterns)
    for kind, patterns in {
        "fo_bhavcopy": (
            (r"BhavCopy_NSE_FO_0_0_0_(\d{8})_F_0000\.csv(?:\.zip)?", dates.compact_iso),
            (r"fo(\d{2}[A-Z]{3}\d{4})bhav\.csv(?:\.zip)?", dates.compact),
        ),
        "fo_market_activity": ((r"fo(\d{8})\.zip", dates.compact),),
        "participant_oi": ((r"fao_participant_oi_(\d{8})\.csv", dates.compact),),
        "participant_volume": ((r"fao_participant_vol_(\d{8})\.csv", dates.compact),),
        "fii_stats": ((r"fii_stats_(\d{1,2}-[A-Z]{3}-\d{4})\.(?:xls|csv)", dates.compact),),
        "index_close": ((r"ind_close_all_(\d{8})\.csv", dates.compact),),
    }.items()
}


def candidates(kind: str, day: date) -> tuple[str, ...]:
    """Relative archive paths of one kind of file for one day, in the order to try them.

    `kind` is one of `optrade.tables.raw.FILE_KINDS`; raises `ValueError` for any other word.
    """
    if kind not in _PATHS:
        raise ValueError(f"unknown file kind {kind!r}; known: {', '.join(FILE_KINDS)}")
    return _PATHS[kind](day)


def is_optional(kind: str) -> bool:
    """Whether the close lane does without this kind when it is not published."""
    return kind == "fo_market_activity"


def base_name(file_name: str) -> str:
    """The last part of a path or URL."""
    return re.split(r"[\\/]", file_name)[-1]


def check_file_name(kind: str, file_name: str, trade_date: date) -> None:
    """Refuse a file whose name is not of this kind (`file_name`) or is of another day (`date`)."""
    if kind not in _NAMES:
        raise ValueError(f"unknown file kind {kind!r}; known: {', '.join(FILE_KINDS)}")
    name = base_name(file_name)
    for pattern, read in _NAMES[kind]:
        match = pattern.fullmatch(name)
        if match and (claimed := read(match[1])):
            check_date(file_name, "file name", claimed, trade_date)
            return
    raise InputRefused(
        file=file_name,
        field="file name",
        found=name,
        expected=" or ".join(base_name(path) for path in candidates(kind, trade_date)),
        remedy="Give the file the archive's own name, or file it under its own kind.",
        rule="file_name",
    )


def check_date(
    file: str, field: str, found: date, trade_date: date, *, line: int | None = None
) -> None:
    """Refuse (`date`) when a date the file states is not the trading day asked for."""
    if found == trade_date:
        return
    raise InputRefused(
        file=file,
        line=line,
        field=field,
        found=found.isoformat(),
        expected=trade_date.isoformat(),
        remedy=f"This is another day's file; fetch the one of {trade_date.isoformat()}.",
        rule="date",
    )


def looks_like_html(data: bytes) -> bool:
    """Whether the bytes are a web page (a block or error page) rather than a data file."""
    head = data[:2048].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return head.startswith((b"<!doctype", b"<html", b"<head", b"<body", b"<?xml", b"<script"))


def container_fault(data: bytes) -> str | None:
    """What is wrong with a zip or OLE2 (`.xls`) container, in words; None when it looks whole.

    Looks at headers and tables of contents only, so it is cheap; a flipped bit inside a member
    is found when the member is read. Raises nothing.
    """
    if data.startswith(_ZIP_START):
        return _zip_fault(data)
    if data.startswith(_OLE_START):
        return _ole_fault(data)
    return f"bytes that start with {data[:8]!r}, neither a zip nor an OLE2 workbook"


def _zip_fault(data: bytes) -> str | None:
    at = data.rfind(_ZIP_END, max(0, len(data) - 65_557))
    if at < 0 or at + 22 > len(data):
        return f"a zip cut off at byte {len(data)}: its table of contents is missing"
    size, offset = struct.unpack_from("<II", data, at + 12)
    if offset + size > at:
        return f"a zip with {offset + size - at} bytes missing before its table of contents"
    return None


def _ole_fault(data: bytes) -> str | None:
    if len(data) < _OLE_HEADER:
        return f"a workbook cut off at byte {len(data)}, inside its header"
    (power,) = struct.unpack_from("<H", data, 30)
    if power not in _OLE_SECTORS:
        return "a workbook with a damaged header"
    sector = 1 << power
    held = (len(data) - _OLE_HEADER) // sector
    tables = [s for s in struct.unpack_from("<109I", data, 76) if s < _OLE_MAX]
    if any(table >= held for table in tables):
        return f"a workbook cut off at byte {len(data)}: its sector table is missing"
    needed = 0
    for index, table in enumerate(tables):
        entries = struct.unpack_from(f"<{sector // 4}I", data, _OLE_HEADER + table * sector)
        used = [i for i, entry in enumerate(entries) if entry != _OLE_FREE]
        needed = max(needed, index * (sector // 4) + used[-1] + 1) if used else needed
    if needed > held:
        return f"a workbook cut off at byte {len(data)}: {needed - held} sectors are missing"
    return None


def check_bytes(file_name: str, data: bytes) -> None:
    """Refuse nothing at all (`empty`), a web page (`html`) or a broken container (`container`).

    Whether a container is due is told by the name's ending: `.zip` and `.xls`.
    """
    if not data.strip(b"\xef\xbb\xbf \t\r\n"):
        raise InputRefused(
            file=file_name,
            found=f"an empty file ({len(data)} bytes)",
            expected="the exchange's file",
            remedy=REFETCH,
            rule="empty",
        )
    if looks_like_html(data):
        raise InputRefused(
            file=file_name,
            found="a web page instead of the file",
            expected="the exchange's file",
            remedy="The host blocked the request or shows an error page; retry later and slower.",
            rule="html",
        )
    if not file_name.lower().endswith((".zip", ".xls")):
        return
    start = _ZIP_START if file_name.lower().endswith(".zip") else _OLE_START
    fault = container_fault(data)
    if fault is None and not data.startswith(start):
        fault = "another kind of container than the file's ending says"
    if fault is not None:
        raise _broken(file_name, fault)


def _broken(file_name: str, fault: str) -> InputRefused:
    return InputRefused(
        file=file_name,
        found=fault,
        expected="a complete container",
        remedy=REFETCH,
        rule="container",
    )


def unzip(file_name: str, data: bytes, *wanted: str) -> tuple[bytes, ...]:
    """The members of a zip with these names (any case), in this order.

    Raises `InputRefused`: `container` for a damaged zip, `member` when a wanted file is not in
    it, or when one file alone is wanted and others of its kind lie beside it.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            chosen = _members(file_name, archive.infolist(), wanted)
            return tuple(archive.read(member) for member in chosen)
    except InputRefused:
        raise
    except Exception as error:  # damaged bytes make zipfile raise almost anything
        raise _broken(file_name, f"a damaged zip ({error})") from error


def _members(
    file_name: str, held: Sequence[zipfile.ZipInfo], wanted: Sequence[str]
) -> list[zipfile.ZipInfo]:
    found = {base_name(member.filename).lower(): member for member in held}
    tables = [name for name in found if name.endswith(".csv")]
    if any(name.lower() not in found for name in wanted) or len(wanted) == 1 < len(tables):
        raise InputRefused(
            file=file_name,
            field="zip member",
            found=", ".join(member.filename for member in held) or "an empty zip",
            expected=" and ".join(wanted),
            remedy="The zip holds another file than its name says. " + REFETCH,
            rule="member",
        )
    chosen = [found[name.lower()] for name in wanted]
    if any(member.file_size > _LARGEST_MEMBER for member in chosen):
        raise _broken(file_name, "a zip member larger than any file of the exchange")
    return chosen
