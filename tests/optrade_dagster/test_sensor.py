"""The sensor's evaluations: what it asks for, what it waits for, and the reasons it gives."""

from __future__ import annotations

import shutil
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from optrade.formats.archive import is_optional
from optrade.tables.raw import FILE_KINDS
from optrade_dagster.definitions import build_defs, build_graph
from optrade_dagster.jobs import close_lane
from optrade_dagster.sensors import exchange_files_published

REQUIRED = sorted(kind for kind in FILE_KINDS if not is_optional(kind))
BEFORE, DAY = date(2026, 1, 27), date(2026, 1, 28)
LATE_KINDS = ("participant_oi", "participant_volume")
PAGE = b"<!DOCTYPE html><html><body>Access denied</body></html>"


def at(day: date, clock: str) -> datetime:
    return datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=ZoneInfo("Asia/Kolkata"))


@dataclass
class Watch:
    """A sensor over a market, with a clock that a test sets and the cursor it left."""

    lane: Any
    cursor: str | None = None

    def look(self, now: datetime) -> Any:
        settings = self.lane.settings
        graph = build_graph(settings)
        sensor = exchange_files_published(close_lane(graph), graph, settings, clock=lambda: now)
        defs = build_defs(settings)
        with dg.build_sensor_context(
            instance=self.lane.instance,
            cursor=self.cursor,
            definitions=defs,
            sensor_name="exchange_files_published",
            resources={name: defs.resources[name] for name in ("lake", "archive")},
        ) as context:
            tick = sensor.evaluate_tick(context)
        self.cursor = tick.cursor
        return tick


def asked(tick: Any) -> list[str]:
    return [request.partition_key for request in tick.run_requests]


@pytest.fixture
def watching(lanes):
    """Makes a watch that looks back one session, over an empty lake or a copy of another's."""

    def make(exchange, like=None, sessions=1, **nse):
        lane = lanes(
            exchange,
            like=like,
            nse={"base_url": str(exchange), **nse},
            close_lane={"lookback_sessions": sessions},
        )
        return Watch(lane)

    return make


@pytest.fixture
def incomplete(own_exchange, tmp_path, watching):
    """A watch over a day whose participant files are not out yet, and what puts them out."""
    watch = watching(own_exchange)
    late = {kind: watch.lane.file(kind, DAY) for kind in LATE_KINDS}
    for kind, path in late.items():
        shutil.move(path, tmp_path / kind)

    def publish(*kinds):
        for kind in kinds:
            shutil.move(tmp_path / kind, late[kind])

    return watch, publish


def test_a_complete_day_asks_for_one_run_and_no_second(watching, exchange):
    watch = watching(exchange)
    first = watch.look(at(DAY, "18:30:00"))
    (request,) = first.run_requests
    assert request.partition_key == str(DAY)
    assert request.tags["dagster/partition"] == str(DAY)
    assert request.run_key == f"{DAY} {'+'.join(REQUIRED)}"
    assert first.skip_message is None
    assert asked(watch.look(at(DAY, "18:35:00"))) == []


def test_the_same_files_have_the_same_run_key_when_the_cursor_is_lost(watching, exchange):
    watch = watching(exchange)
    keys = set()
    for _ in range(2):
        watch.cursor = None
        (request,) = watch.look(at(DAY, "18:30:00")).run_requests
        keys.add(request.run_key)
    assert len(keys) == 1


def test_days_already_held_are_not_asked_for(watching, exchange, filled):
    watch = watching(exchange, like=filled[0], sessions=3)
    tick = watch.look(at(date(2026, 2, 1), "21:00:00"))
    assert asked(tick) == []
    assert tick.skip_message == "every recent trading day is held"


def test_only_missing_days_are_asked_for(lanes, watching, exchange, reading, sessions):
    watch = watching(exchange, sessions=3)
    result = watch.lane.run(sessions[1], only=["raw.source_files"])
    assert result.success, reading.failure_text(result)
    tick = watch.look(at(DAY, "21:00:00"))
    assert asked(tick) == [str(sessions[0]), str(sessions[2])]


def test_today_is_not_asked_for_before_its_hour(watching, exchange, filled):
    watch = watching(exchange)
    assert asked(watch.look(at(DAY, "17:29:59"))) == [str(BEFORE)]
    assert asked(watch.look(at(DAY, "17:30:00"))) == [str(DAY)]


def test_an_incomplete_day_waits_until_its_deadline(incomplete):
    watch, _ = incomplete
    waits = watch.look(at(DAY, "23:29:59"))
    assert asked(waits) == []
    assert waits.skip_message == f"{DAY} not published yet: participant_oi, participant_volume"
    (request,) = watch.look(at(DAY, "23:30:00")).run_requests
    assert request.partition_key == str(DAY)
    assert request.tags["optrade/files"] == "fii_stats,fo_bhavcopy,index_close"
    again = watch.look(at(DAY, "23:35:00"))
    assert asked(again) == []
    assert "not published yet" in again.skip_message


def test_a_day_that_becomes_complete_is_run_at_once(incomplete):
    watch, publish = incomplete
    assert asked(watch.look(at(DAY, "19:00:00"))) == []
    publish(*LATE_KINDS)
    assert asked(watch.look(at(DAY, "20:00:00"))) == [str(DAY)]


def test_a_late_file_asks_for_one_more_run(incomplete):
    watch, publish = incomplete
    (early,) = watch.look(at(DAY, "23:30:00")).run_requests
    result = watch.lane.run(DAY, only=["raw.source_files", "raw.fo_bhavcopy"])
    assert result.success
    assert asked(watch.look(at(DAY, "23:40:00"))) == []

    publish("participant_oi")
    (late,) = watch.look(at(DAY, "23:50:00")).run_requests
    assert late.partition_key == str(DAY)
    assert late.run_key != early.run_key
    assert asked(watch.look(at(DAY, "23:55:00"))) == []

    publish("participant_volume")
    (last,) = watch.look(at(DAY, "23:58:00")).run_requests
    assert last.run_key not in {early.run_key, late.run_key}


def test_waiting_holiday_and_blocked_are_three_answers(watching, own_exchange, filled):
    watch = watching(own_exchange)
    watch.lane.file("fii_stats", DAY).unlink()
    waiting = watch.look(at(DAY, "19:00:00")).skip_message
    assert waiting == f"{DAY} not published yet: fii_stats"

    for kind in REQUIRED:
        watch.lane.file(kind, DAY).write_bytes(PAGE)
    blocked = watch.look(at(DAY, "19:00:00")).skip_message
    assert f"{DAY} blocked (" in blocked
    assert "fii_stats: found an HTML page; expected the file" in blocked  # The others were seen.

    holiday = watching(own_exchange, like=filled[0]).look(at(date(2026, 1, 26), "19:00:00"))
    assert holiday.skip_message.startswith("2026-01-26 is no trading day: holiday: ")
    assert "not published" not in holiday.skip_message
    assert "blocked" not in holiday.skip_message


def test_a_day_not_published_at_all_names_everything(watching, own_exchange):
    watch = watching(own_exchange)
    for kind in REQUIRED:
        watch.lane.file(kind, DAY).unlink()
    tick = watch.look(at(DAY, "23:59:00"))
    assert asked(tick) == []
    assert tick.skip_message == f"{DAY} not published yet: {', '.join(REQUIRED)}"


@contextmanager
def serving(folder, refused):
    """An exchange's folder over http; requests whose path contains `refused` are answered 403."""

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self):
            if refused in self.path:
                self.send_error(403)
            else:
                super().do_GET()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_host_that_refuses_is_told_apart_from_one_without_the_file(watching, exchange):
    with serving(exchange, refused="/content/") as url:
        tick = watching(url).look(at(DAY, "19:00:00"))
    assert asked(tick) == []
    assert tick.skip_message.startswith(f"{DAY} blocked (")
    assert "index_close: HTTP 403: the host refused" in tick.skip_message


def test_a_host_is_asked_like_a_folder(watching, exchange):
    with serving(exchange, refused="nothing") as url:
        (request,) = watching(url).look(at(DAY, "19:00:00")).run_requests
    assert request.run_key == f"{DAY} {'+'.join(REQUIRED)}"
