"""Faults of the exchange's daily files: how each is planted in a published file.

Belongs here: the planters, by name. Does not belong here: what finds each and what comes of it
(see `test_exchange_files`), changing files as such (see `planting`).

They alter a UDiFF bhavcopy, participant files, FII statistics or index closes of any exchange,
simulated or real, and read what they need from the file itself.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from tests.faults.planting import Lines, exchanged, put, recast, rewrite, times

Planter = Callable[[Path, Path], None]
"""Given today's file and the same file of the session before."""
col = pl.col
NIFTY = col("TckrSymb") == "NIFTY"
BANKS = col("TckrSymb") == "BANKNIFTY"
OPTION = col("OptnTp") != ""


def bhavcopy(*changes: pl.Expr | Sequence[pl.Expr]) -> Planter:
    """Change columns of the bhavcopy."""
    return lambda path, _: recast(path, lambda table: table.with_columns(*changes))


def only(keep: Callable[[pl.DataFrame], pl.Expr]) -> Planter:
    """Lose rows of the bhavcopy."""
    return lambda path, _: recast(path, lambda table: table.filter(keep(table)))


def _near(table: pl.DataFrame) -> pl.Expr:
    """NIFTY's options of the nearest expiry."""
    options = table.filter(NIFTY & OPTION)
    return NIFTY & OPTION & (col("XpryDt") == options["XpryDt"].min())


def missing_block(table: pl.DataFrame) -> pl.Expr:
    """All but five strikes in a row around the middle of NIFTY's nearest expiry."""
    strikes = table.filter(_near(table))["StrkPric"].cast(pl.Float64).unique().sort()
    middle = strikes.len() // 2
    gone = strikes.slice(middle, 5)
    return ~(_near(table) & col("StrkPric").cast(pl.Float64, strict=False).is_in(gone.implode()))


def expiry_shifted(path: Path, _: Path) -> None:
    """A week's expiry is dated a day later."""

    def change(table: pl.DataFrame) -> pl.DataFrame:
        near = table.filter(_near(table))["XpryDt"].min()
        later = str(date.fromisoformat(str(near)) + timedelta(days=1))
        hit = NIFTY & (col("XpryDt") == near)
        return table.with_columns(put("XpryDt", later, hit), put("FininstrmActlXpryDt", later, hit))

    recast(path, change)


def lines(edit: Callable[[Lines], Lines]) -> Planter:
    """Change lines of a file."""
    return lambda path, _: rewrite(path, edit)


def yesterdays(path: Path, before: Path) -> None:
    """The file of the session before, under today's name."""
    shutil.copy(before, path)


def yesterdays_in_todays_dress(path: Path, before: Path) -> None:
    """The figures of the session before, below today's title."""
    title = path.read_text(encoding="utf-8").splitlines()[0]
    shutil.copy(before, path)
    rewrite(path, lambda old: [title, *old[1:]])


def participants(*changes: pl.Expr) -> Planter:
    """Change columns of a participant file."""
    return lambda path, _: recast(path, lambda table: table.with_columns(*changes), header=1)


def replaced(old: str, new: str) -> Callable[[Lines], Lines]:
    """Another text in every line."""
    return lambda found: [line.replace(old, new) for line in found]


def cells_times(row: str, factor: float, places: tuple[int, ...]) -> Callable[[Lines], Lines]:
    """Cells of the lines that begin so, multiplied."""

    def edit(found: Lines) -> Lines:
        changed = []
        for line in found:
            cells = line.split(",")
            if line.startswith(row):
                for place in places:
                    cells[place] = f"{float(cells[place]) * factor:.2f}"
            changed.append(",".join(cells))
        return changed

    return edit


def cut(path: Path, _: Path) -> None:
    """The end of the file is missing."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def flipped(path: Path, _: Path) -> None:
    """One byte in the middle is another."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def web_page(path: Path, _: Path) -> None:
    """A web page in its place."""
    path.write_bytes(b"<!DOCTYPE html><html><body>Access denied</body></html>")


def empty(path: Path, _: Path) -> None:
    """Nothing in it."""
    path.write_bytes(b"")


CLIENT = col("Client Type") == "Client"
PRICES = ("OpnPric", "HghPric", "LwPric", "ClsPric", "LastPric", "PrvsClsgPric", "SttlmPric")


def by_lot(*columns: str, divide: bool = False) -> list[pl.Expr]:
    """NIFTY's numbers in another unit: times the lot, or divided by it."""
    lot = col("NewBrdLotQty").cast(pl.Int64)
    changed = []
    for name in columns:
        number = col(name).cast(pl.Int64)
        other = (number // lot if divide else number * lot).cast(pl.String)
        changed.append(pl.when(NIFTY).then(other).otherwise(name).alias(name))
    return changed


def _other_side(column: str) -> pl.Expr:
    """BANKNIFTY's calls named as puts and the reverse."""
    swapped = col(column).str.replace("CE$", "#").str.replace("PE$", "CE").str.replace("#$", "PE")
    return pl.when(BANKS & OPTION).then(swapped).otherwise(column).alias(column)


def _set_index(name: str, prices: str) -> Callable[[Lines], Lines]:
    """An index whose prices are all the same text."""

    def edit(found: Lines) -> Lines:
        cells = [line.split(",") for line in found]
        changed = [[*c[:2], *[prices] * 4, *c[6:]] if c[0] == name else c for c in cells]
        return [",".join(line) for line in changed]

    return edit


def _without(beginning: str) -> Planter:
    """Lines that begin so are not there."""
    return lines(lambda found: [line for line in found if not line.startswith(beginning)])


def _swapped_words(one: str, other: str) -> Planter:
    """Two words change places everywhere."""
    return lines(
        lambda found: [
            line.replace(one, "#").replace(other, one).replace("#", other) for line in found
        ]
    )


BHAVCOPY: dict[str, Planter] = {
    "side_contradicts_name": bhavcopy(_other_side("OptnTp")),
    "sides_swapped": bhavcopy(_other_side("OptnTp"), _other_side("FinInstrmNm")),
    "oi_times_lot": bhavcopy(by_lot("OpnIntrst", "ChngInOpnIntrst")),
    "oi_in_lots": bhavcopy(by_lot("OpnIntrst", "ChngInOpnIntrst", divide=True)),
    "volume_in_units": bhavcopy(by_lot("TtlTradgVol")),
    "strikes_missing": only(missing_block),
    "underlying_missing": only(lambda _: ~BANKS),
    "contracts_twice": lines(lambda found: [*found, *found[10:20]]),
    "spot_zero": bhavcopy(put("UndrlygPric", "0.00", NIFTY)),
    "prices_in_paise": bhavcopy([times(name, 100, NIFTY & OPTION, 2) for name in PRICES]),
    "price_negative": bhavcopy(times("ClsPric", -1, NIFTY & OPTION, 2)),
    "oi_negative": bhavcopy(times("OpnIntrst", -1, BANKS)),
    "high_below_low": bhavcopy(exchanged("HghPric", "LwPric", BANKS)),
    "strikes_in_paise": bhavcopy(times("StrkPric", 100, NIFTY, 2)),
    "expiry_shifted": expiry_shifted,
    "bhavcopy_of_yesterday": yesterdays,
    "oi_change_unlinked": bhavcopy(times("ChngInOpnIntrst", 3, NIFTY)),
    "columns_exchanged": bhavcopy(exchanged("SttlmPric", "TtlTrfVal", BANKS)),
    "other_segment": bhavcopy(put("Sgmt", "CM")),
    "column_renamed": lines(
        lambda found: [found[0].replace(",OpnIntrst,", ",OpenIntrst,"), *found[1:]]
    ),
    "zip_cut": cut,
    "zip_flipped": flipped,
    "page_for_zip": web_page,
}
INDEX_CLOSE: dict[str, Planter] = {
    "index_of_yesterday": yesterdays,
    "index_zero": lines(_set_index("Nifty 50", "0")),
    "index_missing": _without("Nifty 50,"),
    "vix_missing": _without("India VIX"),
    "index_times_ten": lines(cells_times("Nifty Bank,", 10, (2, 3, 4, 5))),
}
PARTICIPANT_OI: dict[str, Planter] = {
    "puts_for_calls": _swapped_words("Call", "Put"),
    "puts_and_calls_exchanged": participants(
        *exchanged("Option Index Call Long", "Option Index Put Long"),
        *exchanged("Option Index Call Short", "Option Index Put Short"),
    ),
    "long_for_short": participants(*exchanged("Future Index Long", "Future Index Short", CLIENT)),
    "futures_for_options": participants(
        *exchanged("Future Index Long", "Option Index Call Long", CLIENT)
    ),
    "total_altered": participants(times("Future Index Long", 1.01, col("Client Type") == "TOTAL")),
    "participant_missing": _without("Pro"),
    "participants_of_yesterday": yesterdays,
    "old_figures_new_title": yesterdays_in_todays_dress,
    "participants_negative": participants(times("Option Index Put Long", -1, CLIENT)),
    "futures_in_units": participants(
        times("Future Index Long", 65), times("Future Index Short", 65)
    ),
    "csv_cut": cut,
    "page_for_csv": web_page,
    "csv_empty": empty,
}
FII_STATS: dict[str, Planter] = {
    "fii_times_100": lines(cells_times("NIFTY OPTIONS", 100, (2, 4, 6))),
    "fii_of_yesterday": yesterdays,
    "fii_rows_swapped": _swapped_words("INDEX FUTURES", "INDEX OPTIONS"),
}
