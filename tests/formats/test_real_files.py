"""Every real file at hand parses, and to the figures the csv module reads in it."""

from __future__ import annotations

import csv
import io
import re
import time
import zipfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from optrade.formats import dates
from optrade.formats.market_activity import lot_sizes, with_premium_turnover
from optrade.tables.common import SEGMENTS
from tests.formats.conftest import Read

WHOLE_DAY = date(2026, 1, 6)
SECONDS_ALLOWED = 1.0
NIFTY_NOT_SUMMED = date(2020, 7, 7)
"""The report of this day lists NIFTY's options but leaves them out of its own totals."""


def udiff_bytes(folder: Path) -> bytes:
    """One day's files by symbol under one header again."""
    parts = [path.read_bytes() for path in sorted(folder.glob("*.csv"))]
    header = parts[0].split(b"\n", 1)[0] + b"\n"
    rows = [part.split(b"\n", 1)[1] for part in parts]
    return header + b"".join(row if row.endswith(b"\n") else row + b"\n" for row in rows)


def zipped(member: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, data)
    return buffer.getvalue()


def csv_rows(data: bytes) -> Iterator[dict[str, str]]:
    return csv.DictReader(io.StringIO(data.decode("utf-8-sig")))


def test_udiff_days(shared: Path, read: Read) -> None:
    folders = sorted((shared / "fo_udiff_by_symbol").glob("*-*-*"))
    folders += sorted((shared / "fo_udiff_full_day_by_symbol").glob("*-*-*"))
    assert folders
    for folder in folders:
        day, data = date.fromisoformat(folder.name), udiff_bytes(folder)
        name = f"BhavCopy_NSE_FO_0_0_0_{day:%Y%m%d}_F_0000.csv"
        frame = read("fo_bhavcopy", zipped(name, data), day, f"{name}.zip")
        rows = {int(row["FinInstrmId"]): row for row in csv_rows(data)}
        assert frame.height == len(rows)
        for got in frame.iter_rows(named=True):
            row = rows[got["contract_id"]]
            assert got["close"] == float(row["ClsPric"])
            assert got["strike"] == (float(row["StrkPric"]) if row["StrkPric"] else None)
            assert got["instrument_type"] == (row["OptnTp"] or "FUT")
            assert got["expiry"].isoformat() == row["XpryDt"]
            assert got["oi_units"] == int(row["OpnIntrst"])
            assert got["volume_lots"] == int(row["TtlTradgVol"])
            assert got["turnover_rupees"] == float(row["TtlTrfVal"])


def test_a_whole_day_is_read_in_time(shared: Path, read: Read) -> None:
    data = udiff_bytes(shared / "fo_udiff_full_day_by_symbol" / WHOLE_DAY.isoformat())
    name = f"BhavCopy_NSE_FO_0_0_0_{WHOLE_DAY:%Y%m%d}_F_0000.csv"
    packed, best = zipped(name, data), SECONDS_ALLOWED
    for _ in range(3):
        start = time.perf_counter()
        frame = read("fo_bhavcopy", packed, WHOLE_DAY, f"{name}.zip")
        best = min(best, time.perf_counter() - start)
    assert frame.height == 38_353
    assert best < SECONDS_ALLOWED


def test_older_bhavcopies(shared: Path, read: Read) -> None:
    paths = sorted((shared / "fo_bhav_old").glob("fo*bhav.csv*"))
    assert paths
    for path in paths:
        data = path.read_bytes()
        day = dates.compact(path.name[2:11])
        assert day is not None
        frame = read("fo_bhavcopy", data, day, path.name)
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                data = archive.read(archive.namelist()[0])
        rows = list(csv_rows(data))
        assert frame.height == len(rows)
        assert frame["volume_lots"].sum() == sum(int(row["CONTRACTS"]) for row in rows)
        assert frame["oi_units"].sum() == sum(int(row["OPEN_INT"]) for row in rows)
        lakh = sum(float(row["VAL_INLAKH"]) for row in rows)
        assert frame["turnover_rupees"].sum() == pytest.approx(lakh * 1e5, rel=1e-12)
        classes = {row["INSTRUMENT"][3:] for row in rows}
        known = {"IDX": "index", "STK": "stock", "IVX": "volatility"}
        assert set(frame["underlying_class"]) == {known[name] for name in classes}


@pytest.mark.parametrize(
    ("kind", "folder"),
    [("participant_oi", "participant_oi"), ("participant_volume", "participant_vol")],
)
def test_participant_files(kind: str, folder: str, shared: Path, read: Read) -> None:
    paths = sorted((shared / folder).glob("fao_*.csv"))
    assert paths
    words = {"future": "Future {} {}", "call": "Option {} Call {}", "put": "Option {} Put {}"}
    for path in paths:
        day = dates.compact(path.stem[-8:])
        assert day is not None
        frame = read(kind, path.read_bytes(), day, path.name)
        lines = path.read_text().split("\n")
        header = [name.strip() for name in next(csv.reader([lines[1]]))]
        for row in csv.reader(line for line in lines[2:] if line.strip()):
            cells = dict(zip(header, row, strict=True))
            held = frame.filter(participant=row[0].upper())
            for segment in SEGMENTS:
                group, what = segment.split("_")
                got = held.filter(segment=segment).row(0, named=True)
                for side in ("Long", "Short"):
                    due = int(cells[words[what].format(group.title(), side)])
                    assert got[f"{side.lower()}_contracts"] == due


def test_fii_sheets(shared: Path, read: Read) -> None:
    paths = sorted((shared / "fii_stats").glob("fii_stats_*"))
    assert paths
    frames = {}
    for path in paths:
        day = dates.named(path.stem.removeprefix("fii_stats_"))
        assert day is not None
        frame = read("fii_stats", path.read_bytes(), day, path.name)
        frames[path.name] = frame.drop("source_sha256")
        assert frame.filter(underlying="ALL").height == 4
        if path.suffix == ".csv":
            text = path.read_text(encoding="utf-8-sig")
            row = next(r for r in csv.reader(text.split("\n")) if r and r[0] == "NIFTY OPTIONS")
            got = frame.filter(product="index_option", underlying="NIFTY").row(0, named=True)
            assert got["buy_contracts"] == int(row[1])
            assert got["sell_crore"] == float(row[4])
            assert got["oi_contracts"] == int(row[5])
    book, sheet = "fii_stats_17-Jul-2025.xls", "fii_stats_17-Jul-2025.csv"
    assert frames[book].equals(frames[sheet])


def test_index_closes(shared: Path, read: Read) -> None:
    paths = sorted((shared / "ind_close_all").glob("ind_close_all_*.csv"))
    assert paths
    for path in paths:
        day = dates.compact(path.stem[-8:])
        assert day is not None
        frame = read("index_close", path.read_bytes(), day, path.name)
        rows = {row["Index Name"].strip(): row for row in csv_rows(path.read_bytes())}
        assert frame.height == len(rows)
        for got in frame.iter_rows(named=True):
            row = rows[got["index_name"]]
            assert got["close"] == float(row["Closing Index Value"])
            low = row["Low Index Value"]
            assert got["low"] == (None if low == "-" else float(low))
        assert "India VIX" in rows


def test_market_activity_reports(shared: Path, read: Read) -> None:
    paths = sorted((shared / "fo_market_activity").glob("fo*.zip"))
    assert paths
    for path in paths:
        day = dates.compact(path.stem[2:])
        assert day is not None
        frame = read("fo_market_activity", path.read_bytes(), day, path.name)
        with zipfile.ZipFile(path) as archive:
            text = archive.read(f"op{day:%d%m%Y}.csv").decode()
            totals = archive.read(f"fo_{day:%d%m%Y}.csv").decode()
        rows = [r for r in csv.reader(text.split("\n")[1:]) if len(r) > 5]
        options = frame.filter(pl.col("instrument_type") != "FUT")
        assert options.height == len(rows)
        assert options["premium_turnover_rupees"].sum() == pytest.approx(
            sum(float(row[14]) for row in rows)
        )
        assert options["volume_lots"].sum() == sum(int(row[11]) for row in rows)
        whole = re.search(r"F&O Total\s*,\s*(\d+)", totals)
        assert whole is not None
        if day != NIFTY_NOT_SUMMED:
            assert frame["volume_lots"].sum() == int(whole[1])
        sizes = lot_sizes(frame)
        assert sizes.height == frame.select("underlying", "expiry").n_unique()
        sample = frame.select(pl.exclude("premium_turnover_rupees")).with_columns(
            premium_turnover_rupees=pl.lit(None, pl.Float64)
        )
        joined = with_premium_turnover(sample, frame)
        assert joined["premium_turnover_rupees"].equals(frame["premium_turnover_rupees"])
