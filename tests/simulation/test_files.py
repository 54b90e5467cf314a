"""The published bytes: readable, spelt as the exchange spells them, the same every time."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from optrade.calendar import load_calendar
from optrade.simulation import (
    FIRST_DAY,
    GENERATOR_VERSION,
    UNDERLYINGS,
    SimulationError,
    market_days,
    simulate,
)
from optrade.simulation.parameters import BANKNIFTY, NIFTY
from resources.simulator import MARKER, read_marker, write_exchange

Tables = Mapping[str, pl.DataFrame]
DAYS = load_calendar().sessions(date(2026, 1, 23), date(2026, 2, 3))
SMALL = (BANKNIFTY,)


def _tree(root: Path) -> dict[str, tuple[bytes, int]]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(p.relative_to(root)): (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


def test_every_file_parses_and_says_so(tables: Tables, days: Sequence[date]) -> None:
    for rows in tables.values():
        assert sorted(rows["trade_date"].unique()) == list(days)
        assert set(rows["source"]) == {"simulated"}
    assert set(tables["fo_bhavcopy"]["underlying"]) == {u.symbol for u in UNDERLYINGS}
    assert len(tables["index_close"]) == 6 * len(days)
    assert len(tables["fii_stats"]) == 14 * len(days)


def test_the_same_seed_and_days_give_the_same_bytes() -> None:
    first, again = (list(simulate(DAYS[:3], 9, underlyings=SMALL)) for _ in range(2))
    assert first == again
    longer = list(simulate(DAYS[:5], 9, underlyings=SMALL))
    assert longer[:3] == first
    other = list(simulate(DAYS[:3], 10, underlyings=SMALL))
    for a, b in zip(first, other, strict=True):
        assert all(a.files[path] != b.files[path] for path in a.files)


def test_an_index_keeps_its_path_whatever_else_is_listed() -> None:
    few, many = (
        [one.indices for one in market_days(DAYS[:3], 4, underlyings=listed)]
        for listed in (SMALL, UNDERLYINGS)
    )
    assert few == many


def test_spelling_is_the_exchanges() -> None:
    files = next(simulate(DAYS[:1], 1, underlyings=SMALL)).files
    oi = files["content/nsccl/fao_participant_oi_23012026.csv"].decode().splitlines()
    assert oi[0] == (
        '""Participant wise Open Interest (no. of contracts) in Equity Derivatives as on '
        'Jan 23, 2026"",,,,,,,,,,,,,,'
    )
    assert "Future Stock Short       ,Option Index Call Long,Option Index Put Long" in oi[1]
    assert [line.split(",")[0] for line in oi[2:]] == ["Client", "DII", "FII", "Pro", "TOTAL"]
    fii = files["content/fo/fii_stats_23-Jan-2026.csv"].decode().splitlines()
    assert fii[0] == "FII DERIVATIVES STATISTICS FOR 23-Jan-2026,,,,,,"
    assert all(line.count(",") == 6 for line in fii)
    index = files["content/indices/ind_close_all_23012026.csv"].decode().splitlines()
    assert index[1].startswith("Nifty 50,23-01-2026,")
    assert index[-1].startswith("India VIX,")
    assert index[-1].endswith(",-,-,-,-,-")
    name = "BhavCopy_NSE_FO_0_0_0_20260123_F_0000.csv"
    with zipfile.ZipFile(io.BytesIO(files[f"content/fo/{name}.zip"])) as archive:
        assert archive.namelist() == [name]
        lines = archive.read(name).decode().splitlines()
    assert lines[0].startswith("TradDt,BizDt,Sgmt,Src,FinInstrmTp,FinInstrmId,ISIN,TckrSymb,")
    assert lines[1].startswith("2026-01-23,2026-01-23,FO,NSE,IDF,")
    assert ",2026-01-27,2026-01-27,,,BANKNIFTY26JANFUT," in lines[1]
    assert lines[1].endswith(",F1,30,,,,,")


@pytest.mark.parametrize(
    ("days", "seed", "underlyings", "says"),
    [
        ([], 1, SMALL, "no days"),
        ([date(2024, 7, 5)], 1, SMALL, str(FIRST_DAY)),
        ([date(2026, 1, 25)], 1, SMALL, "2026-01-25"),
        ([DAYS[0], DAYS[2]], 1, SMALL, str(DAYS[1])),
        (DAYS[:1], -1, SMALL, "seed -1"),
        (DAYS[:1], 1, (NIFTY, NIFTY), "each once"),
        (DAYS[:1], 1, (), "at least one"),
    ],
)
def test_what_cannot_be_simulated_is_said_at_once(
    days: list[date], seed: int, underlyings: tuple[object, ...], says: str
) -> None:
    with pytest.raises(SimulationError, match=says):
        simulate(days, seed, underlyings=underlyings)  # type: ignore[arg-type]


def test_a_tree_is_written_once_and_extended(tmp_path: Path) -> None:
    root, seen = tmp_path / "exchange", []
    done = write_exchange(
        root, DAYS[:2], 9, underlyings=SMALL, progress=lambda i, n, day: seen.append((i, n, day))
    )
    assert (done.days, done.written, done.unchanged) == (2, 10, 0)
    assert seen == [(1, 2, DAYS[0]), (2, 2, DAYS[1])]
    before = _tree(root)
    assert json.loads(before[MARKER][0]) == {
        "source": "simulated",
        "seed": 9,
        "generator_version": GENERATOR_VERSION,
        "first": DAYS[0].isoformat(),
        "last": DAYS[1].isoformat(),
        "underlyings": ["BANKNIFTY"],
    }
    again = write_exchange(root, DAYS[:2], 9, underlyings=SMALL)
    assert (again.written, again.unchanged) == (0, 10)
    assert _tree(root) == before
    more = write_exchange(root, DAYS[:3], 9, underlyings=SMALL)
    assert (more.written, more.unchanged) == (5, 10)
    after = _tree(root)
    assert {k: v for k, v in after.items() if k in before and k != MARKER} == {
        k: v for k, v in before.items() if k != MARKER
    }
    shorter = write_exchange(root, DAYS[:1], 9, underlyings=SMALL)
    assert (shorter.written, shorter.unchanged) == (0, 5)
    assert _tree(root) == after


def test_a_damaged_file_is_replaced(tmp_path: Path) -> None:
    write_exchange(tmp_path, DAYS[:1], 9, underlyings=SMALL)
    whole = _tree(tmp_path)
    (tmp_path / "content/indices/ind_close_all_23012026.csv").write_bytes(b"half")
    assert write_exchange(tmp_path, DAYS[:1], 9, underlyings=SMALL).written == 1
    assert {k: v[0] for k, v in _tree(tmp_path).items()} == {k: v[0] for k, v in whole.items()}


def test_other_files_are_never_joined(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (real / "file.csv").write_text("real")
    with pytest.raises(SimulationError, match=r"no SIMULATED\.json"):
        write_exchange(real, DAYS[:1], 9, underlyings=SMALL)
    assert [p.name for p in real.iterdir()] == ["file.csv"]
    root = tmp_path / "simulated"
    write_exchange(root, DAYS[:1], 9, underlyings=SMALL)
    before = _tree(root)
    with pytest.raises(SimulationError, match="seed 9; asked for seed 8"):
        write_exchange(root, DAYS[:1], 8, underlyings=SMALL)
    with pytest.raises(SimulationError, match="first"):
        write_exchange(root, DAYS[1:2], 9, underlyings=SMALL)
    assert _tree(root) == before


def test_a_foreign_marker_is_refused(tmp_path: Path) -> None:
    assert read_marker(tmp_path) is None
    for text in ('{"source": "exchange"}', "[]", "nonsense"):
        (tmp_path / MARKER).write_text(text)
        with pytest.raises(SimulationError):
            read_marker(tmp_path)


def test_figures_are_plain_numbers() -> None:
    one = next(market_days(DAYS[:1], 2, underlyings=SMALL))
    for figures in (one.long, one.short, one.bought, one.sold):
        assert figures.shape == (6, 4)
        assert figures.dtype == np.int64
        assert (figures[3:] == 0).all()
