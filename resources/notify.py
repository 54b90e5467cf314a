"""The channels that tell a person of incidents: webhook, Alertmanager, mail.

Belongs here: sending notices over each, and what it answered. Does not belong here: the shapes sent
(see `notify_payloads`), what was told before (see `optrade_dagster.notice_sensor`).

A plain object and not a `ConfigurableResource`: Dagster shows the configuration of those in its UI,
and here it is secrets.
"""

from __future__ import annotations

import smtplib
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import httpx

from optrade.quality.notices import Notice
from resources.log_masking import hide, masked_text, secrets_of
from resources.notify_payloads import alerts, mail, webhook_payload
from resources.settings_notify import NotifySettings

CHANNELS: Final = {
    "webhook": "OPTRADE_NOTIFY__WEBHOOK_URL",
    "alertmanager": "OPTRADE_NOTIFY__ALERTMANAGER_URL",
    "email": "OPTRADE_NOTIFY__EMAIL_TO",
}
"""Each channel, and the setting that turns it on."""
ALERTS_PATH: Final = "/api/v2/alerts"
_SHOWN_CHARS: Final = 200
_LEAST_KEY: Final = 16
"""A shorter path is a word that other messages may hold."""
_MAILING_SECONDS: Final = 15.0
"""So long mails are sent at one look; Dagster gives up an evaluation after a minute."""
_TO_DO: Final = {
    "webhook": "See that it runs and takes a POST of JSON there; correct "
    "OPTRADE_NOTIFY__WEBHOOK_URL.",
    "alertmanager": f"See that Alertmanager runs and answers at {ALERTS_PATH}; correct "
    "OPTRADE_NOTIFY__ALERTMANAGER_URL.",
    "email": "See that the mail server runs and takes this sender and these recipients; correct "
    "OPTRADE_NOTIFY__SMTP_HOST, _PORT, _STARTTLS, _USER and _PASSWORD.",
}


@dataclass
class Delivery:
    """What became of some notices on one channel.

    `taken`: keys of the notices it took. `answer`: what it said; `trouble`: what went wrong and
    what to do, None where nothing did. Neither holds a secret.
    """

    channel: str
    taken: list[str] = field(default_factory=list)
    answer: str = ""
    trouble: str | None = None


class Notifier:
    """The channels that the settings turn on."""

    def __init__(
        self, settings: NotifySettings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._webhook = settings.webhook_url.get_secret_value()
        self._alertmanager = settings.alertmanager_url.get_secret_value()
        hide(*secrets_of(settings), *_parts(self._webhook), *_parts(self._alertmanager))
        ways = {
            "webhook": (self._webhook, self._post_webhook),
            "alertmanager": (self._alertmanager, self._post_alerts),
            "email": (settings.email_to, self._mail),
        }
        self._ways = {name: send for name, (to, send) in ways.items() if to}

    @property
    def channels(self) -> tuple[str, ...]:
        """Those that are turned on."""
        return tuple(self._ways)

    def deliver(self, channel: str, notices: Sequence[Notice], now: datetime) -> Delivery:
        """Send notices over a channel; says what it took, whatever else went wrong."""
        delivery = Delivery(channel)
        try:
            self._ways[channel](notices, now, delivery)
        # A UnicodeError is a password or an address that SMTP cannot carry.
        except (httpx.HTTPError, OSError, UnicodeError) as error:
            found = f"{type(error).__name__}: {_short(str(error))}"
            if len(delivery.taken) < len(notices):
                delivery.trouble = _trouble(channel, self._place(channel), found)
        return delivery

    def _place(self, channel: str) -> str:
        """Where a channel sends, without what may be secret."""
        if channel == "email":
            return f"{self.settings.smtp_host}:{self.settings.smtp_port}"
        url = httpx.URL(self._webhook if channel == "webhook" else self._alertmanager)
        return f"{url.scheme}://{url.netloc.decode()}"

    def _post_webhook(self, notices: Sequence[Notice], now: datetime, told: Delivery) -> None:
        self._post(self._webhook, webhook_payload(notices, now), notices, told)

    def _post_alerts(self, notices: Sequence[Notice], now: datetime, told: Delivery) -> None:
        if changed := alerts(notices, now):
            self._post(self._alertmanager + ALERTS_PATH, changed, notices, told)
        else:
            told.answer = "not asked: no alert changes"
            told.taken.extend(notice.key for notice in notices)

    def _post(self, url: str, payload: Any, notices: Sequence[Notice], told: Delivery) -> None:
        answer = httpx.post(url, json=payload, timeout=self.settings.timeout_seconds)
        said = f"HTTP {answer.status_code} {_short(answer.text)}".strip()
        if answer.is_success:
            told.answer = said
            told.taken.extend(notice.key for notice in notices)
        else:
            told.trouble = _trouble(told.channel, self._place(told.channel), said)

    def _mail(self, notices: Sequence[Notice], now: datetime, told: Delivery) -> None:
        ours = self.settings
        until = self._clock() + _MAILING_SECONDS
        refused: dict[str, tuple[int, bytes]] = {}
        with smtplib.SMTP(ours.smtp_host, ours.smtp_port, timeout=ours.timeout_seconds) as server:
            if ours.smtp_starttls:
                server.starttls(context=ssl.create_default_context())
            if user := ours.smtp_user.get_secret_value():
                server.login(user, ours.smtp_password.get_secret_value())
            for notice in notices:
                if told.taken and self._clock() > until:
                    break
                letter = mail(notice, ours.email_from, ours.email_to, now)
                refused |= server.send_message(letter, ours.email_from, ours.email_to)
                told.taken.append(notice.key)
                told.answer = f"took {len(told.taken)} of {len(notices)} mails"
        if refused:
            found = f"refused for {', '.join(refused)}: {_short(str(refused))}"
            told.trouble = _trouble("email", self._place("email"), found)


def _trouble(channel: str, place: str, found: str) -> str:
    return (
        f"{channel}: found {found} from {place}; expected it to take the notices. "
        f"{_TO_DO[channel]} Then try it with `optrade notify --test`."
    )


def _parts(url: str) -> list[str]:
    """Parts of an address that may be keys, and the address as the HTTP client writes it."""
    if not url:
        return []
    parts = httpx.URL(url)
    named = (parts.path, parts.raw_path.decode(), parts.query.decode())
    return [
        str(parts),
        str(httpx.URL(url + ALERTS_PATH)),
        parts.password,
        *(part for part in named if len(part) >= _LEAST_KEY),
    ]


def _short(text: str) -> str:
    line = " ".join(masked_text(text).split())
    return line if len(line) <= _SHOWN_CHARS else f"{line[: _SHOWN_CHARS - 1]}…"
