"""A lake with incidents, the sensor's evaluations over it, and what the channels received."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl
import pytest
from dagster._core.remote_representation.external_data import ResourceSnap

from optrade.tables.quality import INCIDENTS
from optrade_dagster.definitions import build_defs
from optrade_dagster.home import open_lake
from optrade_dagster.notice_sensor import NO_CHANNEL, incidents_told
from resources import log_masking
from resources.lake import Slice
from resources.notify import Notifier
from resources.settings import Settings
from resources.settings_notify import NotifySettings
from tests.channels import HOST, assert_alerts, http_receiver, mail_receiver

DAY = date(2026, 1, 12)
OPENED = datetime.now(UTC) - timedelta(hours=2)


class Desk:
    """A market, the servers that its channels lead to, and the cursor that the sensor left."""

    def __init__(self, home: Any, hook: Any, manager: Any, post: Any) -> None:
        self.hook, self.manager, self.post = hook, manager, post
        self.settings = Settings(home=home, market="simulated")
        self.channels: dict[str, Any] = {
            "webhook_url": hook.url,
            "alertmanager_url": manager.url,
            "email_to": ("one@example.org",),
            "email_from": "optrade@example.org",
            "smtp_host": HOST,
            "smtp_port": post.port,
            "smtp_starttls": False,
        }
        self.cursor: str | None = None
        self.rows: dict[str, dict[str, Any]] = {}

    def incident(self, name: str, status: str = "open", **more: Any) -> None:
        """Open an incident, or make of it what is given."""
        closed = datetime.now(UTC) if status == "closed" else None
        known = self.rows.get(name) or {
            "trade_date": DAY, "incident_id": name, "opened_at": OPENED, "severity": "ERROR",
            "component": "exchange_files", "cause": "figures_contradict", "subject": name,
            "table_name": "raw.fo_bhavcopy", "evidence": "3 rows", "instruments": None,
            "suggestion": "Look.", "handling": "manual", "action": None, "attempts": 0,
            "found_before": 3.0, "found_after": None,
        }  # fmt: skip
        self.rows[name] = known | {"status": status, "closed_at": closed} | more

    def commit(self) -> None:
        frame = INCIDENTS.conform(pl.DataFrame(list(self.rows.values()), INCIDENTS.schema))
        days = tuple(sorted(frame["trade_date"].unique()))
        with open_lake(self.settings, read_only=False) as lake:
            lake.commit([Slice(INCIDENTS, days, frame)], author="a test", provenance={})

    def look(self) -> str:
        """An evaluation of the sensor; returns what it says."""
        sensor = incidents_told(self.settings)
        notifier = Notifier(NotifySettings(**self.channels))
        with (
            dg.DagsterInstance.ephemeral() as instance,
            dg.build_sensor_context(
                instance, cursor=self.cursor, resources={"notifier": notifier}
            ) as context,
        ):
            tick = sensor.evaluate_tick(context)
        self.cursor = tick.cursor
        assert not tick.run_requests
        return str(tick.skip_message)

    def heard(self) -> list[tuple[str, int]]:
        """What the webhook took: event and count of each notice, a batch after the other."""
        batches = [payload["notices"] for _, payload in self.hook.posts]
        return [(one["event"], one["count"]) for batch in batches for one in batch]


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.setattr(log_masking, "_hidden", set())
    with http_receiver() as hook, http_receiver() as manager, mail_receiver() as post:
        yield Desk(tmp_path, hook, manager, post)


def test_with_no_channel_it_says_so_and_with_no_lake_too(desk):
    assert desk.look() == "there is no lake yet"
    desk.channels = {}
    assert desk.look() == NO_CHANNEL
    assert "OPTRADE_NOTIFY__WEBHOOK_URL" in NO_CHANNEL


def test_opened_escalated_closed_are_told_once_on_every_channel(desk):
    desk.incident("a")
    desk.incident("b", severity="WARN")
    desk.incident("never heard of", status="closed")
    desk.commit()
    told = desk.look()
    assert told == "notices taken: webhook 2, alertmanager 2, email 2"
    assert desk.heard() == [("opened", 1), ("opened", 1)]
    assert len(desk.hook.posts) == 1
    assert_alerts(desk.manager.posts[0][1])
    assert [alert["labels"]["severity"] for alert in desk.manager.posts[0][1]] == ["ERROR", "WARN"]
    assert all("SIMULATED" in mail["Subject"] for mail in desk.post.mails)
    assert desk.look() == "nothing new to tell"

    desk.incident("a", "escalated")
    desk.commit()
    desk.look()
    desk.incident("a", "closed")
    desk.incident("b", "closed", severity="WARN")
    desk.incident("came and went", "closed")
    desk.commit()
    desk.look()
    assert desk.look() == "nothing new to tell"
    assert desk.heard()[2:] == [("escalated", 1), ("closed", 1), ("closed", 1)]
    assert len(desk.post.mails) == 5
    ended = desk.manager.posts[-1][1]
    assert_alerts(ended)
    assert all(datetime.fromisoformat(alert["endsAt"]) < datetime.now(UTC) for alert in ended)


def test_a_storm_is_one_message_a_group_and_the_cursor_stays_small(desk):
    for n in range(300):
        day = DAY + timedelta(days=n % 20)
        desk.incident(f"{n:03}", trade_date=day, severity=("ERROR", "WARN")[n % 2])
    desk.commit()
    desk.look()
    assert desk.heard() == [("opened", 150), ("opened", 150)]
    assert (len(desk.hook.posts), len(desk.post.mails)) == (1, 2)
    assert len(desk.manager.posts[0][1]) == 2
    assert len(desk.cursor) < 300


def test_a_channel_that_is_down_is_told_later_and_the_others_once(desk, caplog):
    desk.hook.status, desk.hook.text = 503, "closed for lunch"
    desk.incident("a")
    desk.commit()
    for _ in range(2):
        said = desk.look()
        assert "webhook: found HTTP 503 closed for lunch" in said
    assert "webhook: found HTTP 503 closed for lunch" in caplog.text
    assert "correct OPTRADE_NOTIFY__WEBHOOK_URL" in caplog.text
    desk.incident("a", "closed")
    desk.incident("b", cause="own_work")
    desk.commit()
    desk.look()
    desk.incident("b", "closed", cause="own_work")
    desk.incident("c", "closed", cause="market_odd")
    desk.commit()
    desk.look()
    desk.hook.status = 200
    desk.look()
    # The batch it refused as it was, then all that became of it meanwhile, `c` included.
    assert desk.heard() == [("opened", 1), *[("closed", 1)] * 3]
    assert desk.look() == "nothing new to tell"
    assert [mail["Subject"].split()[3] for mail in desk.post.mails] == [
        "opened:", "opened:", "closed:", "closed:",
    ]  # fmt: skip
    desk.incident("d", "closed", cause="clock_off")
    desk.commit()
    assert desk.look() == "nothing new to tell"


def test_mails_that_were_taken_before_the_line_was_lost_are_not_sent_again(desk):
    for name, cause in (("a", "figures_contradict"), ("b", "own_work"), ("c", "market_odd")):
        desk.incident(name, cause=cause)
    desk.commit()
    desk.post.drop_after = 2
    assert "3, alertmanager 3, email 2; email: found SMTPServerDisconnected" in desk.look()
    assert json.loads(desk.cursor)["webhook"]["taken"] == []
    desk.post.drop_after = None
    assert desk.look() == "notices taken: email 1"
    assert len({mail["Subject"] for mail in desk.post.mails}) == len(desk.post.mails) == 3
    assert len(desk.hook.posts) == len(desk.manager.posts) == 1


def test_only_errors_where_only_errors_are_asked_for(desk):
    desk.channels["least_severity"] = "ERROR"
    desk.incident("a", severity="WARN")
    desk.incident("b")
    desk.commit()
    desk.look()
    assert [one["severity"] for one in desk.hook.posts[0][1]["notices"]] == ["ERROR"]


def test_a_channel_that_is_added_is_told_what_stands(desk):
    address = desk.channels.pop("webhook_url")
    desk.incident("a")
    desk.incident("b")
    desk.commit()
    desk.look()
    desk.incident("b", "closed")
    desk.commit()
    desk.look()
    desk.channels["webhook_url"] = address
    assert desk.look() == "notices taken: webhook 1"
    assert desk.heard() == [("opened", 1)]


@pytest.mark.parametrize("cursor", ["not json", "[1]", '{"webhook": {"told": 999, "taken": []}}'])
def test_a_cursor_that_means_nothing_here_tells_what_stands_again(desk, caplog, cursor):
    desk.incident("a")
    desk.commit()
    desk.cursor = cursor
    desk.look()
    assert desk.heard() == [("opened", 1)]
    assert "told again" in caplog.text


def test_a_lake_from_before_the_first_commit_has_nothing_to_tell(desk):
    with open_lake(desk.settings, read_only=False):
        pass
    assert desk.look() == "nothing new to tell"
    desk.incident("a")
    desk.commit()
    desk.look()
    assert desk.heard() == [("opened", 1)]


def test_it_is_part_of_the_code_location_runs_by_itself_and_shows_no_secret(tmp_path):
    secret = "https://hooks.example.org/services/sEcReT"
    settings = Settings(home=tmp_path, notify=NotifySettings(webhook_url=secret))
    defs = build_defs(settings)
    sensor = defs.resolve_sensor_def("incidents_told")
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert sensor.minimum_interval_seconds == 30
    for name, resource in defs.get_repository_def().get_top_level_resources().items():
        shown = dg.serialize_value(ResourceSnap.from_def(resource, name, {}, {}, {}, {}, {}, {}))
        assert "sEcReT" not in shown
    assert "sEcReT" not in repr(settings)


def test_a_refused_file_of_a_run_reaches_a_person(desk, lanes, own_exchange, sessions):
    lane = lanes(own_exchange)
    damaged = lane.file("fo_bhavcopy", sessions[1])
    damaged.write_bytes(damaged.read_bytes()[:-1000])
    lane.run(sessions[1])
    desk.settings = lane.settings
    desk.look()
    found = {one["cause"]: one for one in desk.hook.posts[0][1]["notices"]}
    assert "zip cut off" in found["file_unreadable"]["samples"][0]["evidence"]
    assert any("file_unreadable" in mail["Subject"] for mail in desk.post.mails)
    assert_alerts(desk.manager.posts[0][1])
