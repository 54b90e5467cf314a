"""Lines that a run writes carry its run, step, partition, table and trace, however steps end."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dagster as dg
import pytest
import structlog

from assets import checks
from optrade.tables import TABLES
from optrade_dagster import jobs
from optrade_dagster.definitions import build_defs
from resources import logs
from resources.lake import Lake, LakeError
from resources.lake_upkeep import Compaction
from resources.settings import Settings
from resources.step_fields import step_fields

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
RAW = ("raw.source_files", "raw.participant_oi", "raw.participant_volume", "raw.fo_bhavcopy")
MADE = ("participants.positions", "participants.activity")
NOWHERE = {"step": None, "asset": None}


@pytest.fixture
def logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings of this process's logs, which are as before afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    monkeypatch.setenv(logs.CONTEXT_VARIABLE, json.dumps({"trace_id": "of-the-process"}))
    for name in ("_process", "_of_now"):
        monkeypatch.setattr(logs, name, type(getattr(logs, name))())
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    settings = Settings(home=tmp_path, market="simulated")
    logs.configure_logging(settings, "dagster", terminal=False, fields=step_fields)
    yield settings
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines_of(settings):
    (path,) = settings.log_root.glob("dagster-*.jsonl")
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        line for line in lines if line["logger"] in ("x", "httpx", "optrade.lake", "optrade.assets")
    ]


def run(lane, tables, tags):
    return lane.job.execute_in_process(
        instance=lane.instance,
        asset_selection=[dg.AssetKey(TABLES[name].asset_path) for name in tables],
        tags={logs.TRACE_TAG: "of-the-run"} | tags,
        run_config=QUIET,
        raise_on_error=False,
    )


def fields(line):
    return {name: line.get(name) for name in ("trace_id", "run_id", "step", "partition", "asset")}


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def served(exchange: Path) -> Iterator[str]:
    """The exchange's folder over http."""
    handler = partial(Handler, directory=str(exchange))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_day_s_lines_name_its_run_step_day_and_table(logged, lanes, served):
    lane = lanes(served)
    result = run(lane, [*RAW, *MADE], {"dagster/partition": "2026-01-23"})
    assert result.success
    logs.get_logger("x").info("afterwards")
    *lines, after = lines_of(logged)
    of_run = {"trace_id": "of-the-run", "run_id": result.run_id, "partition": "2026-01-23"}
    committed = [fields(line) for line in lines if line["event"] == "committed"]
    data = [line for line in committed if not line["step"].endswith("__checks")]
    by_asset = {line["asset"]: line for line in data}
    assert by_asset == {
        None: {**of_run, "step": "exchange_files", "asset": None},
        **{name: {**of_run, "step": name.replace(".", "__"), "asset": name} for name in MADE},
    }
    asked = [fields(line) for line in lines if line["logger"] == "httpx"]
    assert len(asked) > len(MADE)  # By threads of the step.
    assert asked == [data[0]] * len(asked)
    judged = {line["asset"] for line in committed if line["step"].endswith("__checks")}
    assert judged == {*RAW, *MADE}  # what each check found is recorded by its own step
    assert fields(after) == {**dict.fromkeys(of_run), "trace_id": "of-the-process", **NOWHERE}


def test_a_range_s_lines_name_its_first_and_last_day(logged, lanes, exchange):
    days = {"start": "2026-01-23", "end": "2026-01-27"}
    tags = {f"dagster/asset_partition_range_{end}": day for end, day in days.items()}
    assert run(lanes(exchange), ["raw.source_files"], tags).success
    assert {line["partition"] for line in lines_of(logged)} == {"2026-01-23...2026-01-27"}


def test_a_refusal_is_a_line_of_its_step(logged, lanes, own_exchange):
    lane = lanes(own_exchange)
    lane.file("participant_oi", date(2026, 1, 23)).write_bytes(b"no such file")
    run(lane, RAW, {"dagster/partition": "2026-01-23"})
    (line,) = [line for line in lines_of(logged) if line["event"] == "refused"]
    assert (line["level"], line["step"], line["partition"]) == (
        "error", "exchange_files", "2026-01-23",
    )  # fmt: skip
    assert (line["table"], line["trade_date"]) == ("raw.participant_oi", "2026-01-23")
    assert "no such file" in line["reason"]


def test_a_step_that_the_disk_refuses_leaves_nothing_to_the_next_one(
    logged, lanes, filled, exchange, monkeypatch
):
    lane = lanes(exchange, like=filled[0])
    commit = Lake.commit

    def full(self, slices, **more):
        logs.get_logger("x").info("tried")
        if len(lines_of(logged)) == 1:
            raise LakeError("no space left")
        return commit(self, slices, **more)

    monkeypatch.setattr(Lake, "commit", full)
    result = run(lane, MADE, {"dagster/partition": "2026-01-23"})
    assert not result.success
    tried = [fields(line) for line in lines_of(logged) if line["event"] == "tried"]
    assert {line["asset"] for line in tried} == set(MADE)
    assert {line["run_id"] for line in tried} == {result.run_id}


def test_checks_are_steps_too(logged, lanes, filled, exchange, monkeypatch):
    lane = lanes(exchange, like=filled[0])
    read = checks.read_inputs

    def told(*arguments):
        logs.get_logger("x").info("read")
        return read(*arguments)

    monkeypatch.setattr(checks, "read_inputs", told)
    run(lane, MADE[:1], {"dagster/partition": "2026-01-23"})
    (line,) = [line for line in lines_of(logged) if line["event"] == "read"]
    name = MADE[0].replace(".", "__")
    assert (line["step"], line["asset"]) == (f"{name}__checks", MADE[0])
    assert (line["trace_id"], line["partition"]) == ("of-the-run", "2026-01-23")


def test_a_day_s_compaction_names_its_day(logged, lanes, exchange, monkeypatch):
    lane, day = lanes(exchange), "2026-01-23"

    def told(_lake, table, of):
        logs.get_logger("x").info("compacted")
        return Compaction(table.full_name, of, 1, 1, 0, None)

    monkeypatch.setattr(jobs, "compact", told)
    result = build_defs(lane.settings).resolve_job_def(jobs.DAY_CLOSED).execute_in_process(
        instance=lane.instance,
        run_config=QUIET | {"ops": {"compact_day": {"config": {"day": day}}}},
        tags={logs.TRACE_TAG: "of-the-run"},
    )  # fmt: skip
    (told_of,) = {tuple(fields(line).values()) for line in lines_of(logged)}
    assert told_of == ("of-the-run", result.run_id, "compact_day", day, None)


def test_a_thread_carries_what_its_pool_began_with(logged):
    def tell(name):
        logs.get_logger("x").info(name)

    with logs.bound(partition="2026-01-23"):
        pool = ThreadPoolExecutor(1, initializer=logs.carried())
    with pool:
        pool.submit(tell, "carried").result()
    tell("afterwards")
    assert [line.get("partition") for line in lines_of(logged)] == ["2026-01-23", None]
