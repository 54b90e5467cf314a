"""`docs/troubleshooting.md` and the first part of `docs/errors.md`, written from declarations.

Belongs here: turning troubles, components and causes into pages for people. Does not belong here:
what they say (see the modules beside this one and `optrade.quality.causes`), the table of faults
that ends docs/errors.md.

Run `python -m optrade.troubles.docs` after changing a declaration; a test keeps all equal.
"""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path
from typing import Final

from optrade.quality.causes import CAUSES, COMPONENTS
from optrade.quality.incidents import MOST_ATTEMPTS
from optrade.troubles import TROUBLES, Trouble, anchor

DOCS: Final = Path(__file__).resolve().parents[2] / "docs"
GUIDE, ERRORS = DOCS / "troubleshooting.md", DOCS / "errors.md"
FAULTS_HEADING: Final = "## Faults"
"""Where the written part of docs/errors.md ends; what follows is left as it is."""
_NOTHING: Final = "nothing"
_ACTIONS: Final = {
    "refetch": "the exchange's file is asked for again, here or elsewhere",
    "recompute": "the tables of the date are made again",
    "replay": "the segments are fed through again",
    "candles": "the hole is filled from the broker's candles",
}

_GUIDE_HEAD = """\
# Troubleshooting

Written from `optrade/troubles/` by `python -m optrade.troubles.docs`; change it there.

Begin with `optrade doctor`: it looks at everything below that a machine can see, writes nothing, \
takes a few seconds, and names the section to read. In a message `…` stands for what differs from \
one time to the next. `D` and `DAY` are dates such as 2026-01-16.
"""
_ERRORS_HEAD = """\
# Errors

Written from `optrade/quality/causes.py` by `python -m optrade.troubles.docs` down to the faults; \
change it there.

Whatever is found wrong becomes an incident, a row of `quality.incidents`, with a component and a \
cause. Where something can be tried without a person it is, at most {attempts} times; then the \
incident is `escalated`. It is closed when the same is judged again and found well.
"""


def guide() -> str:
    """The text of `docs/troubleshooting.md`: a table of contents, then every trouble."""
    parts, contents = [], []
    for section, troubles in groupby(TROUBLES.values(), lambda one: one.section):
        listed = list(troubles)
        contents += [f"- [{section}](#{anchor(section)})"]
        contents += [f"  - [{one.title}](#{one.anchor})" for one in listed]
        parts += [f"## {section}\n", *map(_entry, listed)]
    return "\n".join([_GUIDE_HEAD, "\n".join(contents) + "\n", *parts])


def _entry(one: Trouble) -> str:
    lines = [f"### {one.title}", ""]
    if one.shows:
        lines += ["```", *(re.sub("…+", "…", message.strip()) for message in one.shows), "```", ""]
    lines += [one.means, ""]
    lines += [f"{number}. {step}" for number, step in enumerate(one.do, 1)]
    return "\n".join([*lines, "", f"It worked when: {one.worked}"]) + "\n"


def taxonomy() -> str:
    """The first part of `docs/errors.md`: components, and causes with what is done about them."""
    head = _ERRORS_HEAD.format(attempts=MOST_ATTEMPTS)
    lines = ["## Components", "", "| component | what it is |", "|---|---|"]
    lines += [f"| `{name}` | {what} |" for name, what in COMPONENTS.items()]
    lines += ["", "## Causes", ""]
    lines += [
        "| cause | what it means | tried by itself | what a person does |",
        "|---|---|---|---|",
    ]
    for cause in CAUSES.values():
        tried = f"`{cause.action}`: {_ACTIONS[cause.action]}" if cause.action else _NOTHING
        link = f"[`{cause.name}`](troubleshooting.md#{TROUBLES[cause.name].anchor})"
        lines.append(f"| {link} | {cause.meaning} | {tried} | {cause.suggestion} |")
    return "\n".join([head, *lines, "", FAULTS_HEADING]) + "\n"


def errors(present: str) -> str:
    """The text of `docs/errors.md`: the taxonomy, then what stands below the faults' heading."""
    _, heading, faults = present.partition(f"{FAULTS_HEADING}\n")
    return taxonomy() + (faults if heading else "")


def write() -> None:
    """Rewrite both pages."""
    GUIDE.write_text(guide(), encoding="utf-8")
    present = ERRORS.read_text(encoding="utf-8") if ERRORS.exists() else ""
    ERRORS.write_text(errors(present), encoding="utf-8")


if __name__ == "__main__":
    write()
