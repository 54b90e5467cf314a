"""How an asset of one table is made from a pure function: the one pattern of this graph.

Belongs here: the decorator every computed table uses, the gate before the commit, and how a
table's declaration becomes what Dagster shows. Does not belong here: any particular asset.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, cast

import dagster as dg
import polars as pl
from pydantic import PrivateAttr

from assets.partitions import dates_of
from optrade.calendar import TradingCalendar
from optrade.quality import Inputs, evaluate, rules_for
from optrade.quality.causes import cause_of
from optrade.tables import Column, Table
from resources.lake_io import DATE_BY_DATE, Produced
from resources.logs import get_logger

OWNER = "team:optrade"
KITE_SESSION = dg.AssetKey(["raw", "kite_session"])
HEALTH = dg.AssetKey(["quality", "health"])
"""The broker's session: what asking the broker depends on."""
CONTRACT = "contract"
"""The check every table has: the rules that guard the commit."""
_LOG = get_logger("optrade.assets")


@dataclass(frozen=True)
class Graph:
    """What all assets share: the calendar's partitions, batch size and the market's name."""

    calendar: TradingCalendar
    partitions: dg.StaticPartitionsDefinition
    days_per_run: int
    market: str

    @property
    def backfill_policy(self) -> dg.BackfillPolicy:
        """As few runs as memory allows."""
        return dg.BackfillPolicy.multi_run(max_partitions_per_run=self.days_per_run)

    @property
    def feed(self) -> str:
        """What every row from the broker says of where it is from."""
        return "simulated" if self.market == "simulated" else "kite"

    @property
    def kinds(self) -> set[str]:
        """Badges of every asset; a simulated market says so on each."""
        return {"polars", "duckdb"} | ({"simulated"} if self.market == "simulated" else set())


@dataclass(frozen=True)
class Reads:
    """One input of an asset: a table, narrowed to what the function needs."""

    table: Table
    columns: tuple[str, ...] | None = None
    where: str | None = None
    sessions_before: int = 0

    def asset_in(self) -> dg.AssetIn:
        """This input in Dagster's words."""
        narrowed = {
            "columns": list(self.columns) if self.columns else None,
            "where": self.where,
            "sessions_before": self.sessions_before,
        }
        return dg.AssetIn(
            key=dg.AssetKey(self.table.asset_path),
            metadata={k: v for k, v in narrowed.items() if v},
        )


@dataclass(frozen=True)
class Refusal:
    """Why rows were not stored: in words, and the class of cause (`optrade.quality.causes`)."""

    cause: str
    text: str


def in_words(refused: Mapping[date, Refusal]) -> str:
    """What was refused, a line each."""
    return "\n".join(refusal.text for refusal in refused.values())


class Refusals(dg.ConfigurableResource):  # type: ignore[type-arg]
    """What this run refused to store, handed from the steps that refuse to those that check."""

    _refused: dict[str, dict[date, Refusal]] = PrivateAttr(default_factory=dict)

    def add(self, table: Table, refused: Mapping[date, Refusal]) -> None:
        """Remember dates of a table that were refused, and why."""
        self._refused.setdefault(table.full_name, {}).update(refused)

    def of(self, table: Table) -> Mapping[date, Refusal]:
        """The dates of a table that this run refused."""
        return self._refused.get(table.full_name, {})


Notes = Callable[[pl.DataFrame], pl.DataFrame]
Pictures = Callable[[pl.DataFrame, Mapping[str, pl.DataFrame]], Mapping[date, str]]


@dataclass(frozen=True)
class Recipe:
    """A table, the function that makes its rows, and what that function reads.

    `make(dates, **frames)` gets the run's dates and one frame per entry of `reads`, and gives
    rows of those dates (fewer dates where the data are missing). `notes` condenses the rows to
    frame[trade_date, ...] of numbers that plot well over dates; `pictures` draws a date's rows
    and what they are from as Markdown.
    """

    table: Table
    make: Callable[..., pl.DataFrame]
    reads: Mapping[str, Reads]
    code_version: str
    notes: Notes | None = None
    pictures: Pictures | None = None
    uses: Mapping[str, Any] = field(default_factory=dict)


def description(table: Table) -> str:
    """What one row is, where it comes from and what identifies it, as the UI shows it."""
    key = ", ".join(f"`{name}`" for name in table.key)
    return f"One row is {table.row}.\n\n{table.method}\n\n**Key:** {key}."


def column_schema(table: Table) -> dg.TableSchema:
    """A table's declaration as Dagster's column schema."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=c.name,
                type=c.sql_type,
                description=f"{c.description} ({c.unit})" if c.unit else c.description,
                constraints=dg.TableColumnConstraints(nullable=c.nullable, other=_bounds(c)),
            )
            for c in table.columns
        ]
    )


def _bounds(column: Column) -> list[str]:
    words = [f">= {column.ge:g}"] if column.ge is not None else []
    words += [f"<= {column.le:g}"] if column.le is not None else []
    words += ["one of " + ", ".join(column.isin)] if column.isin else []
    return words


def asset_spec_arguments(graph: Graph, table: Table, code_version: str) -> dict[str, Any]:
    """What every asset of the graph says about itself."""
    return {
        "group_name": table.group,
        "description": description(table),
        "owners": [OWNER],
        "kinds": graph.kinds,
        "code_version": code_version,
        "metadata": {
            "dagster/column_schema": column_schema(table),
            "dagster/table_name": f"lake.{table.full_name}",
        },
    }


def build_asset(graph: Graph, recipe: Recipe) -> dg.AssetsDefinition:
    """Make the asset of a recipe: load, compute, gate, hand over to the lake."""
    table = recipe.table

    @dg.asset(  # type: ignore[untyped-decorator]
        name=table.name,
        key_prefix=table.group,
        ins={name: read.asset_in() for name, read in recipe.reads.items()},
        partitions_def=graph.partitions,
        backfill_policy=graph.backfill_policy,
        io_manager_key="lake_io",
        required_resource_keys={"refusals"},
        output_required=False,
        dagster_type=dg.Any,
        **asset_spec_arguments(graph, table, recipe.code_version),
    )
    def asset(context: dg.AssetExecutionContext, **frames: pl.DataFrame) -> Any:
        dates = dates_of(context.partition_keys)
        rows = table.conform(recipe.make(dates, **frames))
        accepted, refused = gate(table, rows, graph.calendar)
        report_refusals(context, table, refused)
        notes = notes_of(accepted, recipe.notes)
        if recipe.pictures is not None:
            for day, picture in recipe.pictures(accepted, frames).items():
                notes.setdefault(day, {})["picture"] = dg.MetadataValue.md(picture)
        yield dg.Output(Produced(table, accepted, notes), metadata=DATE_BY_DATE)

    return cast("dg.AssetsDefinition", asset)


def gate(
    table: Table, rows: pl.DataFrame, calendar: TradingCalendar
) -> tuple[pl.DataFrame, dict[date, Refusal]]:
    """Hold rows against the table's blocking rules before anything is stored.

    Returns the rows of the dates that pass, and what is wrong with each date that does not.
    """
    dates = rows["trade_date"].unique().to_list()
    if not dates:
        return rows, {}
    inputs = Inputs({table.full_name: rows}, calendar.sessions(min(dates), max(dates)))
    refused: dict[date, Refusal] = {}
    for rule in rules_for(table.full_name):
        if not rule.blocking or rule.needs or rule.looks_back:
            continue
        failed = evaluate(rule, inputs, dates).filter(~pl.col("passed"))
        for row in failed.iter_rows(named=True):
            text = (
                f"{table.full_name} {row['trade_date']}: rule {rule.name} found {row['detail']}: "
                f"{row['sample']}. {rule.remedy}"
            )
            refused.setdefault(row["trade_date"], Refusal(cause_of(rule), text))
    return rows.filter(~pl.col("trade_date").is_in(list(refused))), refused


def report_refusals(
    context: dg.AssetExecutionContext, table: Table, refused: Mapping[date, Refusal]
) -> None:
    """Log refused dates and hand them to the table's `contract` check, which fails the run.

    The other tables and dates of the run go on. A run launched without that check fails here.
    """
    for day, refusal in refused.items():
        context.log.error(refusal.text)
        _LOG.error("refused", table=table.full_name, trade_date=day, reason=refusal.text)
    context.resources.refusals.add(table, refused)
    checks = context.run.asset_check_selection
    guard = dg.AssetCheckKey(dg.AssetKey(table.asset_path), CONTRACT)
    if refused and checks is not None and guard not in checks:
        raise dg.Failure(description=in_words(refused))


def notes_of(rows: pl.DataFrame, notes: Notes | None) -> dict[date, dict[str, Any]]:
    """The numbers of each date that the UI plots over partitions."""
    if notes is None or rows.is_empty():
        return {}
    return {
        row.pop("trade_date"): {k: v for k, v in row.items() if v is not None}
        for row in notes(rows).iter_rows(named=True)
    }
