"""`optrade doctor`: looks at everything a machine can see, writes nothing, says what to do.

Belongs here: which probes there are, and how findings are shown. Does not belong here: the probes
(see the modules beside this one), what a trouble means and what to do (`optrade.troubles`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from optrade.troubles import TROUBLES
from optrade_dagster.doctor import feed, machine, running, storage
from optrade_dagster.doctor.probe import GUIDE, Finding, Sight, findings

__all__ = ["PROBES", "Finding", "Sight", "examine", "show"]

PROBES: Final = (*machine.PROBES, *storage.PROBES, *running.PROBES, *feed.PROBES)
_SETTINGS: Final = "settings"
_STYLES: Final = {"ok": "green", "warning": "yellow", "trouble": "bold red"}


def examine(sight: Sight | str) -> list[Finding]:
    """What every probe finds. In place of a sight: why the settings cannot be read."""
    if isinstance(sight, str):
        return [Finding(_SETTINGS, "trouble", sight, _SETTINGS)]
    place = f"{sight.settings.market} market in {sight.settings.home}"
    return [Finding(_SETTINGS, "ok", place, _SETTINGS), *findings(sight, PROBES)]


def show(console: Console, found: Sequence[Finding], style: str) -> int:
    """Print findings as `text` or `json`; the exit code, 1 where one is a trouble."""
    if style == "json":
        console.file.write(json.dumps([one.told() for one in found], indent=2) + "\n")
    else:
        console.print(_table(found))
        counts = {word: sum(one.verdict == word for one in found) for word in _STYLES}
        console.print(", ".join(f"{count} {word}" for word, count in counts.items()), style="dim")
    return int(any(one.verdict == "trouble" for one in found))


def _table(found: Sequence[Finding]) -> Table:
    table = Table(header_style="bold")
    for name in ("probe", "verdict", "found", "what to do", f"section of {GUIDE}"):
        table.add_column(name, overflow="fold")
    for one in found:
        entry = TROUBLES[one.trouble]
        advice = ("", "") if one.verdict == "ok" else (entry.do[0], f"#{entry.anchor}")
        verdict = f"[{_STYLES[one.verdict]}]{one.verdict}[/]"
        table.add_row(one.probe, verdict, *map(escape, (one.found, *advice)))
    return table
