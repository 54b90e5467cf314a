"""`optrade backup`, `restore` and `recover`: what is typed and what is printed.

Belongs here: their options, messages and exit codes. Does not belong here: the work (see
`resources.backup`, `resources.restore`, `resources.recovery`) and making tables anew (see
`recover`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from optrade.tables import IST
from resources.settings import Settings, load_settings

if TYPE_CHECKING:  # Opening a lake loads slowly.
    from resources.backup_store import BackupStore

_MOST_ROWS = 40
_MOMENT = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]
_STYLES = {"mended": "green", "again": "yellow", "lost": "bold red"}


def register(app: typer.Typer, out: Console, reading: Callable[[], Settings]) -> None:
    """Add the commands to `app`. `reading` gives the settings of a home that is there."""

    @app.command()
    def backup(
        to: Annotated[
            Path | None, typer.Option(help="Folder of the backups (OPTRADE_BACKUP__ROOT).")
        ] = None,
        verify: Annotated[
            bool, typer.Option(help="Read every stored byte again; copy anew what was damaged.")
        ] = False,
    ) -> None:
        """Back up this market's home while everything goes on; only what is new is copied."""
        run_backup(reading(), out, to, verify=verify)

    @app.command()
    def restore(
        from_: Annotated[Path, typer.Argument(metavar="FROM", help="Folder of the backups.")],
        to: Annotated[
            Path | None, typer.Option(help="An empty OPTRADE_HOME; the configured one by default.")
        ] = None,
        at: Annotated[
            datetime | None,
            typer.Option(formats=_MOMENT, help="The lake of that moment, India's time."),
        ] = None,
    ) -> None:
        """Put a backup back into an empty home, proving every byte."""
        run_restore(load_settings(), out, from_, to, at)

    @app.command()
    def recover(
        from_: Annotated[
            Path | None,
            typer.Option("--from", help="Folder of the backups (OPTRADE_BACKUP__ROOT)."),
        ] = None,
        dry_run: Annotated[bool, typer.Option(help="Look, and change nothing.")] = False,
    ) -> None:
        """Verify this market's home and mend it. Stop `optrade up` first."""
        run_recover(reading(), out, from_, dry_run=dry_run)


def run_backup(settings: Settings, out: Console, to: Path | None, *, verify: bool) -> None:
    """Take a backup and tell what it holds; exit code 1 when the home lacked something."""
    from resources.backup import take_backup  # noqa: PLC0415
    from resources.backup_store import BackupStore  # noqa: PLC0415

    root = to or settings.backup.root
    if root is None:
        raise ValueError(
            "Found no folder for backups; expected one. Give --to, or set OPTRADE_BACKUP__ROOT, "
            "best to another disk."
        )
    began = time.monotonic()
    taken = take_backup(
        settings.market_home,
        BackupStore(root, settings.market),
        lock_timeout_seconds=settings.lake.lock_timeout_seconds,
        verify=verify,
    )
    manifest = taken.manifest
    snapshot = "no lake" if manifest.snapshot_id is None else f"snapshot {manifest.snapshot_id}"
    out.print(
        f"Backup {manifest.name} of the {settings.market} market: {snapshot}, "
        f"{len(manifest.files):,} files, of which {taken.copied_files:,} "
        f"({taken.copied_bytes / 1e6:,.1f} MB) are new, in {time.monotonic() - began:.1f} s.",
        highlight=False,
    )
    _print_lost(out, manifest.lost)


def run_restore(
    settings: Settings, out: Console, root: Path, to: Path | None, at: datetime | None
) -> None:
    """Restore and tell what was put back; exit code 1 when the backup lacked something."""
    from resources.restore import choose, restore  # noqa: PLC0415

    store = _store_of(settings, root)
    moment = at.replace(tzinfo=ZoneInfo(IST)) if at else None
    manifest = choose(store, moment)
    home = (to.expanduser().absolute() if to else settings.home) / store.market
    restored = restore(store, manifest, home, at=moment)
    snapshot = "no lake" if restored.snapshot_id is None else f"snapshot {restored.snapshot_id}"
    out.print(
        f"Restored {manifest.name} to {home}: {snapshot}, {restored.files:,} files "
        f"({restored.bytes / 1e6:,.1f} MB), every one proven by its hash.",
        highlight=False,
    )
    if restored.rewound:
        out.print(
            "The lake is of that moment; raw files and the spool are all that the backup has. "
            "Dagster's databases tell of later runs and were left out."
        )
    _print_lost(out, restored.lost)


def _store_of(settings: Settings, root: Path) -> BackupStore:
    """The backups asked for; those of the only market there is where none was asked for."""
    from resources.backup_store import BackupStore  # noqa: PLC0415

    if "market" in settings.model_fields_set:
        return BackupStore(root, settings.market)
    real = BackupStore(root, "real")
    simulated = BackupStore(root, "simulated")
    return simulated if not real.names() and simulated.names() else real


def _print_lost(out: Console, lost: Mapping[str, str]) -> None:
    if not lost:
        return
    for path, found in list(lost.items())[:_MOST_ROWS]:
        out.print(f"[red]lacking[/] {escape(path)}: {escape(found)}", highlight=False)
    out.print(
        f"{len(lost):,} files that the lake speaks of are not in it whole, and no earlier backup "
        "has them. `optrade recover` in the home tells what can be made anew."
    )
    raise typer.Exit(1)


def run_recover(settings: Settings, out: Console, root: Path | None, *, dry_run: bool) -> None:
    """Recover and tell; exit code 1 when something stays lost."""
    from optrade_dagster.recover import make_again  # noqa: PLC0415
    from resources.backup_store import BackupStore  # noqa: PLC0415
    from resources.lake_files import LakeLocation  # noqa: PLC0415
    from resources.recovery import recover  # noqa: PLC0415

    root = root or settings.backup.root
    store = BackupStore(root, settings.market) if root else None
    found = recover(
        settings.market_home,
        store,
        LakeLocation(settings.lake_root, settings.market),
        dry_run=dry_run,
        lock_timeout_seconds=settings.lake.lock_timeout_seconds,
    )
    if store is None or not store.names():
        out.print("There is no backup to mend from (--from, OPTRADE_BACKUP__ROOT).")
    if found.findings:
        grid = Grid(title="Found" if dry_run else "Found and done")
        for heading in ("file", "found", "would be done" if dry_run else "done"):
            grid.add_column(heading, overflow="fold")
        for finding in found.findings[:_MOST_ROWS]:
            style = _STYLES[finding.state]
            done = f"[{style}]{finding.state}[/]: {escape(finding.done)}"
            grid.add_row(escape(finding.path), escape(finding.found), done)
        out.print(grid)
    states = [finding.state for finding in found.findings]
    out.print(
        f"{found.checked:,} files checked: {states.count('mended')} mended, "
        f"{states.count('again')} to be made anew, {states.count('lost')} lost.",
        highlight=False,
    )
    if found.aside:
        out.print(f"What was damaged is in {found.aside}.", highlight=False)
    whole = make_again(settings, out, found, dry_run=dry_run)
    raise typer.Exit(0 if whole and not found.lost else 1)
