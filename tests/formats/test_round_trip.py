"""Whatever contracts a file of either bhavcopy format lists come back as they were written."""

from __future__ import annotations

from datetime import date

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.formats import samples as s
from tests.formats.conftest import Read

QUIET = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
TICK, LOT = 0.05, 65
STRIKES = st.lists(st.integers(1, 2000), min_size=1, max_size=12, unique=True)
LOTS = st.integers(0, 10**6)


def prices(draw: st.DrawFn) -> tuple[float, float, float, float]:
    low, high = sorted(draw(st.tuples(st.integers(1, 50_000), st.integers(1, 50_000))))
    inside = st.integers(low, high)
    steps = (draw(inside), high, low, draw(inside))
    return tuple(round(step * TICK, 2) for step in steps)


@st.composite
def contracts(draw: st.DrawFn) -> list[dict[str, object]]:
    rows = []
    for number, step in enumerate(draw(STRIKES)):
        lots = draw(LOTS)
        first, high, low, last = prices(draw) if lots else (0.0, 0.0, 0.0, 0.05)
        oi = draw(st.integers(0, 10**7))
        rows.append(
            {
                "number": number,
                "strike": 50.0 * step,
                "kind": draw(st.sampled_from(["CE", "PE"])),
                "open": first,
                "high": high,
                "low": low,
                "close": last,
                "lots": lots,
                "value": lots * LOT * (50.0 * step + (low + high) / 2),
                "oi": oi,
                "change": draw(st.integers(-(10**7), oi)),
            }
        )
    return rows


def check(frame: pl.DataFrame, rows: list[dict[str, object]]) -> None:
    got = frame.select(
        "strike",
        "instrument_type",
        "open",
        "high",
        "low",
        "close",
        "volume_lots",
        "oi_units",
        "oi_change_units",
    )
    names = ("strike", "kind", "open", "high", "low", "close", "lots", "oi", "change")
    assert sorted(got.rows()) == sorted(tuple(row[name] for name in names) for row in rows)


@QUIET
@given(contracts())
def test_udiff(read: Read, rows: list[dict[str, object]]) -> None:
    lines = [
        s.udiff_row(
            FinInstrmTp="IDO", FinInstrmId=row["number"], StrkPric=f"{row['strike']:.2f}",
            OptnTp=row["kind"], FinInstrmNm=f"NIFTY26113{row['strike']:.0f}{row['kind']}",
            OpnPric=row["open"], HghPric=row["high"], LwPric=row["low"], ClsPric=row["close"],
            LastPric=row["close"], SttlmPric=row["close"], PrvsClsgPric="0.05",
            OpnIntrst=row["oi"], ChngInOpnIntrst=row["change"], TtlTradgVol=row["lots"],
            TtlTrfVal=f"{row['value']:.2f}", TtlNbOfTxsExctd=min(1, int(str(row["lots"]))),
        )
        for row in rows
    ]  # fmt: skip
    name = s.name_of("fo_bhavcopy", s.DAY).removesuffix(".zip")
    check(read("fo_bhavcopy", s.udiff(lines), s.DAY, name), rows)


@QUIET
@given(contracts())
def test_legacy(read: Read, rows: list[dict[str, object]]) -> None:
    lines = [
        ",".join(
            str(cell)
            for cell in (
                "OPTIDX", "NIFTY", "26-Nov-2015", f"{row['strike']:g}", row["kind"], row["open"],
                row["high"], row["low"], row["close"], row["close"], row["lots"],
                int(float(str(row["value"])) / 1000) / 100, row["oi"], row["change"], "06-NOV-2015",
            )
        )
        for row in rows
    ]  # fmt: skip
    frame = read("fo_bhavcopy", s.legacy(lines), date(2015, 11, 6), "fo06NOV2015bhav.csv")
    check(frame, rows)
