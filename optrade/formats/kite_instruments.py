"""Kite's daily instrument dump (`/instruments`): every contract, share and index the broker knows.

Belongs here: its 12 columns, what they must satisfy, and the indices under Kite's own names and
tokens. Does not belong here: which of the instruments to collect (see `optrade.subscription`).

Read as meant: names with or without quotes, columns in any order, a column more, `65.0` for a
whole number, `0`, `0.0` or a blank for no expiry and no strike. The derivatives of NSE and BSE
(`NFO`, `BFO`) must be whole; an odd commodity, say, is kept as it is and costs nobody a day.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Final

import polars as pl

from optrade.contracts import UNDERLYINGS
from optrade.formats.archive import looks_like_html
from optrade.formats.text import LINE, MISSING, Sheet, cut, decode, read, refuse
from optrade.tables.raw_live import INSTRUMENTS

COLUMNS = (
    "instrument_token", "exchange_token", "tradingsymbol", "name", "last_price", "expiry",
    "strike", "tick_size", "lot_size", "instrument_type", "segment", "exchange",
)  # fmt: skip
INDEX_SEGMENT: Final = "INDICES"
DERIVATIVES: Mapping[str, str] = MappingProxyType({"NSE": "NFO", "BSE": "BFO"})
"""Kite's exchange of the derivatives, by the exchange of their index."""
VIX: Final = "INDIAVIX"


@dataclass(frozen=True)
class KiteIndex:
    """One index as Kite lists it. The token is permanent: it serves where a dump has no indices."""

    symbol: str
    tradingsymbol: str
    exchange: str
    token: int


KITE_INDICES: Mapping[str, KiteIndex] = MappingProxyType(
    {
        index.symbol: index
        for index in (
            KiteIndex("NIFTY", "NIFTY 50", "NSE", 256265),
            KiteIndex("BANKNIFTY", "NIFTY BANK", "NSE", 260105),
            KiteIndex("FINNIFTY", "NIFTY FIN SERVICE", "NSE", 257801),
            KiteIndex("MIDCPNIFTY", "NIFTY MID SELECT", "NSE", 288009),
            KiteIndex("NIFTYNXT50", "NIFTY NEXT 50", "NSE", 270857),
            KiteIndex("SENSEX", "SENSEX", "BSE", 265),
            KiteIndex("BANKEX", "BANKEX", "BSE", 274441),
            KiteIndex(VIX, "INDIA VIX", "NSE", 264969),
        )
    }
)
"""The known underlyings and India VIX by exchange symbol."""

_KNOWN = {
    f"{INDEX_SEGMENT}:{index.exchange}:{index.tradingsymbol}": index.symbol
    for index in KITE_INDICES.values()
} | {
    f"{DERIVATIVES[known.exchange]}:{known.symbol}": known.symbol for known in UNDERLYINGS.values()
}
_AGAIN = "Fetch the instruments from Kite again; the dump is made anew each morning."
_NO_DATE = (*MISSING, "0", "0.0")
_END = "|"
_SHOWN = 80


class _Dump(Sheet):
    """A sheet whose refusals send the reader back to the broker."""

    def refuse_rows(
        self,
        bad: pl.Series,
        rule: str,
        *,
        field: str,
        expected: str,
        remedy: str = _AGAIN,
        show: Sequence[str] = (),
    ) -> None:
        super().refuse_rows(bad, rule, field=field, expected=expected, remedy=remedy, show=show)


def parse_instruments(
    name: str, content: bytes, day: date, *, source: str, sha256: str
) -> pl.DataFrame:
    """`raw.instruments` rows of one trading day: prices in rupees a unit, lots in units.

    `name` is what to call the file in a refusal; `source` says whose it is and `sha256` is the
    hash of `content`; both stand on every row. `underlying` is set on the futures and options of
    known indices and on the indices themselves (India VIX too), null on all else. A strike, tick
    or lot of 0 is none and becomes null.

    Raises `InputRefused`: `empty`, `html`, `json` (an error of the API), `encoding`, `header`,
    `fields`, `number`, `negative`, `duplicate`, `date_format`, and for derivatives of NSE and BSE
    `instrument_type`, `lot_size`, `strike`, `expiry`, `date` (expired before `day`).
    """
    _check_body(name, content)
    dump = _read(name, decode(name, content))
    cells = dump.cells
    values = pl.DataFrame(
        [
            dump.whole("instrument_token", ge=0),
            dump.whole("exchange_token", ge=0),
            dump.real("last_price", nullable=True, ge=0),
            _expiry(dump),
            *(
                _positive(dump.real(field, nullable=True, ge=0))
                for field in ("strike", "tick_size")
            ),
            _positive(dump.whole("lot_size", nullable=True, ge=0)),
        ]
    )
    dump.refuse_repeats(values.select("instrument_token"), "instrument_token", "token")
    _check_derivatives(dump, values, day)
    return INSTRUMENTS.conform(
        values.rename({"tick_size": "tick_rupees"}).with_columns(
            *cells.select("tradingsymbol", "instrument_type", "segment", "exchange"),
            name=cells["name"].replace("", None),
            underlying=_underlying(cells),
            trade_date=day,
            source=pl.lit(source),
            source_sha256=pl.lit(sha256),
        )
    )


def _check_body(name: str, content: bytes) -> None:
    """Refuse what an API or a proxy sends in place of the dump."""
    body = content.lstrip(b"\xef\xbb\xbf \t\r\n")
    rule = found = ""
    if not body:
        rule, found = "empty", f"an empty file ({len(content)} bytes)"
    elif looks_like_html(content):
        rule, found = "html", "a web page"
    elif body.startswith((b"{", b"[")):
        rule, found = "json", _told(body)
    if rule:
        refuse(
            name,
            rule,
            found=found,
            expected="Kite's instruments as CSV",
            remedy="Log in again (`optrade login`) if the broker refused the token; otherwise "
            "wait a minute. " + _AGAIN,
        )


def _told(body: bytes) -> str:
    """What a JSON body says, in the API's own words where it is one of its errors."""
    try:
        told = json.loads(body)
    except ValueError:
        told = None
    if isinstance(told, dict) and "message" in told:
        return f"an error of the API, {told.get('error_type')}: {told['message']}"
    return f"JSON: {body[:_SHOWN].decode(errors='replace')!r}"


def _read(name: str, lines: list[str]) -> _Dump:
    """The dump as text cells; in one pass of Polars, line by line only to blame or mend one."""
    header = cut(lines[0])
    while header and not header[-1]:
        header.pop()
    missing = [column for column in COLUMNS if header.count(column) != 1]
    if missing or len(set(header)) < len(header):
        refuse(
            name,
            "header",
            line=1,
            field=missing[0] if missing else "header",
            found=repr(lines[0][:_SHOWN]) + (f" without {', '.join(missing)}" if missing else ""),
            expected="each once, in any order: " + ",".join(COLUMNS),
            remedy="Kite changed its layout or the file was edited. " + _AGAIN,
        )
    body = pl.Series(lines[1:], dtype=pl.String)
    held = body.str.strip_chars(', \t"') != ""
    cells = _cells(lines[0], body.filter(held), header)
    if cells is None:
        return _Dump(name, read(name, lines, header).cells)
    numbers = held.arg_true().cast(pl.Int64) + 2
    return _Dump(name, cells.select(COLUMNS).with_columns(numbers.alias(LINE)))


def _cells(first: str, body: pl.Series, header: Sequence[str]) -> pl.DataFrame | None:
    """The stripped cells, None when there are no rows or any has another number of fields.

    A mark put at the end of every line must come out in a column of its own.
    """
    text = f",{_END}\n".join([first, *body, ""])
    try:
        cells = pl.read_csv(text.encode(), infer_schema=False, empty_string_is_null=False)
    except pl.exceptions.ComputeError:  # too many fields, or a quote out of place
        return None
    whole = 0 < cells.height == body.len() and cells.width == len(header) + 1
    if not whole or (cells.to_series(-1) != _END).any():
        return None
    cells.columns = [*header, _END]
    return cells.with_columns(pl.all().str.strip_chars())


def _positive(values: pl.Series) -> pl.Series:
    """The values with null for 0."""
    return values.set(values == 0, None)


def _expiry(dump: _Dump) -> pl.Series:
    text = dump.cells["expiry"]
    expiry = text.str.to_date("%Y-%m-%d", strict=False)
    dump.refuse_rows(
        expiry.is_null() & ~text.is_in(_NO_DATE),
        "date_format",
        field="expiry",
        expected="a date like 2026-08-25, or a blank",
    )
    return expiry


def _check_derivatives(dump: _Dump, values: pl.DataFrame, day: date) -> None:
    """What every row of NFO and BFO must satisfy."""
    cells = dump.cells
    held = cells["exchange"].is_in(list(DERIVATIVES.values()))
    option, future = cells["instrument_type"].is_in(["CE", "PE"]), cells["instrument_type"] == "FUT"
    segment, exchange = cells["segment"], cells["exchange"]
    known = option & (segment == exchange + "-OPT") | future & (segment == exchange + "-FUT")
    shown = ("instrument_type", "segment")
    dump.refuse_rows(
        held & ~known,
        "instrument_type",
        field="instrument_type",
        expected="CE or PE among options, FUT among futures",
        show=shown,
    )
    for field, needed, expected in (
        ("expiry", held, "an expiry date"),
        ("strike", held & option, "a strike above 0 of an option"),
        ("lot_size", held, "a lot of 1 or more"),
    ):
        dump.refuse_rows(
            needed & values[field].is_null(),
            field,
            field=field,
            expected=expected,
            show=(field, "tradingsymbol"),
        )
    dump.refuse_rows(
        held & (values["expiry"] < day),
        "date",
        field="expiry",
        expected=f"{day} or later",
        remedy=f"This is the dump of an earlier day, or a row of one: {day} is wanted. " + _AGAIN,
        show=("expiry", "tradingsymbol"),
    )


def _underlying(cells: pl.DataFrame) -> pl.Series:
    """The known index of each row: derivatives by name, indices by Kite's symbol of them."""
    exchange = pl.col("exchange") + ":"
    key = (
        pl.when(pl.col("segment") == INDEX_SEGMENT)
        .then(f"{INDEX_SEGMENT}:" + exchange + pl.col("tradingsymbol"))
        .otherwise(exchange + pl.col("name"))
    )
    return cells.select(
        underlying=key.replace_strict(_KNOWN, default=None, return_dtype=pl.String)
    ).to_series()
