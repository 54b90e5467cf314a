"""The `optrade` command.

Belongs here: what a person types, what is printed, and exit codes. Does not belong here: the
work itself. Exit codes: 0 done, 1 done but something was refused or failed, 2 a question that
cannot be answered.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import duckdb
import typer
from rich.console import Console

from optrade.tables import IST
from resources.lake import LakeError
from resources.settings import Settings, load_settings

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
Day = Annotated[datetime, typer.Option(formats=["%Y-%m-%d"])]
DEMO_DAYS, DEMO_SEED, DEMO_FIRST = 15, 7, date(2026, 1, 12)


class Format(StrEnum):
    """How query results are printed."""

    table = "table"
    csv = "csv"
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


def _say_simulated(settings: Settings) -> None:
    if settings.market == "simulated":
        err.print("[black on yellow] SIMULATED [/] every number here is from a simulated market.")


@app.command()
def demo(
    ui: Annotated[bool, typer.Option(help="Open Dagster's web UI afterwards.")] = True,
    days: Annotated[
        int, typer.Option(min=1, max=750, help="Trading days to simulate.")
    ] = DEMO_DAYS,
    seed: Annotated[int, typer.Option(help="The same seed gives the same market.")] = DEMO_SEED,
    port: Annotated[int, typer.Option(help="Port of the web UI.")] = 3000,
) -> None:
    """Simulate an exchange, backfill its files through Dagster, show the result. No account."""
    from optrade_dagster.demo import run_demo  # noqa: PLC0415 (Dagster loads slowly)

    settings = load_settings(market="simulated")
    _say_simulated(settings)
    succeeded = run_demo(settings, out, DEMO_FIRST, days, seed)
    if ui and succeeded:
        _open_ui(settings, port)
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
    succeeded = backfill_days(settings, out, from_.date(), to.date(), select)
    raise typer.Exit(0 if succeeded else 1)


@app.command()
def up(port: Annotated[int, typer.Option(help="Port of the web UI.")] = 3000) -> None:
    """Run Dagster: web UI, schedules, sensors, backfills. Stop with Ctrl-C."""
    settings = reading_settings()
    _say_simulated(settings)
    _open_ui(settings, port)


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="Tables are named `group.table`.")],
    output: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.table,
    as_known_at: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"],
            help="Show what the lake knew at that moment, India's time.",
        ),
    ] = None,
) -> None:
    """Read the lake with SQL (read-only)."""
    from optrade_dagster.printing import print_frame  # noqa: PLC0415
    from resources.lake import Lake, LakeLocation  # noqa: PLC0415

    settings = reading_settings()
    _say_simulated(settings)
    moment = as_known_at.replace(tzinfo=ZoneInfo(IST)) if as_known_at else None
    location = LakeLocation(settings.lake_root, settings.market)
    with _plain_errors(), Lake.open(location, read_only=True, as_known_at=moment) as lake:
        print_frame(out, lake.sql(query), output.value)


def _open_ui(settings: Settings, port: int) -> None:
    from optrade_dagster.home import ensure_home, workspace_file  # noqa: PLC0415

    home = ensure_home(settings)
    out.print(f"Dagster's web UI: [bold]http://127.0.0.1:{port}[/] (Ctrl-C stops it)")
    command = [
        *(sys.executable, "-m", "dagster", "dev", "--host", "127.0.0.1", "--port", str(port)),
        *("--workspace", str(workspace_file(settings))),
    ]
    raise typer.Exit(_run_until_interrupted(command, home))


def _run_until_interrupted(command: list[str], folder: Path) -> int:
    with subprocess.Popen(command, cwd=folder) as process:  # noqa: S603 (our own words)
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue  # The child was interrupted too and is closing down.
