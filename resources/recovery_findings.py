"""What a recovery finds damaged, and what became of each thing.

Belongs here: the shape of findings. Does not belong here: finding and mending (see `recovery`).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Literal

State = Literal["mended", "again", "lost"]


@dataclass(frozen=True)
class Finding:
    """One damaged thing: its path in the home, what was found, what became of it.

    `mended`: as it was, or would be in a dry run; `again`: its rows are to be made anew, which
    `Found.again` lists; `lost`: nothing here can bring it back.
    """

    path: str
    found: str
    done: str
    state: State


@dataclass
class Found:
    """What a recovery found. `again` are dates to be made anew, by table."""

    findings: list[Finding] = field(default_factory=list)
    again: defaultdict[str, set[date]] = field(default_factory=lambda: defaultdict(set))
    checked: int = 0
    aside: Path | None = None

    @property
    def lost(self) -> list[Finding]:
        """What stays lost."""
        return [finding for finding in self.findings if finding.state == "lost"]
