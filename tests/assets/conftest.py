"""Shared by the tests of assets: published figures (standard library alone), a spooled market."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from optrade.formats.archive import candidates
from tests.assets.spooled_market import Market

PEOPLE = ("CLIENT", "DII", "FII", "PRO")
SEGMENTS = {
    "index_future": "Future Index {}",
    "stock_future": "Future Stock {}",
    "index_call": "Option Index Call {}",
    "index_put": "Option Index Put {}",
    "stock_call": "Option Stock Call {}",
    "stock_put": "Option Stock Put {}",
}


@dataclass(frozen=True)
class PublishedDay:
    """One day's files as anyone would read them."""

    contracts: list[dict[str, str]]
    held: dict[tuple[str, str], tuple[int, int]]
    """Long and short open interest by participant and segment."""
    traded: dict[tuple[str, str], tuple[int, int]]
    """Bought and sold likewise."""

    def index_options(self) -> Iterator[dict[str, str]]:
        return (row for row in self.contracts if row["FinInstrmTp"] == "IDO")


def _participants(path: Path) -> dict[tuple[str, str], tuple[int, int]]:
    _, *lines = path.read_text(encoding="utf-8").splitlines()
    rows = list(csv.reader(lines))
    names = [name.strip() for name in rows[0]]
    figures = {row[0].strip().upper(): dict(zip(names, row, strict=True)) for row in rows[1:]}
    return {
        (who, segment): (
            int(figures[who][name.format("Long")]),
            int(figures[who][name.format("Short")]),
        )
        for who in PEOPLE
        for segment, name in SEGMENTS.items()
    }


@pytest.fixture(scope="session")
def published(exchange: Path, sessions: list[date]) -> dict[date, PublishedDay]:
    days = {}
    for day in sessions:
        paths = {
            kind: exchange / candidates(kind, day)[-1]
            for kind in ("fo_bhavcopy", "participant_oi", "participant_volume")
        }
        with zipfile.ZipFile(paths["fo_bhavcopy"]) as archive:
            text = archive.read(archive.namelist()[0]).decode()
        days[day] = PublishedDay(
            list(csv.DictReader(io.StringIO(text))),
            _participants(paths["participant_oi"]),
            _participants(paths["participant_volume"]),
        )
    return days


@pytest.fixture
def market(tmp_path: Path) -> Iterator[Market]:
    with dg.DagsterInstance.ephemeral() as instance:
        made = Market(tmp_path / "home", instance)
        made.begin()
        yield made
