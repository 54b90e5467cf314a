"""The `optrade` command.

Belongs here: what a person types, what is printed, and exit codes. Does not belong here: the
work itself. Exit codes: 0 done, 1 done but something was refused or failed, 2 a question that
cannot be answered.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated
from zoneinfo import ZoneInfo

import duckdb
import typer
from rich.console import Console

from optrade.calendar import load_calendar
from optrade.tables import IST
from optrade_dagster import keep, notify
from resources.lake import LakeError
from resources.settings import Settings, SettingsError, load_settings

app = typer.Typer(
    name="optrade",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Indian index options: exchange files to checked, explained analytics, in Dagster.",
)
_PIPE_COLUMNS = 160
_width = None if sys.stdout.isatty() else _PIPE_COLUMNS
out, err = Console(width=_width), Console(stderr=True)
AsKnownAt = Annotated[
    datetime | None,
    typer.Option(
        formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"],
        help="Show what the lake knew at that moment, India's time.",
    ),
]
Day = Annotated[datetime, typer.Option(formats=["%Y-%m-%d"])]
DEMO_DAYS, DEMO_SEED, DEMO_FIRST = 15, 7, date(2026, 1, 12)
DEMO_SPEED, DEMO_MINUTES = 15.0, 5


class Format(StrEnum):
    """How query results are printed."""

    table = "table"
    csv = "csv"
    json = "json"


class Told(StrEnum):
    """How explanations and findings are printed."""

    text = "text"
    json = "json"


def main() -> None:
    """Run the command; known trouble is one clear message, not a traceback."""
    try:
        app()
    except (LakeError, ValueError) as error:
        err.print(f"[bold red]optrade:[/] {error}", soft_wrap=True, highlight=False)
        sys.exit(2)


@contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        err.print(f"[bold red]optrade:[/] {error}", soft_wrap=True, highlight=False)
        raise typer.Exit(2) from error


def reading_settings() -> Settings:
    """Settings of a command that only reads: the simulated lake stands in, saying so.

    It does so only where no market was asked for and the real lake holds nothing yet.
    """
    settings = load_settings()
    if "market" in settings.model_fields_set or _holds_rows(settings):
        return settings
    simulated = load_settings(market="simulated")
    return simulated if _holds_rows(simulated) else settings


def _holds_rows(settings: Settings) -> bool:
    data = settings.lake_root / "data"
    return data.exists() and next(data.rglob("*.parquet"), None) is not None


def _moment(as_known_at: datetime | None) -> datetime | None:
    return as_known_at.replace(tzinfo=ZoneInfo(IST)) if as_known_at else None


def _say_simulated(settings: Settings) -> None:
    if settings.market == "simulated":
        err.print("[black on yellow] SIMULATED [/] every number here is from a simulated market.")


def _begin_logs(settings: Settings, command: str) -> None:
    """This command's log, with the trace id that its processes and runs go on with."""
    from resources.logs import configure_logging  # noqa: PLC0415 (Dagster loads slowly)
    from resources.step_fields import step_fields  # noqa: PLC0415

    configure_logging(settings, command, terminal=False, fields=step_fields)


@app.command()
def demo(
    ui: Annotated[bool, typer.Option(help="Open Dagster's web UI afterwards.")] = True,
    days: Annotated[
        int, typer.Option(min=1, max=750, help="Trading days to simulate.")
    ] = DEMO_DAYS,
    seed: Annotated[int, typer.Option(help="The same seed gives the same market.")] = DEMO_SEED,
    port: Annotated[int, typer.Option(help="Port of the web UI.")] = 3000,
) -> None:
    """Simulate an exchange and a broker, run both lanes through Dagster. No account."""
    from optrade_dagster.demo import run_demo  # noqa: PLC0415 (Dagster loads slowly)
    from optrade_dagster.up import (  # noqa: PLC0415
        next_simulated,
        refuse_taken_ports,
        run_live_demo,
        run_up,
    )

    settings = load_settings(market="simulated")
    refuse_taken_ports(settings, port if ui else None, broker=True)
    _say_simulated(settings)
    _begin_logs(settings, "demo")
    succeeded = run_demo(settings, out, DEMO_FIRST, days, seed)
    if succeeded:
        session = next_simulated(settings, DEMO_SPEED, DEMO_FIRST)
        if ui:
            raise typer.Exit(run_up(settings, out, port, session))
        succeeded = run_live_demo(settings, out, session, DEMO_MINUTES)
    raise typer.Exit(0 if succeeded else 1)


@app.command()
def backfill(
    from_: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First date.")],
    to: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Last date, included.")],
    select: Annotated[
        str | None,
        typer.Option(help="Assets, in Dagster's selection syntax, such as `group:participants`."),
    ] = None,
    days_per_run: Annotated[
        int | None, typer.Option(min=1, help="Most trading days in one Dagster run.")
    ] = None,
) -> None:
    """Materialize past trading days as one Dagster backfill, and tell what was found."""
    from optrade_dagster.commands import backfill_days  # noqa: PLC0415

    if days_per_run is not None:
        os.environ["OPTRADE_BACKFILL__DAYS_PER_RUN"] = str(days_per_run)
    settings = load_settings()
    _say_simulated(settings)
    _begin_logs(settings, "backfill")
    succeeded = backfill_days(settings, out, from_.date(), to.date(), select)
    raise typer.Exit(0 if succeeded else 1)


@app.command()
def up(port: Annotated[int, typer.Option(help="Port of the web UI.")] = 3000) -> None:
    """Run it all: web UI, schedules, sensors, the collector. Stop with Ctrl-C.

    In a simulated market a simulated broker plays the next session, at real speed unless
    OPTRADE_SIMULATOR__SPEED says otherwise.
    """
    from optrade_dagster.up import next_simulated, run_up  # noqa: PLC0415

    settings = reading_settings()
    _say_simulated(settings)
    session = None
    if settings.market == "simulated":
        session = next_simulated(settings, settings.simulator.speed, DEMO_FIRST)
    raise typer.Exit(run_up(settings, out, port, session))


@app.command()
def login(
    paste: Annotated[
        str | None,
        typer.Option(help="The request token, or the whole address you were redirected to."),
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the broker's login page.")] = True,
) -> None:
    """Log in to the broker; the session lasts until 06:00, India's time."""
    from optrade_dagster.login import run_login  # noqa: PLC0415

    settings = load_settings()
    _say_simulated(settings)
    run_login(settings, out, paste=paste, open_browser=browser)


@app.command()
def collect(
    once: Annotated[bool, typer.Option(help="End after this session.")] = False,
) -> None:
    """Record the broker's live feed into the spool, session after session."""
    from optrade_dagster.collect import run_collect  # noqa: PLC0415

    settings = load_settings()
    _say_simulated(settings)
    run_collect(settings, out, once=once)


@app.command()
def simulate(
    day: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Trading day; the next unpublished by default."),
    ] = None,
    speed: Annotated[
        float | None, typer.Option(min=0.1, help="Simulated seconds in a real one.")
    ] = None,
    start: Annotated[
        datetime | None, typer.Option(formats=["%H:%M", "%H:%M:%S"], help="Time to begin at.")
    ] = None,
    port: Annotated[int | None, typer.Option(min=1024, max=65535, help="Loopback port.")] = None,
) -> None:
    """Be the broker: Kite's REST API and websocket over a simulated market."""
    from optrade_dagster.simulate import run_simulate  # noqa: PLC0415
    from resources.simulator import next_session  # noqa: PLC0415

    settings = load_settings(market="simulated")
    _say_simulated(settings)
    calendar = load_calendar(settings.calendar.extra_csv)
    following = next_session(settings.exchange_root, calendar, DEMO_FIRST)
    run_simulate(
        settings,
        out,
        day.date() if day else following,
        speed or settings.simulator.speed,
        port or settings.simulator.port,
        start.time() if start else None,
    )


@app.command()
def replay(
    day: Annotated[datetime, typer.Argument(formats=["%Y-%m-%d"], help="Trading day.")],
) -> None:
    """Feed a collected day through the minute lane again; the tables must come out the same."""
    from optrade_dagster.replay import replay_day  # noqa: PLC0415

    settings = reading_settings()
    _say_simulated(settings)
    _begin_logs(settings, "replay")
    raise typer.Exit(0 if replay_day(settings, out, day.date()) else 1)


@app.command()
def archive(
    older_than: Annotated[
        int | None, typer.Option(min=1, help="Days; OPTRADE_ARCHIVE__AFTER_DAYS by default.")
    ] = None,
) -> None:
    """Rewrite old days and old segments in fewer bytes, proven equal. Deletes no row."""
    from optrade_dagster.archive import archive_now  # noqa: PLC0415

    settings = reading_settings()
    _say_simulated(settings)
    _begin_logs(settings, "archive")
    raise typer.Exit(0 if archive_now(settings, out, older_than) else 1)


@app.command()
def heal(
    day: Annotated[datetime, typer.Argument(formats=["%Y-%m-%d"], help="Trading day.")],
) -> None:
    """Fill the holes of a collected day from the broker's minute candles, marked as such."""
    from optrade_dagster.heal import heal_day  # noqa: PLC0415

    settings = load_settings()
    _say_simulated(settings)
    _begin_logs(settings, "heal")
    raise typer.Exit(0 if heal_day(settings, out, day.date()) else 1)


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="Tables are named `group.table`.")],
    output: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.table,
    as_known_at: AsKnownAt = None,
) -> None:
    """Read the lake with SQL (read-only)."""
    from optrade_dagster.printing import print_frame  # noqa: PLC0415
    from resources.lake import Lake, LakeLocation  # noqa: PLC0415

    settings = reading_settings()
    _say_simulated(settings)
    location, moment = LakeLocation(settings.lake_root, settings.market), _moment(as_known_at)
    with _plain_errors(), Lake.open(location, read_only=True, as_known_at=moment) as lake:
        print_frame(out, lake.sql(query), output.value)


@app.command()
def doctor(
    output: Annotated[Told, typer.Option("--format", help="How to print.")] = Told.text,
    network: Annotated[bool, typer.Option(help="Ask the exchange's archive, too.")] = False,
    port: Annotated[int, typer.Option(help="Port of the web UI.")] = 3000,
) -> None:
    """Look for trouble, say what to do; writes nothing. Exit code 1 where there is some."""
    from optrade_dagster.doctor import Sight, examine, show  # noqa: PLC0415

    try:
        sight: Sight | str = Sight(reading_settings(), port, network)
    except SettingsError as error:
        sight = str(error)
    raise typer.Exit(show(out, examine(sight), output.value))


@app.command()
def explain(
    table: Annotated[str, typer.Argument(help="Named `group.table`.")],
    where: Annotated[str, typer.Option(help="SQL condition that finds exactly one row.")],
    column: Annotated[str, typer.Option(help="The column whose value is asked about.")],
    as_known_at: AsKnownAt = None,
    verify: Annotated[bool, typer.Option(help="Compute it again from the raw bytes.")] = False,
    output: Annotated[Told, typer.Option("--format", help="How to print.")] = Told.text,
) -> None:
    """Show where a number comes from, down to the raw files; exit code 1 if it is not the same."""
    from optrade_dagster.explain import explain_value  # noqa: PLC0415 (Dagster loads slowly)
    from optrade_dagster.explain_text import as_text  # noqa: PLC0415

    settings = reading_settings()
    _say_simulated(settings)
    with _plain_errors():
        found = explain_value(settings, table, where, column, _moment(as_known_at), verify=verify)
    sys.stdout.write("\n".join([found.to_json()] if output is Told.json else as_text(found)))
    sys.stdout.write("\n")
    raise typer.Exit(0 if found.first_difference is None else 1)


keep.register(app, out, reading_settings)
notify.register(app, out)
if __name__ == "__main__":
    main()
