"""Troubles a person may meet, each with its meaning, what to do, and how to see that it worked.

Belongs here: all of them by name, those of incident causes among them. Does not belong here:
finding them on a machine (`optrade doctor`), the page written from them (see `docs`).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Final

from optrade.quality.causes import CAUSES, Cause
from optrade.troubles import data, keeping, starting
from optrade.troubles.schema import SECTIONS, Trouble, anchor

__all__ = ["SECTIONS", "TROUBLES", "Trouble", "anchor"]

_SECTION_OF_CAUSE: Final = {
    "file_withheld": "Exchange files",
    "file_unreadable": "Exchange files",
    "file_damaged": "Storage",
    "segment_refused": "Live feed",
    "feed_cut": "Live feed",
    "instrument_silent": "Live feed",
    "feed_odd": "Live feed",
    "token_expired": "Login",
    "disk_refused": "Storage",
    "lake_damaged": "Storage",
    "run_failed": "Recovery",
}
"""Where a cause is told; all others stand under error detection."""
_MESSAGES: Final = {
    "file_withheld": ("HTTP …: the host refused. ",),
    "file_damaged": (
        "…: found SHA-256 ……; expected …… as when it was fetched. ",
        "…: found no such file; expected the kept one. ",
    ),
    "segment_refused": ("…: found …; expected … at its start. It is no segment of this version",),
    "run_failed": (
        "The process of this run was killed.",
        "The daemon that had launched this run was killed.",
    ),
}


def of_cause(cause: Cause) -> Trouble:
    """A class of incident as a trouble: its text is the cause's own."""
    tried = "Tried by itself first; where that does not help: " if cause.action else ""
    return Trouble(
        cause.name,
        _SECTION_OF_CAUSE.get(cause.name, "Error detection"),
        f"Incident: {cause.name}",
        cause.meaning,
        (f"{tried}{cause.suggestion}",),
        f"`optrade sql \"SELECT * FROM quality.incidents WHERE cause = '{cause.name}' AND status "
        "<> 'closed'\"` gives no row.",
        _MESSAGES.get(cause.name, ()),
    )


def _by_section() -> Mapping[str, Trouble]:
    declared = chain(starting.TROUBLES, data.TROUBLES, keeping.TROUBLES)
    every = [*declared, *map(of_cause, CAUSES.values())]
    return {one.name: one for one in sorted(every, key=lambda one: SECTIONS.index(one.section))}


TROUBLES: Final = _by_section()
"""Every trouble by its name, in the order of the guide."""
