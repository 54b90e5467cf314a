"""The channels against real servers: what they send, what they say when it is not taken."""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from optrade.quality.notices import Affected, Notice, Sample, trial
from resources import log_masking
from resources.logs import configure_logging, get_logger
from resources.notify import Notifier
from resources.notify_payloads import VERSION, alerts
from resources.settings import Settings, SettingsError, load_settings
from resources.settings_notify import NotifySettings
from tests.channels import HOST, assert_alerts, certified, http_receiver, mail_receiver

NOW = datetime(2026, 1, 12, 10, 0, tzinfo=UTC)
DAY = date(2026, 1, 12)
PASSWORD = "p4ss-of-the-mail-server"


@pytest.fixture(autouse=True)
def hidden_is_forgotten(monkeypatch):
    monkeypatch.setattr(log_masking, "_hidden", set())


@pytest.fixture
def web():
    with http_receiver() as receiver:
        yield receiver


@pytest.fixture
def post():
    with mail_receiver() as receiver:
        yield receiver


def notice(event: Any = "opened", cause: str = "feed_cut", until: datetime | None = None) -> Notice:
    sample = Sample("a", DAY, "raw.ticks", "gap", NOW, until, "Ø 3 minutes", "`optrade heal`")
    affected = tuple(Affected(name, 1, NOW, until) for name in ("raw.ticks", "quality.tick_gaps"))
    return Notice(
        "real", event, "ERROR", "live_feed", cause, 2, DAY, DAY, affected, (sample,), "Cut."
    )


def mailing(receiver: Any, **more: Any) -> NotifySettings:
    known = {
        "email_to": ("one@example.org", "two@example.org"),
        "email_from": "optrade@example.org",
        "smtp_host": HOST,
        "smtp_port": receiver.port,
        "smtp_starttls": False,
    }
    return NotifySettings(**(known | more))


def test_nothing_set_is_no_channel():
    assert Notifier(NotifySettings()).channels == ()


def test_a_batch_is_one_post_of_the_documented_shape(web):
    notifier = Notifier(NotifySettings(webhook_url=f"{web.url}/in?key=1"))
    batch = [notice(), notice(cause="token_expired")]
    told = notifier.deliver("webhook", batch, NOW)
    assert (told.taken, told.answer, told.trouble) == (
        [one.key for one in batch],
        "HTTP 200 ok",
        None,
    )
    ((path, payload),) = web.posts
    assert path == "/in?key=1"
    assert (payload["version"], payload["sender"]) == (VERSION, "optrade")
    assert payload["sent_at"] == "2026-01-12T10:00:00.000+00:00"
    assert payload["text"] == "\n".join(one.subject for one in batch)
    first = payload["notices"][0]
    assert set(first) == {
        "market", "event", "severity", "component", "cause", "count", "first_date", "last_date",
        "tables", "subject", "body", "samples",
    }  # fmt: skip
    assert first["tables"][0] == {
        "table": "raw.ticks", "count": 1, "since": "2026-01-12T10:00:00.000+00:00", "until": None,
    }  # fmt: skip
    assert first["samples"][0]["evidence"] == "Ø 3 minutes"


def test_alerts_are_what_alertmanager_takes(web):
    notifier = Notifier(NotifySettings(alertmanager_url=web.url + "/am/"))
    assert notifier.deliver("alertmanager", [notice()], NOW).trouble is None
    ((path, payload),) = web.posts
    assert path == "/am/api/v2/alerts"
    assert_alerts(payload)
    assert [one["labels"] for one in payload] == [
        {
            "alertname": "feed_cut",
            "component": "live_feed",
            "severity": "ERROR",
            "table": table,
            "market": "real",
        }
        for table in ("raw.ticks", "quality.tick_gaps")
    ]
    assert set(payload[0]["annotations"]) == {"summary", "description", "suggestion"}
    assert datetime.fromisoformat(payload[0]["endsAt"]) > NOW + timedelta(days=300)


def test_an_alert_is_resolved_by_the_same_labels_when_all_its_incidents_are_closed(web):
    later = NOW + timedelta(minutes=5)
    stands, ended = alerts([notice()], NOW), alerts([notice("closed", until=later)], later)
    assert_alerts(ended)
    assert [one["labels"] for one in ended] == [one["labels"] for one in stands]
    assert ended[0]["endsAt"] == "2026-01-12T10:05:00.000+00:00"
    assert alerts([notice("closed")], later) == []  # Others of the kind stand.
    both = alerts([notice("escalated"), notice("opened")], NOW)
    assert [one["annotations"]["summary"].split()[2] for one in both] == ["escalated:"] * 2
    notifier = Notifier(NotifySettings(alertmanager_url=web.url))
    told = notifier.deliver("alertmanager", [notice("closed")], NOW)
    assert (told.taken, told.trouble, web.posts) == ([notice("closed").key], None, [])


@pytest.mark.parametrize("status", [302, 400, 404, 503])
def test_a_refusal_says_who_what_and_what_to_do(web, status):
    web.status, web.text = status, "not  in\nservice"
    notifier = Notifier(NotifySettings(webhook_url=f"{web.url}/services/T0001/B0002/sEcReT"))
    told = notifier.deliver("webhook", [notice()], NOW)
    assert told.taken == []
    assert f"webhook: found HTTP {status} not in service from {web.url};" in told.trouble
    assert "OPTRADE_NOTIFY__WEBHOOK_URL" in told.trouble
    assert "sEcReT" not in told.trouble


def test_a_host_that_is_not_there():
    notifier = Notifier(
        NotifySettings(alertmanager_url=f"http://me:{PASSWORD}@{HOST}:1", timeout_seconds=1)
    )
    told = notifier.deliver("alertmanager", [notice()], NOW)
    assert told.trouble.startswith("alertmanager: found ConnectError: ")
    assert f"from http://{HOST}:1;" in told.trouble
    assert PASSWORD not in told.trouble


def test_a_mail_for_each_notice(post):
    notifier = Notifier(mailing(post))
    batch = [notice(), notice("closed", until=NOW)]
    told = notifier.deliver("email", batch, NOW)
    assert (told.answer, told.trouble) == ("took 2 of 2 mails", None)
    assert [mail["Subject"] for mail in post.mails] == [one.subject for one in batch]
    assert post.recipients == [["one@example.org", "two@example.org"]] * 2
    first = post.mails[0]
    assert first["To"] == "one@example.org, two@example.org"
    assert first.get_content().splitlines() == batch[0].body.splitlines()
    assert "Ø 3 minutes" in first.get_content()
    assert first["Auto-Submitted"] == "auto-generated"


def test_starttls_and_login(post, tmp_path, monkeypatch):
    post.tls, certificate = certified(tmp_path)
    post.password = PASSWORD
    notifier = Notifier(
        mailing(post, smtp_starttls=True, smtp_user="me@example.org", smtp_password=PASSWORD)
    )
    unproven = notifier.deliver("email", [notice()], NOW)
    assert "CERTIFICATE_VERIFY_FAILED" in unproven.trouble
    assert post.logins == []
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert notifier.deliver("email", [notice()], NOW).trouble is None
    assert post.logins == [("me@example.org", PASSWORD)]
    assert post.encrypted == [True]


def test_a_server_without_starttls_gets_no_password(post):
    notifier = Notifier(mailing(post, smtp_starttls=True, smtp_user="me", smtp_password=PASSWORD))
    told = notifier.deliver("email", [notice()], NOW)
    assert "STARTTLS extension not supported" in told.trouble
    assert (post.logins, post.mails) == ([], [])


def test_mails_taken_before_the_line_was_lost_are_known(post):
    post.drop_after = 1
    batch = [notice(), notice(cause="disk_refused")]
    told = Notifier(mailing(post)).deliver("email", batch, NOW)
    assert told.taken == [batch[0].key]
    assert "SMTPServerDisconnected" in told.trouble


def test_a_recipient_who_is_refused_is_named_and_the_others_get_theirs(post):
    post.unknown = {"two@example.org"}
    told = Notifier(mailing(post)).deliver("email", [notice()], NOW)
    assert told.taken == [notice().key]
    assert "refused for two@example.org" in told.trouble
    assert "550" in told.trouble
    assert post.recipients == [["one@example.org"]]


def test_a_slow_mail_server_leaves_the_rest_for_the_next_look(post):
    times = iter([0.0, 10.0, 20.0])
    notifier = Notifier(mailing(post), clock=lambda: next(times))
    batch = [notice(cause=cause) for cause in ("feed_cut", "disk_refused", "clock_off")]
    told = notifier.deliver("email", batch, NOW)
    assert (told.taken, told.trouble) == ([one.key for one in batch[:2]], None)


def test_no_secret_in_the_logs(post, web, tmp_path):
    key = "T0001/B0002/sEcReT0123"
    settings = Settings(
        home=tmp_path,
        notify=mailing(
            post,
            smtp_user="me@example.org",
            smtp_password=PASSWORD,
            webhook_url=f"{web.url}/services/{key}",
            alertmanager_url=f"http://am:{PASSWORD}2@{HOST}:{web.port}",
        ),
    )
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        configure_logging(settings, "notify", terminal=False)
        web.status, web.text = 404, f"no route /services/{key}"
        notifier = Notifier(settings.notify)
        for channel in notifier.channels:
            told = notifier.deliver(channel, [notice()], NOW)
            get_logger("optrade.notify").error(told.trouble, settings=settings.notify)
    finally:
        for handler in set(root.handlers) - set(handlers):
            root.removeHandler(handler)
            handler.close()
        root.setLevel(level)
    text = "".join(path.read_text() for path in settings.log_root.rglob("*.jsonl"))
    assert "535 5.7.8 wrong user" in text.replace("b'5.7.8", "5.7.8").replace(", ", " ")
    assert text.count('"error"') == 3
    for secret in (PASSWORD, key, "sEcReT0123", "me@example.org"):
        assert secret not in text


def test_the_trial_goes_over_every_channel(post, web):
    notifier = Notifier(mailing(post, webhook_url=web.url, alertmanager_url=web.url))
    assert notifier.channels == ("webhook", "alertmanager", "email")
    for channel in notifier.channels:
        assert notifier.deliver(channel, trial("real", NOW), NOW).trouble is None
    assert_alerts(web.posts[1][1])
    assert len(post.mails) == 1


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"WEBHOOK_URL": "hooks.example.org/sEcReT"}, "OPTRADE_NOTIFY__WEBHOOK_URL: found ****"),
        ({"ALERTMANAGER_URL": "ftp://host"}, "expected an http(s):// address"),
        ({"ALERTMANAGER_URL": "http://999.1.1.1"}, "names no host that can be asked"),
        ({"EMAIL_TO": "one@example.org,nobody"}, "nobody is no mail address"),
        ({"EMAIL_TO": "one@example.org"}, "OPTRADE_NOTIFY__SMTP_HOST: found '' by default"),
        ({"SMTP_PASSWORD": "sEcReT", "SMTP_HOST": "mail.example.org"}, "SMTP_USER is blank"),
        ({"SMTP_PASSWORD": "sEcReT", "SMTP_STARTTLS": "false"}, "sent unencrypted"),
        ({"LEAST_SEVERITY": "INFO"}, "expected WARN or ERROR"),
        ({"TIMEOUT_SECONDS": "60"}, "up to 10"),
    ],
)
def test_a_slip_in_the_settings_is_told_without_its_secret(monkeypatch, tmp_path, given, told):
    monkeypatch.chdir(tmp_path)
    for name, value in given.items():
        monkeypatch.setenv(f"OPTRADE_NOTIFY__{name}", value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert told in str(caught.value)
    assert "sEcReT" not in str(caught.value)


def test_recipients_are_comma_separated(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    given = {"EMAIL_TO": "a@b.c, d@e.f", "EMAIL_FROM": "x@y.z", "SMTP_HOST": "mail"}
    for name, value in given.items():
        monkeypatch.setenv(f"OPTRADE_NOTIFY__{name}", value)
    assert load_settings().notify.email_to == ("a@b.c", "d@e.f")
