"""What an entry of the troubleshooting guide is made of.

Belongs here: the shape of an entry, the sections, how a heading is linked to. Does not belong
here: the entries themselves (see the modules beside this one).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

SECTIONS: Final = (
    "Set-up",
    "Login",
    "Exchange files",
    "Live feed",
    "Storage",
    "Performance",
    "Participants",
    "Price toggle",
    "Error detection",
    "Deployment",
    "Recovery",
    "Emergency",
)
"""Sections of the guide, in its order."""


@dataclass(frozen=True)
class Trouble:
    """One thing that can be wrong, as a person meets it.

    `title` is the symptom in a few words. `shows` are the messages, each from its start on and
    with `…` for what differs from one time to the next. `do` are steps, in order; `worked` is
    how one sees that they helped.
    """

    name: str
    section: str
    title: str
    means: str
    do: tuple[str, ...]
    worked: str
    shows: tuple[str, ...] = ()

    @property
    def anchor(self) -> str:
        """What follows the `#` in a link to this entry."""
        return anchor(self.title)


def anchor(heading: str) -> str:
    """The name that Markdown readers give a heading: GitHub's rule.

    >>> anchor("The disk is full, or nearly")
    'the-disk-is-full-or-nearly'
    """
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
