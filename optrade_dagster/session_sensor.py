"""The sensor of the broker's session: logins, refusals and expiries shown beside the data.

Belongs here: reporting what the session journal says as observations of `raw/kite_session`. Does
not belong here: logging in and keeping tokens (see `resources.kite`).
"""

from datetime import datetime
from pathlib import Path

import dagster as dg

from assets.minutes import KITE_SESSION
from resources.kite.session import session_events

_SEVERE = frozenset({"refused", "expired"})


def kite_session_watched() -> dg.SensorDefinition:
    """Report every login, refusal, expiry and due renewal, once."""

    @dg.sensor(
        name="kite_session_watched",
        minimum_interval_seconds=30,
        required_resource_keys={"recordings"},
        description="Shows the broker's logins, refusals and expiries as observations of "
        "`raw/kite_session`. A session that blocks collecting is an error there.",
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        since = datetime.fromisoformat(context.cursor) if context.cursor else None
        news = session_events(Path(context.resources.recordings.home), since)
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
            cursor=news[-1].at.isoformat() if news else context.cursor,
            skip_reason=None if news else "nothing new",
        )

    return sensor
