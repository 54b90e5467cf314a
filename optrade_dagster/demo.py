"""The demo: a simulated exchange publishes, Dagster backfills, a summary is shown.

Belongs here: the course of `optrade demo`. Does not belong here: the simulated market (see
`optrade.simulation`) and the backfill (see `commands`).
"""

from __future__ import annotations

from datetime import date

from rich.console import Console

from optrade.calendar import load_calendar
from optrade_dagster.commands import backfill_days
from optrade_dagster.home import open_lake
from optrade_dagster.printing import print_frame
from resources.settings import Settings
from resources.simulator import write_exchange

SUMMARY = """
SELECT m.trade_date, m.underlying, m.expiry, round(m.spot, 2) AS spot,
       round(100 * m.atm_iv, 2) AS atm_iv_pct, round(m.pcr_oi, 3) AS pcr_oi,
       m.max_pain_strike, round(p.close_premium, 2) AS straddle_rupees
FROM analytics.chain_metrics_close m
LEFT JOIN analytics.premium_close p
  ON p.trade_date = m.trade_date AND p.underlying = m.underlying AND p.expiry = m.expiry
 AND p.kind = 'straddle' AND p.strike_offset = 0 AND NOT p.bucket_alias
WHERE m.expiry_bucket = 'this_week' AND m.underlying IN ('NIFTY', 'BANKNIFTY')
  AND m.trade_date >= (SELECT max(trade_date) FROM analytics.chain_metrics_close) - 6
ORDER BY m.underlying DESC, m.trade_date
"""


def run_demo(settings: Settings, console: Console, first: date, days: int, seed: int) -> bool:
    """Publish `days` trading days from `first` on, backfill them, print a summary."""
    calendar = load_calendar(settings.calendar.extra_csv)
    sessions = calendar.sessions(first, calendar.last)[:days]
    if len(sessions) < days:
        raise ValueError(f"The calendar has only {len(sessions)} sessions from {first} on.")
    with console.status(f"The simulated exchange publishes {days} trading days"):
        written = write_exchange(settings.exchange_root, sessions, seed, calendar=calendar)
    console.print(
        f"The simulated exchange has published {written.days} trading days under "
        f"{settings.exchange_root} ({written.written} new files)."
    )
    succeeded = backfill_days(settings, console, sessions[0], sessions[-1], None)
    with open_lake(settings, read_only=True) as lake:
        console.print("\n[bold]The nearest expiry, last days[/] [black on yellow] SIMULATED [/]")
        print_frame(console, lake.sql(SUMMARY), "table")
    console.print(
        'Read more with `optrade sql "SELECT * FROM participants.activity"`; open the UI with '
        "`optrade up`."
    )
    return succeeded
