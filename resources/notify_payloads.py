"""What is sent: notices as the webhook's JSON, as alerts of Alertmanager's API, as mails.

Belongs here: the documented shapes (docs/notifications.md). Does not belong here: sending them (see
`notify`), what a notice says (`optrade.quality.notices`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from email import policy
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from typing import Any, Final

from optrade.quality.notices import Affected, Notice, Sample

VERSION: Final = 1
"""Of the webhook's shape; another number means that fields changed their meaning or went."""
_STANDS: Final = timedelta(days=365)
"""An alert ends when its `endsAt` is past; one that stands is told to go on so long."""

_UNFOLDED: Final = policy.default.clone(max_line_length=300)
"""A subject that is folded arrives with a blank before it; RFC 5322 allows 998 characters."""


def webhook_payload(notices: Sequence[Notice], now: datetime) -> dict[str, Any]:
    """One batch as JSON-ready values; times are RFC 3339 with their offset."""
    return {
        "version": VERSION,
        "sender": "optrade",
        "sent_at": _time(now),
        "text": "\n".join(notice.subject for notice in notices),
        "notices": [_notice(notice) for notice in notices],
    }


def _notice(notice: Notice) -> dict[str, Any]:
    return {
        "market": notice.market,
        "event": notice.event,
        "severity": notice.severity,
        "component": notice.component,
        "cause": notice.cause,
        "count": notice.count,
        "first_date": notice.first_date.isoformat(),
        "last_date": notice.last_date.isoformat(),
        "tables": [_table(one) for one in notice.affected],
        "subject": notice.subject,
        "body": notice.body,
        "samples": [_sample(one) for one in notice.samples],
    }


def _table(one: Affected) -> dict[str, Any]:
    until = _time(one.until) if one.until else None
    return {"table": one.table, "count": one.count, "since": _time(one.since), "until": until}


def _sample(one: Sample) -> dict[str, Any]:
    return {
        "incident_id": one.incident_id,
        "trade_date": one.trade_date.isoformat(),
        "table": one.table,
        "subject": one.subject,
        "opened_at": _time(one.opened_at),
        "closed_at": _time(one.closed_at) if one.closed_at else None,
        "evidence": one.evidence,
        "suggestion": one.suggestion,
    }


def alerts(notices: Sequence[Notice], now: datetime) -> list[dict[str, Any]]:
    """The body of `POST /api/v2/alerts`, as Alertmanager's api/v2/openapi.yaml declares it.

    An alert for each market, cause, component, severity and table. It is resolved when the last of
    its incidents is closed; until then what is closed changes nothing. Where several notices speak
    of the same alert, the most urgent one's words are taken.
    """
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for notice in notices:
        for one in notice.affected:
            if notice.event == "closed" and one.until is None:
                continue
            labels = {
                "alertname": notice.cause,
                "component": notice.component,
                "severity": notice.severity,
                "table": one.table,
                "market": notice.market,
            }
            alert = {
                "labels": labels,
                "annotations": {
                    "summary": notice.subject,
                    "description": notice.body,
                    "suggestion": notice.suggestion,
                },
                "startsAt": _time(one.since),
                "endsAt": _time(one.until or max(now, one.since) + _STANDS),
            }
            found.setdefault(tuple(labels.values()), alert)
    return list(found.values())


def mail(notice: Notice, sender: str, recipients: Sequence[str], now: datetime) -> EmailMessage:
    """A notice as a plain text mail."""
    message = EmailMessage(_UNFOLDED)
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Subject"] = notice.subject
    message["Date"] = format_datetime(now)
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2])
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(notice.body)
    return message


def _time(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds")
