"""The one shape of a refusal: where, what was found, what was expected, what to do next.

Belongs here: exception types that several rooms raise. Does not belong here: messages of one
format or one table; those are written where the fault is seen.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class InputRefused(ValueError):
    """Data from outside that must not enter the lake.

    Everything a person needs to mend it: `file`, `line` (1-based, None when the whole file is
    at fault), `field`, `found`, `expected` and `remedy`.
    """

    file: str
    found: str
    expected: str
    remedy: str
    line: int | None = None
    field: str | None = None
    rule: str = "format"

    def __str__(self) -> str:
        place = self.file
        if self.line is not None:
            place += f", line {self.line}"
        if self.field is not None:
            place += f", field {self.field}"
        return f"{place}: found {self.found}; expected {self.expected}. {self.remedy}"
