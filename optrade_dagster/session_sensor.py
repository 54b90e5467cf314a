"""The sensor of the broker's session: logins, refusals and expiries shown beside the data.

Belongs here: reporting what the session journal says as observations of `raw/kite_session`. Does
not belong here: logging in and keeping tokens (see `resources.kite`).
"""

from pathlib import Path

import dagster as dg

from assets.building import KITE_SESSION
from resources.kite.session import session_events

_SEVERE = frozenset({"refused", "expired"})


def kite_session_watched() -> dg.SensorDefinition:
    """Report every login, refusal, expiry and due renewal, once.

    The cursor counts the journal's events and not their times: a simulated market may play an
    earlier day after a later one.
    """

    @dg.sensor(
        name="kite_session_watched",
        minimum_interval_seconds=30,
        required_resource_keys={"recordings"},
        description="Shows the broker's logins, refusals and expiries as observations of "
        "`raw/kite_session`. A session that blocks collecting is an error there.",
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        events = session_events(Path(context.resources.recordings.home))
        cursor = context.cursor or ""
        told = int(cursor) if cursor.isdigit() else 0  # An older cursor is a time: tell all again.
        news = events[told:] if told <= len(events) else events  # The journal began anew.
        observations = [
            dg.AssetObservation(
                KITE_SESSION,
                description=event.detail,
                metadata={
                    "event": event.event,
                    "user": event.user_id or "",
                    "at": dg.MetadataValue.timestamp(event.at),
                    "blocks_collecting": event.event in _SEVERE,
                },
            )
            for event in news
        ]
        return dg.SensorResult(
            asset_events=observations,
            cursor=str(len(events)),
            skip_reason=None if news else "nothing new",
        )

    return sensor
