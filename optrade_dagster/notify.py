"""`optrade notify`: what is typed and what is printed.

Belongs here: trying the channels out by hand. Does not belong here: sending (`resources.notify`),
telling of incidents (see `notice_sensor`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from resources.log_masking import masked_text
from resources.settings import Settings, load_settings


def register(app: typer.Typer, out: Console) -> None:
    """Add the command to `app`."""

    @app.command()
    def notify(
        test: Annotated[
            bool, typer.Option("--test", help="Send a test notice on every channel.")
        ] = False,
    ) -> None:
        """List the channels that tell of incidents; with --test, try each."""
        run_notify(load_settings(), out, test=test)


def run_notify(settings: Settings, out: Console, *, test: bool) -> None:
    """List the channels, or try them and print what each answered; exit code 1 when one failed.

    Raises `ValueError` when none is set.
    """
    from optrade.quality.notices import trial  # noqa: PLC0415 (polars loads slowly)
    from resources.notify import CHANNELS, Notifier  # noqa: PLC0415

    notifier = Notifier(settings.notify)
    if not notifier.channels:
        raise ValueError(
            f"found no channel to tell anybody; expected one of {', '.join(CHANNELS.values())} to "
            "be set. See docs/notifications.md."
        )
    if not test:
        out.print(
            f"Incidents from {settings.notify.least_severity} on are told by "
            f"{', '.join(notifier.channels)}. Try it with --test."
        )
        return
    failed = False
    now = datetime.now(UTC)
    for channel in notifier.channels:
        told = notifier.deliver(channel, trial(settings.market, now), now)
        failed |= told.trouble is not None
        word = "[red]failed[/]" if told.trouble else "[green]took it[/]"
        said = masked_text(told.trouble or told.answer)
        out.print(f"{channel} {word}: {escape(said)}", highlight=False, soft_wrap=True)
    raise typer.Exit(1 if failed else 0)
