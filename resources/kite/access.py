"""Which broker is meant: the real one of the settings, or the simulated one on this machine.

Belongs here: addresses and keys, and how long a session of the broker lives. Does not belong
here: using them.
"""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Final

from pydantic import SecretStr

from optrade.calendar import IST
from resources.kite.errors import NotConfigured
from resources.settings import Settings
from resources.settings_live import KiteSettings

SIMULATED_KEY: Final = "simulated"
SIMULATED_SECRET: Final = "simulated-secret"  # noqa: S105 (everybody may know it)
_DIES_AT: Final = time(6, tzinfo=IST)


def broker_settings(settings: Settings) -> KiteSettings:
    """The broker of this market; a simulated one needs no settings and never sees real keys.

    Raises `NotConfigured` when a real market has no API key.
    """
    kite = settings.kite
    if settings.market == "real":
        if not kite.api_key:
            raise NotConfigured("OPTRADE_KITE__API_KEY")
        return kite
    root = f"127.0.0.1:{settings.simulator.port}"
    return kite.model_copy(
        update={
            "api_key": SIMULATED_KEY,
            "api_secret": SecretStr(SIMULATED_SECRET),
            "root_url": f"http://{root}",
            "login_url": f"http://{root}/connect/login",
            "stream_url": f"ws://{root}/stream",
        }
    )


def token_dies_at(issued_at: datetime) -> datetime:
    """When an access token issued then dies: at the next 06:00, Asia/Kolkata.

    >>> token_dies_at(datetime(2026, 1, 23, 8, 55, tzinfo=IST)).isoformat()
    '2026-01-24T06:00:00+05:30'
    """
    local = issued_at.astimezone(IST)
    same_day = datetime.combine(local.date(), _DIES_AT)
    return same_day if local < same_day else same_day + timedelta(days=1)
