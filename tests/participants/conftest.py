"""Frames of participant files, by hand and by chance; and the real files' folder."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest

from optrade.tables.common import PARTICIPANTS, SEGMENTS

Figures = dict[tuple[date, str, str], tuple[int, int]]
Frames = Callable[[Figures], pl.DataFrame]

COLUMNS = dict(
    zip(
        ("index_future", "stock_future", "index_call", "index_put", "stock_call", "stock_put"),
        ((1, 2), (3, 4), (5, 7), (6, 8), (9, 11), (10, 12)),
        strict=True,
    )
)
"""Long and short columns of the exchange's files: call long, PUT long, call short, put short."""


def participant_frame(figures: Figures) -> pl.DataFrame:
    """Rows of `raw.participant_oi` or `raw.participant_volume`, with the TOTAL lines added."""
    totals: Figures = {}
    for (day, _, segment), (long, short) in figures.items():
        before = totals.get((day, "TOTAL", segment), (0, 0))
        totals[day, "TOTAL", segment] = (before[0] + long, before[1] + short)
    return pl.DataFrame(
        [(*key, *sides, "exchange", "0" * 64) for key, sides in (figures | totals).items()],
        schema={
            "trade_date": pl.Date,
            "participant": pl.String,
            "segment": pl.String,
            "long_contracts": pl.Int64,
            "short_contracts": pl.Int64,
            "source": pl.String,
            "source_sha256": pl.String,
        },
        orient="row",
    )


@pytest.fixture(scope="session")
def frame() -> Frames:
    return participant_frame


@pytest.fixture(scope="session")
def full() -> Callable[[Iterable[date], int], Figures]:
    """Figures of every class and segment: small, different, and balanced."""

    def make(days: Iterable[date], seed: int = 0) -> Figures:
        figures = {}
        for age, day in enumerate(days):
            for m, segment in enumerate(SEGMENTS):
                sides = [10 + (age * 7 + n * 5 + m * 3 + seed) % 23 for n in range(4)]
                for n, who in enumerate(PARTICIPANTS):
                    figures[day, who, segment] = (sides[n], sides[(n + 1) % 4])
        return figures

    return make


@pytest.fixture(scope="session")
def nse() -> Path:
    """The folder of real exchange files."""
    shared = Path(os.environ.get("MARKET_FILES", Path(__file__).parents[3] / "shared"))
    folder = shared / "data" / "nse"
    if not folder.is_dir():
        pytest.skip(f"no real files: {folder} is absent (set MARKET_FILES)")
    return folder


def read_by_hand(folder: Path) -> Figures:
    """The files of a folder by the csv module alone: (day, class, segment) to (long, short)."""
    figures: Figures = {}
    for path in sorted(folder.glob("*.csv")):
        day = datetime.strptime(path.stem[-8:], "%d%m%Y").astimezone().date()
        for cells in csv.reader(path.read_text().splitlines()[2:]):
            who = cells[0].strip().upper()
            if who in PARTICIPANTS:
                for segment, (long, short) in COLUMNS.items():
                    figures[day, who, segment] = (int(float(cells[long])), int(float(cells[short])))
    return figures


@pytest.fixture(scope="session")
def real_oi(nse: Path) -> Figures:
    return read_by_hand(nse / "participant_oi")


@pytest.fixture(scope="session")
def real_volume(nse: Path) -> Figures:
    return read_by_hand(nse / "participant_vol")
