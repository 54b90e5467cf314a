"""What a planted fault is, and the register of all of them.

Belongs here: the shape of a declaration and the table of docs/errors.md made of all declarations.
Does not belong here: planting a fault and proving what comes of it (see the modules beside this).

Run `python -m tests.faults.schema` after changing a declaration; a test keeps the page equal.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from optrade.quality.causes import CAUSES
from optrade.troubles.docs import ERRORS, taxonomy

Outcome = Literal["healed", "labelled"]
OUTCOMES: Final = {
    "healed": "put right without a person",
    "labelled": "kept out or marked as what it is; nothing is made up in its place",
}


@dataclass(frozen=True)
class Fault:
    """One fault: what is done, what finds it, what incident it becomes, what comes of it.

    `family` groups the table's rows, `planted` says what the test does, in words. `found_by` is
    the table and the rule (or the part of the program) that finds it, `cause` one of `CAUSES`.
    `comes_of_it` says how it is healed, or where and how it is labelled.
    """

    name: str
    family: str
    planted: str
    found_by: str
    cause: str
    outcome: Outcome
    comes_of_it: str

    def __post_init__(self) -> None:
        if self.cause not in CAUSES:
            raise ValueError(f"{self.name}: found cause {self.cause!r}; expected one of CAUSES.")

    @property
    def row(self) -> str:
        """This fault as a row of the table."""
        cause = CAUSES[self.cause]
        remedy = f"`{cause.action}`" if cause.action else "a person"
        cells = (
            self.planted,
            self.found_by,
            f"[`{self.cause}`](troubleshooting.md#incident-{self.cause})",
            remedy,
            f"{self.outcome}: {self.comes_of_it}",
        )
        return f"| {' | '.join(cells)} |"


def faults() -> list[Fault]:
    """Every fault that the test modules beside this one declare as their `FAULTS`."""
    modules = sorted(Path(__file__).parent.glob("test_*.py"))
    found = (importlib.import_module(f"tests.faults.{module.stem}") for module in modules)
    return [fault for module in found for fault in getattr(module, "FAULTS", ())]


def table() -> str:
    """The last part of docs/errors.md."""
    listed = faults()
    lines = [
        "",
        "Each of these is planted by a test of `tests/faults/`, which fails unless it is found by "
        "what stands here, becomes that incident, and ends as told. `healed` is what was "
        + "; `labelled` is what was ".join(OUTCOMES.values())
        + ".",
    ]
    for family in dict.fromkeys(fault.family for fault in listed):
        lines += ["", f"### {family}", ""]
        lines += [
            "| planted | found by | cause | remedy | what comes of it |",
            "|---|---|---|---|---|",
        ]
        lines += [fault.row for fault in listed if fault.family == family]
    return "\n".join(lines) + "\n"


def write() -> None:
    """Rewrite the page."""
    ERRORS.write_text(taxonomy() + table(), encoding="utf-8")


if __name__ == "__main__":
    write()
