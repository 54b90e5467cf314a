"""Faults of the exchange's daily files, from the file to the incident and what comes of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from optrade.quality.causes import CAUSES
from tests.faults.exchange_files import (
    BHAVCOPY,
    FII_STATS,
    INDEX_CLOSE,
    PARTICIPANT_OI,
    Planter,
)
from tests.faults.hospital import LATER, SOON, carry_out, incidents, look, recoveries
from tests.faults.schema import Fault

CHAIN, LEDGER = "snapshots.chain_close", "participants.ledger"
FILES: dict[str, tuple[str, dict[str, Planter], tuple[str, ...]]] = {
    "fo_bhavcopy": ("Bhavcopy and chain", BHAVCOPY, ("raw.index_close", CHAIN)),
    "index_close": ("Index closes", INDEX_CLOSE, (CHAIN, "analytics.volatility_history")),
    "participant_oi": (
        "Participants",
        PARTICIPANT_OI,
        (
            "raw.participant_volume",
            "participants.positions",
            LEDGER,
        ),
    ),
    "fii_stats": ("Participants", FII_STATS, ("participants.activity",)),
}
"""By kind of file: the family, the planters, and what is run besides the file's own table."""
ACCEPTED = "accepted"
UNREADABLE, CONTRADICT = "file_unreadable", "figures_contradict"
CHANGED, ODD, WITHHELD = "figures_changed", "market_odd", "file_withheld"
Found = tuple[str, str, str, str]
"""What is planted, in words; the rule that finds it, `accepted` where rows are refused; of which
table (empty: the file's own); the cause."""
FOUND: dict[str, Found] = {
    "side_contradicts_name": ("calls are marked as puts", ACCEPTED, "", UNREADABLE),
    "sides_swapped": (
        "calls and puts change places, names and all", ACCEPTED, CHAIN, UNREADABLE
    ),
    "oi_times_lot": (
        "open interest times the lot", "open_interest_carries_over", "", CHANGED
    ),
    "oi_in_lots": (
        "open interest in lots instead of units", "open_interest_carries_over", "", CHANGED
    ),
    "volume_in_units": ("volume in units instead of lots", ACCEPTED, "", UNREADABLE),
    "strikes_missing": (
        "five strikes in a row are missing", "ladder_unbroken", CHAIN, CONTRADICT
    ),
    "underlying_missing": ("all of BANKNIFTY is missing", ACCEPTED, "", CONTRADICT),
    "contracts_twice": ("ten contracts stand there twice", ACCEPTED, "", UNREADABLE),
    "spot_zero": ("the underlying is priced 0", "underlying_priced", "", CONTRADICT),
    "prices_in_paise": ("prices in paise", ACCEPTED, "", UNREADABLE),
    "price_negative": ("closing prices below 0", ACCEPTED, "", UNREADABLE),
    "oi_negative": ("open interest below 0", ACCEPTED, "", UNREADABLE),
    "high_below_low": ("high and low change places", ACCEPTED, "", UNREADABLE),
    "strikes_in_paise": ("strikes in paise", ACCEPTED, "", UNREADABLE),
    "expiry_shifted": ("a week's expiry is dated a day later", "expiry_steady", "", ODD),
    "bhavcopy_of_yesterday": (
        "yesterday's bhavcopy under today's name", ACCEPTED, "", UNREADABLE
    ),
    "oi_change_unlinked": (
        "changes of open interest that its level contradicts", ACCEPTED, "", UNREADABLE
    ),
    "columns_exchanged": (
        "settlement price and turnover change places", ACCEPTED, "", UNREADABLE
    ),
    "other_segment": ("another segment's file", ACCEPTED, "", UNREADABLE),
    "column_renamed": ("a column has another name", ACCEPTED, "", UNREADABLE),
    "zip_cut": ("a zip that is cut off", ACCEPTED, "", UNREADABLE),
    "zip_flipped": ("a byte of the zip is flipped", ACCEPTED, "", UNREADABLE),
    "page_for_zip": ("a web page (HTTP 200) in place of the zip", ACCEPTED, "", WITHHELD),
    "index_of_yesterday": (
        "yesterday's index closes under today's name", ACCEPTED, "", UNREADABLE
    ),
    "index_zero": ("the Nifty 50 at 0", ACCEPTED, "", CONTRADICT),
    "index_missing": ("no Nifty 50", ACCEPTED, "", CONTRADICT),
    "vix_missing": ("no India VIX", ACCEPTED, "", CONTRADICT),
    "index_times_ten": ("an index ten times as high", ACCEPTED, "", UNREADABLE),
    "puts_for_calls": ("headings of calls and puts swapped", ACCEPTED, "", UNREADABLE),
    "puts_and_calls_exchanged": (
        "figures of calls and puts swapped", "positions_moved_by_trades", LEDGER, CHANGED
    ),
    "long_for_short": ("long and short of one participant swapped", ACCEPTED, "", UNREADABLE),
    "futures_for_options": (
        "futures and options of one participant swapped", ACCEPTED, "", UNREADABLE
    ),
    "total_altered": ("a total that its rows do not make", ACCEPTED, "", UNREADABLE),
    "participant_missing": ("a participant's row is missing", ACCEPTED, "", UNREADABLE),
    "participants_of_yesterday": (
        "yesterday's participants under today's name", ACCEPTED, "", UNREADABLE
    ),
    "old_figures_new_title": (
        "yesterday's figures under today's title", "not_stale", "", CONTRADICT
    ),
    "participants_negative": ("contracts below 0", ACCEPTED, "", UNREADABLE),
    "futures_in_units": ("futures in units instead of contracts", ACCEPTED, "", UNREADABLE),
    "csv_cut": ("a participant file that is cut off", ACCEPTED, "", UNREADABLE),
    "page_for_csv": ("a web page in place of a participant file", ACCEPTED, "", WITHHELD),
    "csv_empty": ("a participant file without a byte", ACCEPTED, "", UNREADABLE),
    "fii_times_100": ("FII figures of an index times 100", ACCEPTED, "", UNREADABLE),
    "fii_of_yesterday": ("yesterday's FII statistics under today's name", ACCEPTED, "", UNREADABLE),
    "fii_rows_swapped": ("FII rows of futures and options swapped", ACCEPTED, "", UNREADABLE),
}  # fmt: skip
KINDS = {name: kind for kind, (_, planters, _) in FILES.items() for name in planters}


def _fault(name: str) -> Fault:
    planted, rule, table, cause = FOUND[name]
    family = FILES[KINDS[name]][0]
    table = table or f"raw.{KINDS[name]}"
    refused = rule == ACCEPTED
    kept_out = "no row of that date is stored there; " if refused else "the date is marked wrong; "
    heals = CAUSES[cause].action == "refetch"
    closes = "asked for again, each source in turn, until the file is right"
    return Fault(
        f"{KINDS[name]}.{name}",
        family,
        planted,
        f"`{table}`: " + ("rows refused" if refused else f"`{rule}`"),
        cause,
        "healed" if heals else "labelled",
        kept_out + (closes if heals else "a person is told, with a sample"),
    )


FAULTS = tuple(_fault(name) for name in FOUND)


@pytest.fixture(scope="module")
def before(lanes: Callable[..., Any], exchange: Path, sessions: list[Any]) -> Any:
    """A market whose days but the last are held; not to be run again."""
    lane = lanes(exchange)
    assert lane.run(sessions[0], sessions[-2]).success
    assert not [row for day in sessions[:-1] for row in lane.read("quality.incidents", day)]
    return lane


@pytest.mark.parametrize("name", FOUND)
def test_a_fault_becomes_its_incident_and_ends_as_told(
    name: str, before: Any, exchange: Path, lanes: Any, own_exchange: Path, sessions: list[Any]
) -> None:
    _, rule, table, cause = FOUND[name]
    kind, (yesterday, day) = KINDS[name], sessions[-2:]
    _, planters, others = FILES[kind]
    own = f"raw.{kind}"
    only, table = ["raw.source_files", own, *others], table or own
    lane = lanes(own_exchange, like=before)
    file = lane.file(kind, day)
    planters[name](file, lane.file(kind, yesterday))

    refused = rule == ACCEPTED
    assert lane.run(day, only=only).success is not refused
    found = {
        (row["table_name"], row["subject"]): row for row in lane.read("quality.incidents", day)
    }
    incident = found[table, rule]
    assert (incident["cause"], incident["status"]) == (cause, "open")
    assert incident["handling"] == ("automatic" if CAUSES[cause].action else "manual")
    assert len(incident["evidence"]) > 20
    assert (lane.read(table, day) == []) is refused
    (judged,) = (
        row
        for row in lane.read("quality.check_results", day)
        if (row["table_name"], row["rule"]) == (table, rule)
    )
    assert (judged["passed"], judged["cause"]) == (False, cause)
    assert judged["found"] > judged["threshold"]

    shutil.copy(exchange / file.relative_to(own_exchange), file)
    assert lane.run(day, only=only).success
    left = [row for row in lane.read("quality.incidents", day) if row["status"] != "closed"]
    assert [(row["table_name"], row["subject"], row["evidence"]) for row in left] == []
    assert lane.read(table, day)


@pytest.mark.parametrize("name", ["zip_cut", "page_for_csv", "strikes_missing"])
def test_each_cause_that_is_asked_for_again_is_healed_by_the_next_source(
    name: str, before: Any, exchange: Path, lanes: Any, own_exchange: Path, sessions: list[Any]
) -> None:
    _, rule, table, cause = FOUND[name]
    kind, (yesterday, day) = KINDS[name], sessions[-2:]
    nse = {"base_url": str(own_exchange), "fallback_urls": (str(exchange),)}
    lane = lanes(own_exchange, like=before, nse=nse)
    FILES[kind][1][name](lane.file(kind, day), lane.file(kind, yesterday))
    lane.run(day)
    at = table or f"raw.{kind}", rule
    assert incidents(lane.settings, day)[at]["cause"] == cause
    for later in (SOON, LATER):
        (request,) = look(lane.settings, lane.instance, later)
        carry_out(lane, request)
    healed = incidents(lane.settings, day)[at]
    assert healed["status"] == "closed"
    tried = [(1, "refetch", "not_healed"), (2, "refetch", "healed")]
    assert recoveries(lane.settings, healed) == tried
    assert {row["status"] for row in lane.read("quality.incidents", day)} == {"closed"}
    assert lane.read("snapshots.chain_close", day)


def test_every_planter_is_planted() -> None:
    assert set(KINDS) == set(FOUND)
