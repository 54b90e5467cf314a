"""What every table is made from, in one form: both lanes, the recipes and what is not one.

Belongs here: the inputs of each table as the code reads them, and its code version. Does not
belong here: following them through the lake (see `explain`), computing (see `recompute`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from assets import candles, minutes, premium, raw
from assets.building import Graph, Recipe
from assets.minute_work import Maths
from optrade.chain.premium_history import HISTORY_SESSIONS
from optrade.explanation import Upstream
from optrade.tables import Table
from optrade.tables.candles import CANDLES
from optrade.tables.exposure import GAMMA_EXPOSURE_MINUTE
from optrade.tables.participants import POSITIONS
from optrade.tables.premium import PREMIUM_CLOSE, PREMIUM_MINUTE, PREMIUM_OVERLAY
from optrade.tables.raw_live import INSTRUMENTS
from optrade.tables.snapshots import CHAIN_CLOSE, CHAIN_MINUTE
from optrade_dagster.definitions import build_graph, build_maths, build_recipes
from resources.settings import Settings

KINDS: Mapping[str, tuple[str, ...]] = {
    table.full_name: (kind, "fo_market_activity") if kind == "fo_bhavcopy" else (kind,)
    for kind, table in raw.FILE_TABLES.items()
}
"""The kinds of files each raw table of the close lane is read from."""
FOLLOWED_SESSIONS = 1
"""Earlier sessions that a chain follows to their files; a longer history is listed."""


@dataclass(frozen=True)
class Lineage:
    """The graph's tables and what they read."""

    graph: Graph
    recipes: Mapping[str, Recipe]
    maths: Maths

    @classmethod
    def of(cls, settings: Settings) -> Lineage:
        """The lineage of an environment's settings."""
        graph = build_graph(settings)
        recipes = {r.table.full_name: r for r in build_recipes(settings, graph)}
        return cls(graph, recipes, build_maths(settings))

    def inputs(self, table: Table) -> tuple[Upstream, ...]:
        """What the rows of a table are made from; none of what is read from files."""
        name = table.full_name
        if recipe := self.recipes.get(name):
            return tuple(
                Upstream(read.table, read.columns, read.where, read.sessions_before)
                for read in recipe.reads.values()
            )
        if table is PREMIUM_OVERLAY:
            return tuple(
                Upstream(t, sessions_before=HISTORY_SESSIONS)
                for t in (PREMIUM_CLOSE, PREMIUM_MINUTE)
            )
        parents = next((found for t, found in minutes.LINEAGE if t is table), ())
        return (*(Upstream(parent) for parent in parents), *_BESIDE.get(name, ()))

    def code_version(self, table: Table) -> str:
        """The version of the code that makes a table."""
        if recipe := self.recipes.get(table.full_name):
            return recipe.code_version
        if table is PREMIUM_OVERLAY:
            return premium.CODE_VERSION
        if table is CANDLES:
            return candles.CODE_VERSION
        minute_lane = table in minutes.MINUTE_TABLES
        return minutes.CODE_VERSION if minute_lane else raw.CODE_VERSION

    def depth(self, table: Table) -> int:
        """How many tables lie between a table and the files; what feeds another lies lower."""
        parents = [read.table for read in self.inputs(table) if read.table is not table]
        return max((1 + self.depth(parent) for parent in parents), default=0)

    def kinds(self, table: Table) -> tuple[str, ...]:
        """The kinds of the exchange's files that a table comes from, however far up."""
        if table.full_name in KINDS:
            return KINDS[table.full_name]
        parents = [read.table for read in self.inputs(table) if read.table is not table]
        found = [kind for parent in parents for kind in self.kinds(parent)]
        return tuple(dict.fromkeys(found))


def _before(table: Table) -> Upstream:
    return Upstream(table, sessions_before=1, own_day=False)


_BESIDE: Mapping[str, tuple[Upstream, ...]] = {
    CHAIN_MINUTE.full_name: (_before(CHAIN_CLOSE),),
    GAMMA_EXPOSURE_MINUTE.full_name: (_before(POSITIONS),),
    PREMIUM_MINUTE.full_name: (
        Upstream(INSTRUMENTS),
        Upstream(PREMIUM_MINUTE, sessions_before=HISTORY_SESSIONS, own_day=False),
    ),
}
"""What the minute lane reads of other days or of what it holds, beside `minutes.LINEAGE`."""
