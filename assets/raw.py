"""The `raw` group: the exchange's daily files, fetched, kept, parsed and stored as published.

Belongs here: one step that fetches a range of days and commits all raw tables together, each
date on its own merits. Does not belong here: what a file means (see `optrade.formats`) and how
it is asked for (see `resources.nse`).
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
import polars as pl

from assets.building import Graph, Refusal, asset_spec_arguments, gate, report_refusals
from assets.partitions import dates_of
from optrade.errors import InputRefused
from optrade.formats import market_activity, parse
from optrade.formats.archive import is_optional
from optrade.tables import Table
from optrade.tables.raw import (
    FII_STATS,
    FILE_KINDS,
    FO_BHAVCOPY,
    INDEX_CLOSE,
    PARTICIPANT_OI,
    PARTICIPANT_VOLUME,
    SOURCE_FILES,
)
from resources.lake import Lake, Slice
from resources.lake_files import KeptFileDamaged, keep_raw, read_raw
from resources.lake_io import DATE_BY_DATE, Committed, LakeResource
from resources.logs import carried
from resources.nse import Answer, ArchiveResource, Known

CODE_VERSION = "1"
FILE_TABLES: Mapping[str, Table] = {
    "fo_bhavcopy": FO_BHAVCOPY,
    "participant_oi": PARTICIPANT_OI,
    "participant_volume": PARTICIPANT_VOLUME,
    "fii_stats": FII_STATS,
    "index_close": INDEX_CLOSE,
}
"""The table each kind of file fills; the market activity report completes the bhavcopy."""
FETCH_THREADS = 4
PARSE_THREADS = 2
Row = dict[str, Any]


class FetchConfig(dg.Config):
    """Where a run asks for the files."""

    base_url: str = ""
    """Another host or directory than the configured one."""


def build_raw(graph: Graph) -> dg.AssetsDefinition:
    """The step that fills every raw table of the close lane."""
    tables = {"source_files": SOURCE_FILES, **FILE_TABLES}
    fetched = dg.AssetKey(SOURCE_FILES.asset_path)

    @dg.multi_asset(
        name="exchange_files",
        specs=[
            dg.AssetSpec(
                dg.AssetKey(table.asset_path),
                deps=[] if table is SOURCE_FILES else [fetched],
                skippable=True,
                partitions_def=graph.partitions,
                **asset_spec_arguments(graph, table, CODE_VERSION),
            ).with_io_manager_key("lake_io")
            for table in tables.values()
        ],
        can_subset=True,
        backfill_policy=graph.backfill_policy,
        required_resource_keys={"archive", "refusals", "lake"},
        pool="exchange_archive",
    )
    def exchange_files(
        context: dg.AssetExecutionContext, config: FetchConfig
    ) -> Iterator[dg.Output[Committed]]:
        dates = dates_of(context.partition_keys)
        chosen = [t for t in tables.values() if _key(t) in context.selected_asset_keys]
        lake: LakeResource = context.resources.lake
        load = Load(graph, lake.lake)
        load.files = {(r["trade_date"], r["kind"]): r for r in _rows(lake.lake, dates)}
        if SOURCE_FILES in chosen:
            load.fetch(context.resources.archive.at(config.base_url), dates)
        slices = [load.table(kind) for kind, table in FILE_TABLES.items() if table in chosen]
        if SOURCE_FILES in chosen:
            slices.append(load.source_files(dates))
        commit = lake.commit(
            [s for s in slices if s.dates],
            run_id=context.run.run_id,
            code_versions={t.full_name: CODE_VERSION for t in chosen},
        )
        for table in chosen:
            report_refusals(context, table, load.refused.get(table.full_name, {}))
            results = commit.slices.get(table.full_name, {})
            notes = {d: load.notes(table, d) for d in results}
            yield dg.Output(
                Committed(table, results, notes),
                output_name=_key(table).to_python_identifier(),
                metadata=DATE_BY_DATE,
            )

    return exchange_files


def _key(table: Table) -> dg.AssetKey:
    return dg.AssetKey(table.asset_path)


def _rows(lake: Lake, dates: Sequence[date]) -> Iterator[Row]:
    return lake.read(SOURCE_FILES, dates).iter_rows(named=True)


def _known(lake: Lake, row: Row | None) -> Known | None:
    """What to ask changes against: a held file whose bytes are still there."""
    if row is None or row["status"] != "held":
        return None
    if not (lake.location.root / row["stored_as"]).is_file():
        return None
    return Known(row["url"], row["etag"], row["last_modified"])


def _source_row(
    lake: Lake, at: tuple[date, str], answer: Answer, before: Row | None, market: str
) -> Row:
    """The row of one file after an answer.

    What is held is never given up for a worse answer, and an answer heard before is no news.
    """
    if before is not None:
        if answer.status == "unchanged":  # What was said of a newer file is over.
            return {**before, "detail": None}
        held_stays = before["status"] == "held" and answer.status != "found"
        no_news = before["status"] == answer.status == "not_published"
        if held_stays or no_news:
            return before
    day, kind = at
    row: Row = {
        "trade_date": day, "kind": kind, "status": answer.status, "url": answer.url,
        "sha256": None, "bytes": None, "fetched_at": None, "stored_as": None,
        "etag": answer.etag, "last_modified": answer.last_modified, "detail": answer.detail,
        "source": "simulated" if market == "simulated" else "exchange",
    }  # fmt: skip
    if answer.status != "found" or answer.content is None:
        return row
    stored_as, sha256 = keep_raw(lake.location.root, kind, day, answer.file_name, answer.content)
    if before and before["sha256"] == sha256:
        return {**before, "status": "held", "detail": None}
    return row | {
        "status": "held",
        "sha256": sha256,
        "bytes": len(answer.content),
        "fetched_at": datetime.now(UTC),
        "stored_as": stored_as,
    }


def _refusal(error: InputRefused | KeptFileDamaged) -> Refusal:
    damaged = isinstance(error, KeptFileDamaged)
    return Refusal("file_damaged" if damaged else "file_unreadable", str(error))


@dataclass
class Load:
    """Kept files on their way into tables; a file that is refused takes only its date with it."""

    graph: Graph
    lake: Lake
    files: dict[tuple[date, str], Row] = field(default_factory=dict)
    before: dict[tuple[date, str], Row] = field(default_factory=dict)
    refused: dict[str, dict[date, Refusal]] = field(default_factory=dict)

    def fetch(self, resource: ArchiveResource, dates: Sequence[date]) -> None:
        """Ask the archive for every file of the dates and keep what comes.

        A required file that the archive would not give (403, a page in its place) is refused
        for its date, also when an earlier copy is held: the copy stays, the run says so.
        """
        self.before = dict(self.files)
        market = self.graph.market
        wanted = [(day, kind) for day in dates for kind in FILE_KINDS]
        threads = ThreadPoolExecutor(FETCH_THREADS, initializer=carried())
        with resource.open(market) as archive, threads as pool:
            answers = pool.map(
                lambda at: archive.fetch(
                    kind=at[1], day=at[0], known=_known(self.lake, self.before.get(at))
                ),
                wanted,
            )
            for at, answer in zip(wanted, answers, strict=True):
                self.files[at] = _source_row(self.lake, at, answer, self.files.get(at), market)
                day, kind = at
                if answer.status == "blocked" and not is_optional(kind):
                    table = FILE_TABLES[kind].full_name
                    refusal = Refusal("file_withheld", f"{answer.url}: {answer.detail}")
                    self.refused.setdefault(table, {})[day] = refusal

    def table(self, kind: str) -> Slice:
        """Every accepted date of one kind, as a slice of its table."""
        table = FILE_TABLES[kind]
        blocked = self.refused.get(table.full_name, {})
        days = [d for d, of_kind in self.files if of_kind == kind and d not in blocked]
        with ThreadPoolExecutor(PARSE_THREADS) as pool:
            parsed = pool.map(lambda day: self._parsed(kind, day), days)
            frames = [frame for frame in parsed if frame is not None]
        rows = pl.concat(frames) if frames else table.empty()
        accepted, refused = gate(table, rows, self.graph.calendar)
        for day, refusal in refused.items():
            self._refuse(kind, day, refusal)
        return Slice(table, tuple(sorted(accepted["trade_date"].unique())), accepted)

    def _parsed(self, kind: str, day: date) -> pl.DataFrame | None:
        row = self.files[day, kind]
        if row["stored_as"] is None:
            return None
        try:
            frame = self._parse(row)
        except (InputRefused, KeptFileDamaged) as refusal:
            self._refuse(kind, day, _refusal(refusal))
            return None
        return self._completed(frame, day) if kind == "fo_bhavcopy" else frame

    def _parse(self, row: Row) -> pl.DataFrame:
        content = read_raw(self.lake.location.root, row["stored_as"], row["sha256"])
        name = row["url"].rsplit("/", 1)[-1]
        return parse(
            row["kind"], name, content, row["trade_date"],
            source=row["source"], sha256=row["sha256"],
        )  # fmt: skip

    def _completed(self, bhavcopy: pl.DataFrame, day: date) -> pl.DataFrame:
        """The bhavcopy with what only the market activity report has, where that is held."""
        row = self.files.get((day, "fo_market_activity"))
        if row is None or row["stored_as"] is None:
            return bhavcopy
        try:
            activity = self._parse(row)
        except (InputRefused, KeptFileDamaged) as refusal:
            self._refuse("fo_market_activity", day, _refusal(refusal))
            return bhavcopy
        lots = market_activity.lot_sizes(activity).rename({"lot_size": "_lot"})
        completed = market_activity.with_premium_turnover(bhavcopy, activity)
        return FO_BHAVCOPY.conform(
            completed.join(
                lots, on=["trade_date", "underlying", "expiry"], how="left"
            ).with_columns(lot_size=pl.coalesce("lot_size", "_lot"))
        )

    def _refuse(self, kind: str, day: date, refusal: Refusal) -> None:
        table, text = FILE_TABLES.get(kind, SOURCE_FILES), refusal.text
        self.refused.setdefault(table.full_name, {})[day] = refusal
        before = self.before.get((day, kind))
        if (
            before
            and before["status"] == "held"
            and before["sha256"] != self.files[day, kind]["sha256"]
        ):
            self.files[day, kind] = {**before, "detail": f"a newer file was refused: {text}"}
        else:
            self.files[day, kind] = {**self.files[day, kind], "status": "refused", "detail": text}

    def source_files(self, dates: Sequence[date]) -> Slice:
        """The rows of every answer, refusals marked."""
        rows = pl.DataFrame(list(self.files.values()), schema=SOURCE_FILES.schema)
        return Slice(SOURCE_FILES, tuple(dates), SOURCE_FILES.conform(rows))

    def notes(self, table: Table, day: date) -> dict[str, Any]:
        """What a materialization of one date says of its file."""
        if table is SOURCE_FILES:
            of_day = [row["status"] for (d, _), row in self.files.items() if d == day]
            return {f"files_{status}": of_day.count(status) for status in sorted(set(of_day))}
        kind = next(k for k, t in FILE_TABLES.items() if t is table)
        row = self.files[day, kind]
        return {"source_url": row["url"], "source_sha256": row["sha256"]}
