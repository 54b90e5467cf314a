"""The participant files and what is made of them: complete, balanced, explained.

Belongs here: the participants' identities 1 and 2 and the tables of the `participants` group.
Does not belong here: the identities' arithmetic (`optrade.participants`), or identity 3, which
guards `raw.fii_stats`.
"""

from __future__ import annotations

from functools import partial

import polars as pl

from optrade.participants import unbalanced
from optrade.quality import remedies
from optrade.quality.rules import DAY, Inputs, Rule, counted, largest, missing, words
from optrade.tables.common import PARTICIPANTS, SEGMENTS

OI, VOLUME = "raw.participant_oi", "raw.participant_volume"
POSITIONS, ACTIVITY = "participants.positions", "participants.activity"
CROSS, LEDGER = "participants.cross", "participants.ledger"

_FIGURES = ("long_contracts", "short_contracts")
_LINE = words("{} {}", "participant", "segment")


def _lines(inputs: Inputs, table: str, names: tuple[str, ...]) -> pl.DataFrame:
    """Every day of the table crossed with every line its file must have."""
    days = inputs.frame(table).select(DAY).unique()
    lines = pl.DataFrame({"participant": names}).join(
        pl.DataFrame({"segment": SEGMENTS}), how="cross"
    )
    return days.join(lines, how="cross")


def _incomplete(inputs: Inputs, table: str, names: tuple[str, ...]) -> pl.DataFrame:
    return missing(inputs.frame(table), _lines(inputs, table, names), _LINE)


def _unbalanced(inputs: Inputs, table: str) -> pl.DataFrame:
    """Identity 1: `unbalanced` lists the breaks, three comparisons being made a segment."""
    frame = inputs.frame(table)
    breaks = unbalanced(frame)
    made = pl.DataFrame({"what": ("total_sides", "total_long", "total_short")})
    compared = frame.select(DAY, "segment").unique().join(made, how="cross")
    return counted(
        compared.join(breaks, on=[DAY, "segment", "what"], how="left", maintain_order="left"),
        pl.col("difference").is_not_null(),
        words("{} {}: {} against {}", "segment", "what", "left_contracts", "right_contracts"),
    )


def _stale(inputs: Inputs, table: str) -> pl.DataFrame:
    rows = inputs.with_previous(table, ("participant", "segment"), *_FIGURES)
    same = pl.all_horizontal(pl.col(name) == pl.col(f"{name}_before") for name in _FIGURES)
    traded = pl.any_horizontal(pl.col(name) > 0 for name in _FIGURES)
    return counted(rows.filter(traded), same, _LINE)


def _shares_off(inputs: Inputs) -> pl.DataFrame:
    sums = (
        inputs.frame(POSITIONS)
        .group_by(DAY, "segment")
        .agg(
            pl.col("long_share", "short_share").sum(),
            held=pl.len() - pl.col("long_share").null_count(),
        )
        .filter(pl.col("held") > 0)
        .sort(DAY, "segment")
    )
    off = pl.max_horizontal((pl.col("long_share") - 1).abs(), (pl.col("short_share") - 1).abs())
    return largest(sums, off, words("{}: {} and {}", "segment", "long_share", "short_share"))


def _against_positions(inputs: Inputs) -> pl.DataFrame:
    """Activity's holdings are those of positions, to the contract."""
    names = {
        f"{short}_{side}_oi_contracts": (segment, f"{side}_contracts")
        for short, segment in (("call", "index_call"), ("put", "index_put"))
        for side in ("long", "short")
    }
    held = (
        inputs.frame(POSITIONS)
        .group_by(DAY, "participant")
        .agg(
            pl.col(figure).filter(pl.col("segment") == segment).sum().alias(f"{name}_held")
            for name, (segment, figure) in names.items()
        )
    )
    rows = inputs.frame(ACTIVITY).join(held, on=[DAY, "participant"], maintain_order="left")
    off = pl.sum_horizontal((pl.col(n) - pl.col(f"{n}_held")).abs() for n in names)
    return counted(rows, off != 0, words("{}: {} contracts off", "participant", off))


def _one_sided_trades(inputs: Inputs) -> pl.DataFrame:
    """Over all classes, what was bought was sold; TOTAL rounds, so 2 contracts are allowed."""
    col = pl.col
    sums = (
        inputs.frame(ACTIVITY)
        .filter(col("call_bought_contracts").is_not_null())
        .group_by(DAY)
        .agg(
            calls=(col("call_bought_contracts") - col("call_sold_contracts")).sum(),
            puts=(col("put_bought_contracts") - col("put_sold_contracts")).sum(),
            futures=col("net_index_future_volume_contracts").sum(),
        )
    )
    off = pl.max_horizontal(col("calls", "puts", "futures").abs())
    return largest(sums, off, words("calls {}, puts {}, futures {}", "calls", "puts", "futures"))


def _unexplained(inputs: Inputs, table: str, figure: str, text: pl.Expr) -> pl.DataFrame:
    """A null has a reason, and a figure has none."""
    return counted(
        inputs.frame(table), pl.col(figure).is_null() != pl.col("reason").is_not_null(), text
    )


def _divergence(inputs: Inputs) -> pl.DataFrame:
    value = pl.col("crowd_vs_smart_divergence")
    return largest(
        inputs.frame(CROSS),
        value.abs(),
        words("{} over {} sessions", value.round(2), "history_n"),
    )


def _broken(inputs: Inputs) -> pl.DataFrame:
    """Identity 2: the residuals of segments in which nothing expired."""
    rows = inputs.frame(LEDGER)
    size = pl.when(pl.col("identity") != "expiry").then(pl.col("residual").abs())
    return largest(rows, size, words("{} {}: {}", "participant", "segment", "residual"))


def _residuals_uncancelled(inputs: Inputs) -> pl.DataFrame:
    """What one class lost another gained, on expiry days too."""
    sums = (
        inputs.frame(LEDGER)
        .drop_nulls("residual")
        .group_by(DAY, "segment")
        .agg(pl.col("residual").sum())
        .sort(DAY, "segment")
    )
    return largest(sums, pl.col("residual").abs(), words("{}: {}", "segment", "residual"))


def _raw_rules(table: str) -> tuple[Rule, ...]:
    return (
        Rule(
            name="complete",
            table=table,
            severity="ERROR",
            blocking=True,
            description="Four participant classes and TOTAL in each of six segments: 30 rows.",
            remedy=remedies.REFETCH,
            threshold=0,
            unit="lines missing",
            measure=partial(_incomplete, table=table, names=(*PARTICIPANTS, "TOTAL")),
        ),
        Rule(
            name="balanced",
            table=table,
            severity="ERROR",
            blocking=True,
            description="Identity 1: TOTAL long equals TOTAL short, and each is the sum of the "
            "classes within 1 contract (as on all 31 real days seen; volumes to the contract).",
            remedy=remedies.REFETCH,
            threshold=0,
            unit="sums that do not balance",
            measure=partial(_unbalanced, table=table),
        ),
        Rule(
            name="not_stale",
            table=table,
            severity="ERROR",
            blocking=True,
            description="The file is not the session before's under a new name: of its lines "
            "that are not zero at most 8 of 30 repeat both figures (2 on 52 real pairs of days).",
            remedy=remedies.REFETCH,
            threshold=8,
            unit="lines repeated",
            measure=partial(_stale, table=table),
            looks_back=True,
        ),
    )


RULES: tuple[Rule, ...] = (
    *_raw_rules(OI),
    *_raw_rules(VOLUME),
    Rule(
        name="complete",
        table=POSITIONS,
        severity="ERROR",
        blocking=True,
        description="Four participant classes in each of six segments: 24 rows.",
        remedy=remedies.REBUILD,
        threshold=0,
        unit="lines missing",
        measure=partial(_incomplete, table=POSITIONS, names=PARTICIPANTS),
    ),
    Rule(
        name="shares_sum_to_one",
        table=POSITIONS,
        severity="ERROR",
        blocking=True,
        description="The classes' shares of a segment add up to 1, long and short.",
        remedy=remedies.REBUILD,
        threshold=1e-9,
        unit="largest distance from 1",
        measure=_shares_off,
    ),
    Rule(
        name="agrees_with_positions",
        table=ACTIVITY,
        severity="ERROR",
        blocking=True,
        description="Calls and puts held are those of `participants.positions`, to the contract.",
        remedy=remedies.REBUILD,
        threshold=0,
        unit="classes that differ",
        measure=_against_positions,
        needs=(POSITIONS,),
    ),
    Rule(
        name="bought_equals_sold",
        table=ACTIVITY,
        severity="ERROR",
        blocking=False,
        description="Over all classes as many contracts were bought as sold, within 2 "
        "(equal on all 29 real days seen).",
        remedy=remedies.REBUILD,
        threshold=2,
        unit="contracts bought less sold, at most",
        measure=_one_sided_trades,
    ),
    Rule(
        name="nulls_explained",
        table=ACTIVITY,
        severity="ERROR",
        blocking=False,
        description="Traded figures are null exactly where a reason is given.",
        remedy=remedies.REBUILD,
        threshold=0,
        unit="rows unexplained",
        measure=partial(
            _unexplained,
            table=ACTIVITY,
            figure="call_volume_contracts",
            text=pl.col("participant"),
        ),
    ),
    Rule(
        name="nulls_explained",
        table=CROSS,
        severity="ERROR",
        blocking=False,
        description="The divergence is null exactly where a reason is given.",
        remedy=remedies.REBUILD,
        threshold=0,
        unit="rows unexplained",
        measure=partial(
            _unexplained,
            table=CROSS,
            figure="crowd_vs_smart_divergence",
            text=words("reason {}", pl.col("reason").fill_null("null")),
        ),
    ),
    Rule(
        name="divergence_is_ordinary",
        table=CROSS,
        severity="WARN",
        blocking=False,
        description="The crowd-against-smart gap lies within 6 standard deviations of its past "
        "(2.5 at most where the 30 real days held are read as consecutive).",
        remedy=remedies.LOOK,
        threshold=6,
        unit="standard deviations",
        measure=_divergence,
    ),
    Rule(
        name="nulls_explained",
        table=LEDGER,
        severity="ERROR",
        blocking=False,
        description="A residual is null exactly where a reason is given.",
        remedy=remedies.REBUILD,
        threshold=0,
        unit="rows unexplained",
        measure=partial(_unexplained, table=LEDGER, figure="residual", text=_LINE),
    ),
    Rule(
        name="positions_moved_by_trades",
        table=LEDGER,
        severity="ERROR",
        blocking=False,
        description="Identity 2: where nothing of a segment expired, net open interest moved by "
        "what was bought less sold, within 25 contracts. On 23 of 25 real days it is "
        "within 1; it was 13 on 2025-09-01 and 2 on 2026-07-09. A change of lot sizes breaks it "
        "rightly.",
        remedy=remedies.BACKFILL_PREVIOUS,
        threshold=25,
        unit="contracts unexplained, at most",
        measure=_broken,
    ),
    Rule(
        name="residuals_cancel",
        table=LEDGER,
        severity="ERROR",
        blocking=False,
        description="Over the classes the residuals of a segment cancel, within 4 contracts "
        "(2 on 26 real days): what one class lost by expiry another did.",
        remedy=remedies.REFETCH,
        threshold=4,
        unit="contracts left over, at most",
        measure=_residuals_uncancelled,
    ),
)
