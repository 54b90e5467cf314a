"""The simulated session that is played next."""

from __future__ import annotations

from datetime import date, time

from optrade_dagster.up import next_simulated
from resources.settings import Settings

FIRST = date(2026, 1, 12)


def test_a_session_that_was_begun_goes_on_after_the_last_minute_collected(tmp_path):
    settings = Settings(home=tmp_path, market="simulated")
    begun = next_simulated(settings, 1.0, FIRST)
    assert (begun.day, begun.start) == (FIRST, time(9, 14, 30))
    folder = settings.spool_root / FIRST.isoformat()
    folder.mkdir(parents=True)
    for name in ("091400-a", "092100-a", "091900-b"):
        (folder / f"{name}.seg").touch()
    assert next_simulated(settings, 1.0, FIRST).start == time(9, 22)
