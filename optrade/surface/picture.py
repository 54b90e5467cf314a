"""A picture of the smiles of one underlying at one moment, quotes as dots beside their slices.

Belongs here: drawing rows of the surface as SVG text, and as an image that stands in Markdown.
Does not belong here: what is drawn (`frames`), where it is shown (the assets).
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any, Final

import numpy as np
import polars as pl

from optrade.surface.frames import smile_quotes
from optrade.surface.svi import Array, slices, total_variance

COLOURS: Final = (
    "#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e",
    "#17becf", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22",
)  # fmt: skip
"""By expiry, near to far; then again from the first."""
_WIDTH, _HEIGHT = 720, 420
_LEFT, _TOP, _RIGHT, _BOTTOM = 48, 28, 120, 40
_POINTS: Final = 49
_MOST_TICKS: Final = 8
_STEPS: Final = (1.0, 2.0, 2.5, 5.0, 10.0)
_FONT: Final = 'font-family="sans-serif" font-size="11" fill="#444"'


def smiles(surface: pl.DataFrame, greeks: pl.DataFrame, title: str) -> str:
    """SVG text of the slices and quotes of one underlying at one moment.

    `surface` are its rows of a surface table, `greeks` those of the greeks table that the slices
    were fitted to. Across is ln(strike / forward), up is volatility, both in percent; each slice
    is drawn between its lowest and its highest quote, dashed where it was repaired. Nothing but
    a sentence is drawn where no expiry has a slice.

    Raises `ValueError` when the rows are of several underlyings or moments.
    """
    where = [name for name in ("trade_date", "minute", "underlying") if name in surface.columns]
    if surface.select(where).n_unique() > 1:
        raise ValueError(
            f"smiles of {surface.select(where).n_unique()} different {', '.join(where)}; a picture "
            "shows one: filter the rows first"
        )
    rows = surface.filter(pl.col("a").is_not_null()).sort("expiry").to_dicts()
    if not rows:
        return _document(title, ['<text x="60" y="80">no expiry has a slice</text>'])
    quotes = smile_quotes(greeks.join(surface, on=[*where, "expiry"], how="semi"))
    dots = [quotes.filter(pl.col("expiry") == row["expiry"]) for row in rows]
    curves = [_curve(row) for row in rows]
    across = [
        100 * np.concatenate([k, d["k"].to_numpy()]) for (k, _), d in zip(curves, dots, strict=True)
    ]
    up = [
        100 * np.concatenate([v, d["iv"].to_numpy()])
        for (_, v), d in zip(curves, dots, strict=True)
    ]
    axes = _Axes(np.concatenate(across), np.concatenate(up))
    body = list(axes.drawn())
    for number, (row, (k, iv), own) in enumerate(zip(rows, curves, dots, strict=True)):
        colour = COLOURS[number % len(COLOURS)]
        body += _smile(axes, colour, row, (k, iv), own)
        at = _TOP + 12 + 15 * number
        body.append(
            f'<text x="{_WIDTH - _RIGHT + 10}" y="{at}" style="fill:{colour}">'
            f"{row['expiry']}{' *' if row['repaired'] else ''}</text>"
        )
    return _document(title, body)


def as_markdown(svg: str, text: str = "smiles") -> str:
    """The picture inside one line of Markdown."""
    data = base64.b64encode(svg.encode()).decode()
    return f"![{text}](data:image/svg+xml;base64,{data})"


def _curve(row: dict[str, Any]) -> tuple[Array, Array]:
    """Log-moneyness and volatility along a slice, between its quotes."""
    k = np.linspace(row["low_log_moneyness"], row["high_log_moneyness"], _POINTS)
    one = slices(*(row[name] for name in ("a", "b", "rho", "m", "sigma")))
    w = np.maximum(total_variance(one, k[None])[0], 0.0)
    return k, np.sqrt(w / row["years_to_expiry"])


class _Axes:
    """Percent on paper."""

    def __init__(self, x: Array, y: Array) -> None:
        self.x = float(x.min()), max(float(x.max()), float(x.min()) + 1e-6)
        self.y = 0.95 * float(y.min()), 1.05 * float(y.max())

    def at(self, x: Array | float, y: Array | float) -> tuple[Array, Array]:
        """Where points stand, in pixels."""
        (left, right), (low, high) = self.x, self.y
        wide, tall = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
        return (
            np.asarray(_LEFT + wide * (x - left) / (right - left)),
            np.asarray(_TOP + tall * (high - y) / (high - low)),
        )

    def drawn(self) -> Iterator[str]:
        """Grid lines and what they say."""
        right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
        for value in _ticks(*self.x):
            x = f"{self.at(value, 0.0)[0]:.1f}"
            yield f'<path d="M{x} {_TOP}V{bottom}" stroke="#{_grey(value)}"/>'
            yield f'<text x="{x}" y="{bottom + 15}" text-anchor="middle">{value:g}</text>'
        for value in _ticks(*self.y):
            y = f"{self.at(0.0, value)[1]:.1f}"
            yield f'<path d="M{_LEFT} {y}H{right}" stroke="#{_grey(value)}"/>'
            yield f'<text x="{_LEFT - 6}" y="{y}" dy="4" text-anchor="end">{value:g}</text>'
        yield f'<text x="{_LEFT}" y="{_HEIGHT - 8}">ln(strike / forward), percent</text>'
        yield (
            f'<text x="{right}" y="{_HEIGHT - 8}" text-anchor="end">up: volatility, percent a '
            "year; * repaired</text>"
        )


def _grey(value: float) -> str:
    return "bbb" if value == 0 else "eee"


def _ticks(low: float, high: float) -> Sequence[float]:
    """A few round values from `low` to `high`."""
    rough = (high - low) / _MOST_TICKS
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(step * power for step in _STEPS if step * power >= rough)
    first, last = int(np.ceil(low / step)), int(np.floor(high / step))
    return [float(step * n) for n in range(first, last + 1)]


def _smile(
    axes: _Axes, colour: str, row: dict[str, Any], curve: tuple[Array, Array], quotes: pl.DataFrame
) -> Iterator[str]:
    x, y = axes.at(100 * curve[0], 100 * curve[1])
    line = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    dash = ' stroke-dasharray="5 3"' if row["repaired"] else ""
    yield f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"{dash}/>'
    x, y = axes.at(100 * quotes["k"].to_numpy(), 100 * quotes["iv"].to_numpy())
    spots = "".join(f"M{a:.1f} {b:.1f}h0" for a, b in zip(x, y, strict=True))
    yield (
        f'<path d="{spots}" stroke="{colour}" stroke-width="3" stroke-linecap="round" '
        'stroke-opacity="0.55"/>'
    )


def _document(title: str, body: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'width="{_WIDTH}" height="{_HEIGHT}">'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/><g {_FONT}>'
        f'<text x="{_LEFT}" y="18" font-size="13" font-weight="bold">{escape(title)}</text>'
        f"{''.join(body)}</g></svg>"
    )
