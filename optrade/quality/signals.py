"""What is said of the market and what it was worth: follows from its parts, and looks back only.

Belongs here: rules of `analytics.sentiment` and `analytics.scorecard`. Does not belong here: the
tests' arithmetic (`optrade.signals.inference`).
"""

from __future__ import annotations

import polars as pl

from optrade.quality import remedies
from optrade.quality.rules import DAY, Inputs, Rule, counted, largest, words
from optrade.signals.sentiment import RULE, full_score, label_of
from optrade.tables.signals import PARTS

SENTIMENT, SCORECARD = "analytics.sentiment", "analytics.scorecard"

_RECORD = words("{} {} over {}", "signal", "label", "horizon_sessions")


def _weights_off(inputs: Inputs) -> pl.DataFrame:
    total = pl.sum_horizontal(pl.col(f"{part}_weight").abs() for part in PARTS)
    return largest(inputs.frame(SENTIMENT), (total - 1).abs(), words("weights add up to {}", total))


def _score_off(inputs: Inputs) -> pl.DataFrame:
    """Scores and labels of today's rule that do not follow from the parts beside them."""
    rows = inputs.frame(SENTIMENT).filter(pl.col("rule") == RULE)
    score = pl.col("score")
    wrong = score.ne_missing(full_score()) | pl.col("label").ne_missing(label_of(score))
    return counted(rows, wrong, words("{} {}", "score", "label"))


def _unexplained(inputs: Inputs) -> pl.DataFrame:
    null = pl.col("score").is_null()
    bad = (null != pl.col("reason").is_not_null()) | (null != pl.col("missing_parts").is_not_null())
    return counted(inputs.frame(SENTIMENT), bad, words("score {}, {}", "score", "reason"))


def _foreseen(inputs: Inputs) -> pl.DataFrame:
    """Records with a return not over by then, or begun before its label could be known."""
    early = (pl.col("lead_hours") <= 0).fill_null(value=False)
    later = (pl.col("last_outcome_date") > pl.col(DAY)).fill_null(value=False)
    text = words("{}: lead {} hours, last outcome {}", _RECORD, "lead_hours", "last_outcome_date")
    return counted(inputs.frame(SCORECARD), early | later, text)


def _unearned(inputs: Inputs) -> pl.DataFrame:
    """Verdicts that say more than their test, or tests that correction made stronger."""
    shown = pl.col("verdict").is_in(["edge_shown", "contrary_shown"])
    tested = pl.col("p_adjusted").is_not_null()
    kept = (pl.col("p_adjusted") <= 0.05).fill_null(value=False)
    weaker = (pl.col("p_adjusted") >= pl.col("p_value")).fill_null(value=True)
    right = (shown == kept) & (tested == pl.col("p_value").is_not_null()) & weaker
    return counted(inputs.frame(SCORECARD), ~right, words("{}: {}", _RECORD, "verdict"))


def _uncounted(inputs: Inputs) -> pl.DataFrame:
    """The labels of a signal share out its days."""
    keys = [DAY, "signal", "rule", "horizon_sessions"]
    sums = (
        inputs.frame(SCORECARD)
        .group_by(keys)
        .agg(pl.col("n").sum(), pl.col("all_n").first(), labels=pl.len())
        .sort(keys)
    )
    bad = (pl.col("n") != pl.col("all_n")) | (pl.col("labels") != 3)
    return counted(sums, bad, words("{} over {}: {}", "signal", "horizon_sessions", "n"))


RULES: tuple[Rule, ...] = (
    Rule(
        name="weights_add_up_to_one",
        table=SENTIMENT,
        severity="ERROR",
        blocking=True,
        description="The sizes of the weights add up to 1.",
        remedy=remedies.REBUILD,
        threshold=1e-9,
        unit="distance from 1",
        measure=_weights_off,
    ),
    Rule(
        name="score_follows_from_parts",
        table=SENTIMENT,
        severity="ERROR",
        blocking=True,
        description="Score and label are what the rule makes of the parts in the row.",
        remedy=remedies.REBUILD,
        threshold=0,
        unit="rows that differ",
        measure=_score_off,
    ),
    Rule(
        name="nulls_explained",
        table=SENTIMENT,
        severity="ERROR",
        blocking=False,
        description="The score is null exactly where a reason and the missing parts are given.",
        remedy=remedies.REBUILD,
        threshold=0,
        unit="rows unexplained",
        measure=_unexplained,
    ),
    Rule(
        name="nothing_looks_ahead",
        table=SCORECARD,
        severity="ERROR",
        blocking=True,
        description="Every label was known before the start of its return, and every return was "
        "over by the day of the record.",
        remedy=remedies.REBUILD,
        threshold=0,
        unit="records that look ahead",
        measure=_foreseen,
    ),
    Rule(
        name="verdicts_follow_from_tests",
        table=SCORECARD,
        severity="ERROR",
        blocking=True,
        description="An edge is shown exactly where the corrected p-value is at most 0.05, and "
        "correction never makes it smaller.",
        remedy=remedies.REBUILD,
        threshold=0,
        unit="verdicts unearned",
        measure=_unearned,
    ),
    Rule(
        name="labels_share_out_days",
        table=SCORECARD,
        severity="ERROR",
        blocking=True,
        description="The three labels of a signal share out all its days.",
        remedy=remedies.REBUILD,
        threshold=0,
        unit="signals that differ",
        measure=_uncounted,
    ),
)
