"""The troubleshooting guide: every cause in it, every message real, both pages as written."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from optrade.quality.causes import CAUSES, COMPONENTS
from optrade.troubles import SECTIONS, TROUBLES, Trouble
from optrade.troubles.docs import ERRORS, FAULTS_HEADING, GUIDE, errors, guide, taxonomy
from optrade_dagster.doctor import PROBES

ROOT = Path(__file__).parents[1]
PACKAGES = ("optrade", "resources", "assets", "optrade_dagster")
OURS = ROOT / "optrade" / "troubles"
EVERY = pytest.mark.parametrize("trouble", TROUBLES.values(), ids=lambda one: one.name)


@cache
def texts() -> frozenset[str]:
    """Every text of the code base, with `…` for each value that is put into it."""
    found = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            if path.is_relative_to(OURS):
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = (p.value if isinstance(p, ast.Constant) else "…" for p in node.values)
                    found.add("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.add(node.value)
    return frozenset(found)


def test_pages_are_as_written() -> None:
    told = "run `python -m optrade.troubles.docs`"
    assert GUIDE.read_text(encoding="utf-8") == guide(), told
    assert ERRORS.read_text(encoding="utf-8").startswith(taxonomy()), told


def test_writing_leaves_the_faults_as_they_are() -> None:
    before = f"old\n{FAULTS_HEADING}\n\n| fault |\n"
    assert errors(before) == taxonomy() + "\n| fault |\n"
    assert errors(errors(before)) == errors(before)
    assert errors("") == taxonomy()


def test_every_section_has_troubles_and_every_heading_its_own_anchor() -> None:
    assert {one.section for one in TROUBLES.values()} == set(SECTIONS)
    headings = re.findall(r"^##+ (.+)$", guide(), re.MULTILINE)
    anchors = re.findall(r"\]\(#(.+)\)$", guide(), re.MULTILINE)
    assert len(headings) == len(set(headings)) == len(anchors) == len(set(anchors))


@pytest.mark.parametrize("name", CAUSES)
def test_every_cause_is_a_trouble_in_its_own_words(name: str) -> None:
    cause, trouble = CAUSES[name], TROUBLES[name]
    assert trouble.means == cause.meaning
    assert trouble.do[0].endswith(cause.suggestion)
    row = next(line for line in taxonomy().splitlines() if line.startswith(f"| [`{name}`]"))
    assert cause.meaning in row
    assert cause.suggestion in row
    assert (f"`{cause.action}`" in row) == (cause.action is not None)
    assert f"#{trouble.anchor})" in row


def test_every_component_is_told() -> None:
    assert all(f"| `{name}` | {what} |" in taxonomy() for name, what in COMPONENTS.items())


@EVERY
def test_a_trouble_says_everything(trouble: Trouble) -> None:
    assert trouble.section in SECTIONS
    assert trouble.means
    assert trouble.do
    assert trouble.worked
    assert all(step.strip() == step for step in trouble.do)


@EVERY
def test_its_messages_are_ours(trouble: Trouble) -> None:
    for message in trouble.shows:
        assert any(text.startswith(message) for text in texts()), message


@EVERY
def test_the_probe_it_names_exists(trouble: Trouble) -> None:
    for named in re.findall(r"`optrade doctor[^`]*` calls (.+?) ok", trouble.worked):
        for name in re.findall(r"`([^`]+)`", named):
            assert name in {"settings", *(probe.name for probe in PROBES)}
