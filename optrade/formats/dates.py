"""Dates as the exchange spells them, read the same under every locale.

Belongs here: month names and the spellings of a date seen in file names, titles and columns.
Does not belong here: what a date means, or whether it is a trading day (`optrade.calendar`).
"""

from __future__ import annotations

import re
from datetime import date

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_FULL = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_CENTURY = 2000
_ISO = re.compile(r"(?P<y>\d{4})-(?P<m>\d{1,2})-(?P<d>\d{1,2})")
_NAMED = re.compile(r"(?P<d>\d{1,2})[-/ ]?(?P<m>[A-Za-z]{3,9})[-/ ,]*(?P<y>\d{4}|\d{2})")
_DAY_FIRST = re.compile(r"(?P<d>\d{1,2})[-/.](?P<m>\d{1,2})[-/.](?P<y>\d{4})")
_MONTH_NAME_FIRST = re.compile(r"(?P<m>[A-Za-z]{3,9})\.?\s*(?P<d>\d{1,2})[\s,]+(?P<y>\d{4})")
_MONTH_FIRST = re.compile(r"(?P<m>\d{1,2})[-/](?P<d>\d{1,2})[-/](?P<y>\d{4})")
_COMPACT = re.compile(r"(?P<d>\d{2})(?P<m>\d{2}|[A-Za-z]{3})(?P<y>\d{4})")
_COMPACT_ISO = re.compile(r"(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})")


def month_number(name: str) -> int | None:
    """1 to 12 for an English month name or any abbreviation of three letters up; else None."""
    word = name.lower()
    for number, full in enumerate(_FULL, 1):
        if len(word) >= 3 and full.startswith(word):
            return number
    return None


def _read(pattern: re.Pattern[str], text: str) -> date | None:
    match = pattern.fullmatch(text.strip())
    if match is None:
        return None
    month = int(match["m"]) if match["m"].isdigit() else month_number(match["m"])
    year = int(match["y"]) + (_CENTURY if len(match["y"]) == 2 else 0)
    try:
        return None if month is None else date(year, month, int(match["d"]))
    except ValueError:
        return None


def iso(text: str) -> date | None:
    """`2026-01-06`; None when the text is no such date."""
    return _read(_ISO, text)


def named(text: str) -> date | None:
    """`26-Nov-2015`, `06-NOV-2015`, `31-May-12` (seen on 2012-05-14) or `28/10/2021`."""
    return _read(_NAMED, text) or _read(_DAY_FIRST, text)


def day_first(text: str) -> date | None:
    """`01-01-2025` or `01/09/2014`, the day before the month."""
    return _read(_DAY_FIRST, text)


def month_first(text: str) -> date | None:
    """`04-06-2023` with the month before the day."""
    return _read(_MONTH_FIRST, text)


def titled(text: str) -> date | None:
    """`Jul 28, 2026`, `Jul 28,2026`, `July 28, 2026`, `Jul 28 2026` or `17-Jul-2025`."""
    return _read(_MONTH_NAME_FIRST, text) or named(text)


def compact(text: str) -> date | None:
    """A date in a file name: `06012026`, `06NOV2015` or `17-Jul-2025`."""
    return _read(_COMPACT, text) or _read(_NAMED, text)


def compact_iso(text: str) -> date | None:
    """A date in a UDiFF file name: `20260106`."""
    return _read(_COMPACT_ISO, text)
