from __future__ import annotations

import base64
import re
from collections.abc import Callable
from datetime import date, timedelta
from xml.etree import ElementTree as ET

import polars as pl
import pytest

from optrade.chain.greeks import greeks_close
from optrade.surface.frames import smile_quotes, surface_close
from optrade.surface.picture import as_markdown, smiles

Frame = pl.DataFrame
DAY = date(2026, 1, 5)
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def greeks(smile_chain: Callable[..., Frame]) -> Frame:
    return greeks_close(smile_chain([DAY, DAY + timedelta(1)]))


@pytest.fixture(scope="module")
def surface(smile_chain: Callable[..., Frame], greeks: Frame) -> Frame:
    return surface_close(smile_chain([DAY, DAY + timedelta(1)]), greeks)


def test_a_line_for_each_slice_and_a_dot_for_each_quote(surface: Frame, greeks: Frame) -> None:
    one = surface.filter(trade_date=DAY)
    drawn = ET.fromstring(smiles(one, greeks, "NIFTY < 5 January"))
    lines = [line.get("points").split() for line in drawn.iter(f"{SVG}polyline")]
    dots = [path.get("d") for path in drawn.iter(f"{SVG}path") if path.get("stroke-linecap")]
    assert len(lines) == len(dots) == one.height
    quotes = smile_quotes(greeks.filter(trade_date=DAY))
    assert sum(dot.count("M") for dot in dots) == quotes.height
    texts = [text.text for text in drawn.iter(f"{SVG}text")]
    assert "NIFTY < 5 January" in texts
    assert {str(expiry) for expiry in one["expiry"]} <= set(texts)
    width, height = (float(drawn.get(name)) for name in ("width", "height"))
    for x, y in (map(float, point.split(",")) for line in lines for point in line):
        assert 0 < x < width
        assert 0 < y < height
    # Exact quotes lie on their slice.
    first = re.findall(r"M([\d.]+) ([\d.]+)", dots[0])
    assert abs(float(first[0][1]) - float(lines[0][0].split(",")[1])) < 1


def test_a_repaired_slice_is_marked(surface: Frame, greeks: Frame) -> None:
    one = surface.filter(trade_date=DAY).with_columns(repaired=pl.int_range(pl.len()) == 1)
    text = smiles(one, greeks, "x")
    assert text.count("stroke-dasharray") == 1
    assert f"{one['expiry'][1]} *" in text


def test_without_a_slice_it_says_so(surface: Frame, greeks: Frame) -> None:
    bare = surface.filter(trade_date=DAY).with_columns(a=pl.lit(None, pl.Float64))
    assert "no expiry has a slice" in smiles(bare, greeks, "x")
    assert "no expiry has a slice" in smiles(bare.clear(), greeks, "x")


def test_one_picture_one_moment(surface: Frame, greeks: Frame) -> None:
    with pytest.raises(ValueError, match="filter the rows first"):
        smiles(surface, greeks, "x")


def test_markdown_holds_the_picture(surface: Frame, greeks: Frame) -> None:
    svg = smiles(surface.filter(trade_date=DAY), greeks, "x")
    text = as_markdown(svg, "NIFTY")
    assert text.startswith("![NIFTY](data:image/svg+xml;base64,")
    data = text.split(",", 1)[1].removesuffix(")")
    assert base64.b64decode(data).decode() == svg
    assert len(text) < 40_000
