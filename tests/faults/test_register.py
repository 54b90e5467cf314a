"""The table of faults is what the tests declare, and is as long and as wide as promised."""

from __future__ import annotations

from optrade.troubles.docs import ERRORS, taxonomy
from tests.faults.schema import faults, table


def test_the_page_is_as_declared() -> None:
    text = ERRORS.read_text(encoding="utf-8")
    assert text == taxonomy() + table(), "run `python -m tests.faults.schema`"


def test_names_are_unique() -> None:
    names = [fault.name for fault in faults()]
    assert len(names) == len(set(names))
