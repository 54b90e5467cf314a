"""One bad file in a range: it is named, its date keeps what it had, every other date goes on."""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass

import pytest

import resources.lake_files
from tests.faults.planting import rewrite

PAGE = b"<!DOCTYPE html><html><body>Access denied</body></html>"


def swapped(line: str, one: int, other: int) -> str:
    cells = line.split(",")
    cells[one], cells[other] = cells[other], cells[one]
    return ",".join(cells)


def page_in_its_place(path):
    path.write_bytes(PAGE)


def cut_off(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def header_swapped(path):
    """Put Long and Call Short change names: the mistake that every sum survives."""
    rewrite(path, lambda lines: [lines[0], swapped(lines[1], 6, 7), *lines[2:]])


def columns_swapped(path):
    """Figures of High and Low change places under a right header."""

    def edit(lines):
        high, low = (lines[0].split(",").index(name) for name in ("HghPric", "LwPric"))
        return [lines[0], *(swapped(line, high, low) for line in lines[1:])]

    rewrite(path, edit)


def contract_twice(path):
    rewrite(path, lambda lines: [*lines, lines[1]])


def title_of_another_day(path):
    rewrite(path, lambda lines: [lines[0].replace("Jan 29, 2026", "Jan 28, 2026"), *lines[1:]])


def not_a_number(path):
    rewrite(path, lambda lines: [*lines[:3], _with(lines[3], 5, "12x4.5"), *lines[4:]])


def _with(line: str, at: int, text: str) -> str:
    cells = line.split(",")
    cells[at] = text
    return ",".join(cells)


def of_the_day_before(path):
    """The file of 28 January is found under the name of the 29th."""
    shutil.copy(path.with_name(path.name.replace("29012026", "28012026")), path)


def answer(lane, kind, day):
    """The lake's row of one file."""
    (row,) = (r for r in lane.read("raw.source_files", day) if r["kind"] == kind)
    return row


def refusal(text: str) -> str:
    """A failure without its first line, which counts dates."""
    return text.split("\n", 1)[1]


@dataclass(frozen=True)
class Bad:
    """A bad file: its kind, how it comes about, and what the refusal must say of it."""

    kind: str
    damage: Callable[..., None]
    place: str
    found: str
    expected: str
    remedy: str


CASES = {
    "HTML page": Bad(
        "index_close",
        page_in_its_place,
        "ind_close_all_29012026.csv: ",
        "an HTML page",
        "the file",
        "wait and retry, or set OPTRADE_NSE__BASE_URL to a folder",
    ),
    "truncated zip": Bad(
        "fo_bhavcopy",
        cut_off,
        "BhavCopy_NSE_FO_0_0_0_20260129_F_0000.csv.zip",
        "a zip cut off at byte",
        "a complete container",
        "Fetch it again",
    ),
    "columns swapped in the header": Bad(
        "participant_oi",
        header_swapped,
        "fao_participant_oi_29012026.csv, line 2, field Option Index Put Long",
        "columns in another order: Option Index Call Short in place of Option Index Put Long",
        "Client Type,Future Index Long",
        "compare it with the archive's copy",
    ),
    "columns swapped in the data": Bad(
        "fo_bhavcopy",
        columns_swapped,
        "BhavCopy_NSE_FO_0_0_0_20260129_F_0000.csv.zip, line 2, field OpnPric",
        "OpnPric '",
        "LwPric <= OpnPric <= HghPric",
        "a column or a row was moved or edited",
    ),
    "a contract twice": Bad(
        "fo_bhavcopy",
        contract_twice,
        "BhavCopy_NSE_FO_0_0_0_20260129_F_0000.csv.zip, line 3905, field FinInstrmId",
        "again, already on line 2;",
        "one row for each instrument id",
        "Fetch it again",
    ),
    "title of another day": Bad(
        "participant_volume",
        title_of_another_day,
        "fao_participant_vol_29012026.csv, line 1, field title",
        "2026-01-28",
        "2026-01-29",
        "fetch the one of 2026-01-29",
    ),
    "another day's file under this name": Bad(
        "index_close",
        of_the_day_before,
        "ind_close_all_29012026.csv, line 2, field Index Date",
        "2026-01-28",
        "2026-01-29",
        "fetch the one of 2026-01-29",
    ),
    "not a number": Bad(
        "index_close",
        not_a_number,
        "ind_close_all_29012026.csv, line 4, field Closing Index Value",
        "'12x4.5';",
        "a number",
        "Fetch it again",
    ),
}


@pytest.mark.parametrize("bad", CASES.values(), ids=CASES)
def test_a_bad_file_takes_only_its_date_with_it(
    bad, filled, lanes, own_exchange, reading, sessions
):
    before, day, after = sessions[2:5]
    table = f"raw.{bad.kind}"
    only = ["raw.source_files", table]
    lane = lanes(own_exchange, like=filled[0])
    good = lane.file(bad.kind, day).read_bytes()
    held = lane.contents()
    bad.damage(lane.file(bad.kind, day))

    ranged = lane.run(before, after, only)

    assert not ranged.success
    text = reading.failure_text(ranged)
    for words in (bad.place, ": found ", bad.found, f"; expected {bad.expected}", bad.remedy):
        assert words in text
    expected = {(name, str(d)) for name in only for d in (before, day, after)} - {(table, str(day))}
    assert set(reading.stored(ranged)) == expected
    assert lane.materialized(table) == {str(before), str(after)}
    row = answer(lane, bad.kind, day)
    assert row["status"] == "held"
    assert row["sha256"] == hashlib.sha256(good).hexdigest()
    if bad.damage is not page_in_its_place:
        assert row["detail"].startswith("a newer file was refused: ")
        assert row["detail"].removeprefix("a newer file was refused: ") in text
    judged = {
        e.partition: e.passed
        for e in reading.evaluations(ranged)
        if (e.asset_key.path[-1], e.check_name) == (bad.kind, "contract")
    }
    assert judged == {str(before): True, str(day): False, str(after): True, None: False}

    single = lane.run(day, only=only)

    assert not single.success
    assert refusal(reading.failure_text(single)) == refusal(text)
    assert lane.materialized(table) == {str(before), str(after)}
    refused = lane.contents()
    assert {at for at in held if refused[at] != held[at]} <= {("raw.source_files", day)}

    lane.file(bad.kind, day).write_bytes(good)
    mended = lane.run(day, only=only)

    assert mended.success, reading.failure_text(mended)
    row = answer(lane, bad.kind, day)
    assert (row["status"], row["detail"]) == ("held", None)
    assert str(day) in lane.materialized(table)
    assert lane.contents()[table, day] == held[table, day]


@pytest.mark.parametrize(
    ("damage", "status", "found"),
    [
        (cut_off, "refused", "found a zip cut off at byte"),
        (page_in_its_place, "blocked", "found an HTML page; expected the file"),
    ],
)
def test_the_rest_of_the_lane_goes_on_without_a_file_never_held(
    damage, status, found, lanes, own_exchange, reading, tables, sessions
):
    day, after = sessions[3:5]
    lane = lanes(own_exchange)
    damage(lane.file("fo_bhavcopy", day))

    result = lane.run(day, after)

    assert not result.success
    assert found in reading.failure_text(result)
    every = {table.full_name for table in tables}
    chains = {"raw.fo_bhavcopy", "snapshots.chain_close"}
    chains |= {name for name in every if name.startswith("analytics.")}
    chains -= {"analytics.sentiment", "analytics.scorecard"}  # They say what part is missing.
    stored = reading.stored(result)
    assert {name for name, at in stored if at == str(after)} == every
    assert {name for name, at in stored if at == str(day)} == every - chains
    assert not {name for name, at in lane.contents() if at == day} & chains
    row = answer(lane, "fo_bhavcopy", day)
    assert row["status"] == status
    assert found in row["detail"]
    told = {
        e.partition: e
        for e in reading.evaluations(result)
        if (e.asset_key.path[-1], e.check_name) == ("source_files", "ordinary")
    }
    assert told[str(after)].passed
    assert not told[str(day)].passed
    assert row["detail"] in told[str(day)].description
    assert "refetch: " in told[str(day)].description


@pytest.mark.parametrize("ending", [".parquet", ".csv"], ids=["of the tables", "of kept files"])
def test_a_full_disk_fails_the_run_and_leaves_the_old_data_whole(
    ending, filled, lanes, own_exchange, reading, sessions, monkeypatch
):
    day, only = sessions[3], ["raw.source_files", "raw.index_close"]
    lane = lanes(own_exchange, like=filled[0])
    held, rows = lane.contents(), lane.read("raw.index_close", day)
    files = {path for path in lane.settings.lake_root.rglob("*") if "catalog" not in path.name}
    path = lane.file("index_close", day)
    rewrite(path, lambda lines: [*lines[:2], _with(lines[2], 8, "424242"), *lines[3:]])
    write = resources.lake_files.write_durably

    def full(path, content):
        if path.suffix == ending:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(resources.lake_files, "write_durably", full)
        failed = lane.run(day, only=only)

    assert not failed.success
    assert "No space left on device" in reading.failure_text(failed)
    assert reading.stored(failed) == {}
    assert lane.contents() == held
    assert lane.read("raw.index_close", day) == rows
    kept = {path for path in lane.settings.lake_root.rglob("*") if "catalog" not in path.name}
    assert {path for path in kept - files if path.suffix in {".parquet", ".part"}} == set()

    healed = lane.run(day, only=only)
    assert healed.success, reading.failure_text(healed)
    assert 424242.0 in {row["volume_units"] for row in lane.read("raw.index_close", day)}
