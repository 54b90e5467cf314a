"""What both bhavcopy formats must satisfy, whatever their columns are called.

Belongs here: the arithmetic a row of a futures and options bhavcopy can't break, and the way a
contract is told apart. Does not belong here: reading either format.
"""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from optrade.formats.text import Sheet

_POSTPONED = timedelta(days=7)
"""A sudden holiday on an expiry day leaves the contract listed under a date already past."""


def check_expiry(sheet: Sheet, field: str, expiry: pl.Series, trade_date: date) -> None:
    """Refuse (`expiry`) a contract that expired more than a week before the trading day."""
    sheet.refuse_rows(
        expiry < trade_date - _POSTPONED,
        "expiry",
        field=field,
        expected=f"an expiry on or after {trade_date.isoformat()}",
    )


def check_range(sheet: Sheet, fields: tuple[str, str, str], values: pl.DataFrame) -> None:
    """Refuse (`price_order`) where the first field lies outside the low and high of its row.

    `fields` are the names of the price, the low and the high; rows that did not trade
    (`values["volume_lots"]` 0) are left alone, as the exchange prints zeros there.
    """
    price, low, high = (values[name] for name in fields)
    sheet.refuse_rows(
        ((price < low) | (price > high)) & (values["volume_lots"] > 0),
        "price_order",
        field=fields[0],
        expected=f"{fields[1]} <= {fields[0]} <= {fields[2]} where the contract traded",
        show=fields,
    )


def check_open_interest(sheet: Sheet, interest: pl.Series, change: pl.Series) -> None:
    """Refuse (`oi_change`) a change that would make yesterday's open interest negative."""
    sheet.refuse_rows(
        change > interest,
        "oi_change",
        field=change.name,
        expected=f"a change of at most {interest.name}",
        show=(interest.name, change.name),
    )
