"""The record of labels: by hand, honest about the future, and unmoved by noise."""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from optrade.quality import RULES, Inputs, evaluate
from optrade.signals import LookAhead, labels, scorecard
from optrade.signals.labels import DIVERGENCE_RULE, SIGN_RULE
from optrade.tables import TABLES
from optrade.tables.signals import SIGNALS

WORDS = ("BULLISH", "BEARISH", "NEUTRAL")
SENTIMENT = "sentiment"


def card(market, given: pl.DataFrame, dates=None) -> pl.DataFrame:
    days = market.sessions if dates is None else dates
    return scorecard(given, market.index_close, days, market.sessions, market.closes)


def of(found: pl.DataFrame, day: date, label: str, horizon: int, signal: str = SENTIMENT) -> dict:
    where = (
        (pl.col("trade_date") == day)
        & (pl.col("label") == label)
        & (pl.col("horizon_sessions") == horizon)
        & (pl.col("signal") == signal)
    )
    return found.row(by_predicate=where, named=True)


def test_by_hand(make) -> None:
    """The return of a label begins at the next session's close and is over by the record's day."""
    moves = [0.0, 0.01, -0.02, 0.03, 0.01, -0.01, 0.02]
    market = make(7, np.array(moves))
    words = ["BULLISH", "BEARISH", "BULLISH", "BULLISH", None, "NEUTRAL", "BULLISH"]
    found = card(market, market.labels(sentiment=words))
    TABLES["analytics.scorecard"].pandera.validate(found)
    assert found["trade_date"].n_unique() == 6  # none on the session without a label
    last = market.sessions[-1]
    row = of(found, last, "BULLISH", 1)
    # Labels of sessions 0, 2 and 3 earn the moves of 2, 4 and 5; that of 1 the move of 3.
    assert (row["n"], row["independent_n"], row["all_n"]) == (3, 3, 4)
    assert row["mean_return"] == pytest.approx((-0.02 + 0.01 - 0.01) / 3)
    assert row["unconditional_return"] == pytest.approx((-0.02 + 0.03 + 0.01 - 0.01) / 4)
    assert (row["hit_rate"], row["base_rate"]) == (pytest.approx(1 / 3), 0.5)
    assert (row["verdict"], row["p_value"], row["hit_p_value"]) == ("too_few", None, None)
    assert row["current"]
    assert row["last_outcome_date"] == market.sessions[5]  # of session 3, the last realised
    assert row["lead_hours"] == pytest.approx(19)
    assert row["available_from"] == datetime.combine(
        last, datetime.min.time(), row["available_from"].tzinfo
    ) + timedelta(hours=20, minutes=30)
    bear = of(found, last, "BEARISH", 1)
    assert (bear["n"], bear["hit_rate"], bear["current"]) == (1, 0.0, False)
    five = of(found, last, "BULLISH", 5)
    assert (five["n"], five["all_n"]) == (1, 1)
    assert five["mean_return"] == pytest.approx(sum(moves[2:7]))
    neutral = of(found, last, "NEUTRAL", 1)
    assert (neutral["verdict"], neutral["hit_rate"]) == ("no_claim", None)
    first = of(found, market.sessions[1], "BULLISH", 1)
    assert (first["n"], first["mean_return"], first["last_outcome_date"]) == (0, None, None)


def test_a_missing_close_leaves_its_returns_out(make) -> None:
    market = make(7, np.full(7, 0.01))
    given = market.labels(sentiment=["BULLISH"] * 7)
    gone = market.index_close.filter(pl.col("trade_date") != market.sessions[3])
    found = scorecard(given, gone, market.sessions, market.sessions, market.closes)
    row = of(found, market.sessions[-1], "BULLISH", 1)
    assert row["n"] == 5 - 2  # the sessions 1 and 2 would earn the moves to and from it


def noise(rng: np.random.Generator, n: int) -> list[str]:
    """A label that lasts some sessions and knows nothing."""
    change = rng.random(n) > 0.8
    start = np.maximum.accumulate(np.where(change, np.arange(n), 0))
    return [WORDS[k] for k in rng.integers(0, 3, n)[start]]


def test_noise_shows_no_edge(make) -> None:
    """60 markets of seven signals that know nothing: 28 tests each, and hardly a finding."""
    false, tests, plain = 0, 0, 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        market = make(500, 0.01 * rng.standard_t(5, 500))
        given = market.labels(**{signal: noise(rng, 500) for signal in SIGNALS})
        found = card(market, given, market.sessions[-1:])
        false += found["verdict"].is_in(["edge_shown", "contrary_shown"]).any()
        tests += found["p_value"].count()
        plain += (found["p_value"] < 0.05).sum()
    assert tests > 1_400
    assert 0.02 < plain / tests < 0.08  # uncorrected, every twentieth test would be "an edge"
    assert false <= 6  # 5 % of 60 markets would be 3


def foresight(market, ahead: int) -> list[str]:
    """Says which way the session `ahead` will go."""
    later = np.concatenate([market.returns[ahead:], np.zeros(ahead)])
    return ["BULLISH" if r > 0 else "BEARISH" for r in later]


@pytest.mark.parametrize(("flip", "verdict"), [(False, "edge_shown"), (True, "contrary_shown")])
def test_a_signal_that_knows_is_seen(quiet, flip, verdict) -> None:
    rng = np.random.default_rng(2)
    knows = foresight(quiet, 2)
    guess = rng.choice(["BULLISH", "BEARISH"], len(knows))
    words = [k if rng.random() < 0.4 else str(g) for k, g in zip(knows, guess, strict=True)]
    if flip:
        words = [{"BULLISH": "BEARISH", "BEARISH": "BULLISH"}[word] for word in words]
    row = of(card(quiet, quiet.labels(sentiment=words)), quiet.sessions[-1], "BULLISH", 1)
    assert row["verdict"] == verdict
    assert row["p_adjusted"] <= 0.05
    assert (row["hit_rate"] > row["base_rate"]) is not flip
    assert (row["t_statistic"] > 0) is not flip
    assert row["p_value"] == pytest.approx(math.erfc(abs(row["t_statistic"]) / math.sqrt(2)))


def test_every_test_of_the_day_is_corrected(make) -> None:
    """Holm: the least p-value counts times the number of tests, the next times one less, ..."""
    rng = np.random.default_rng(8)
    market = make(500, 0.01 * rng.standard_normal(500))
    given = {signal: noise(rng, 500) for signal in SIGNALS[:3]}
    found = card(market, market.labels(**given), market.sessions[-1:])
    for plain, corrected in (("p_value", "p_adjusted"), ("hit_p_value", "hit_p_adjusted")):
        rows = found.drop_nulls(plain).sort(plain)
        worst, by_hand = 0.0, []
        for rank, p in enumerate(rows[plain]):
            worst = max(worst, (rows.height - rank) * p)
            by_hand.append(min(worst, 1.0))
        assert rows.height == 12  # three signals, two labels, two horizons
        assert rows[corrected].to_list() == pytest.approx(by_hand)


def test_a_label_made_from_tomorrow_s_file_is_refused(quiet) -> None:
    """It reads the next session's files, which appear after the close its return begins at."""
    honest = quiet.labels(sentiment=foresight(quiet, 1))
    card(quiet, honest)
    evening_after = dict(zip(quiet.sessions, quiet.sessions[1:], strict=False))
    ahead = honest.with_columns(
        trade_date=pl.col("trade_date").shift(1),
    ).drop_nulls("trade_date")
    assert ahead["available_from"].dt.date().to_list() == [
        evening_after[day] for day in ahead["trade_date"]
    ]
    with pytest.raises(LookAhead, match=r"sentiment of 2024-01-01 is available from 2024-01-02"):
        card(quiet, ahead)


def test_what_the_guard_keeps_out(quiet) -> None:
    """Were the moment it could be known falsely stated, such a label would look like an edge."""
    tomorrow = quiet.labels(sentiment=foresight(quiet, 2))
    row = of(card(quiet, tomorrow), quiet.sessions[-1], "BULLISH", 1)
    assert (row["verdict"], row["hit_rate"]) == ("edge_shown", 1.0)


@pytest.mark.parametrize(
    "damage",
    [
        {"lead_hours": pl.lit(-1.0)},
        {"last_outcome_date": pl.col("trade_date") + pl.duration(days=1)},
    ],
)
def test_stored_rows_that_look_ahead_fail_their_rule(quiet, damage) -> None:
    found = card(quiet, quiet.labels(sentiment=["BULLISH"] * 400), quiet.sessions[-1:])
    rule = next(r for r in RULES if r.full_name == "analytics.scorecard.nothing_looks_ahead")
    for rows, passed in ((found, True), (found.with_columns(**damage).cast(found.schema), False)):
        inputs = Inputs({"analytics.scorecard": rows}, quiet.sessions)
        verdict = evaluate(rule, inputs, quiet.sessions)
        assert verdict["passed"].to_list() == [passed]


def test_a_row_knows_neither_the_other_dates_nor_the_future(make) -> None:
    rng = np.random.default_rng(5)
    market = make(620, 0.01 * rng.standard_normal(620))
    given = market.labels(sentiment=noise(rng, 620), positioning_fii=noise(rng, 620))
    some = [market.sessions[i] for i in (0, 1, 7, 300, 501, 555, 618, 619)]
    together = card(market, given)
    for day in some:
        expected = together.filter(pl.col("trade_date") == day)
        assert card(market, given, [day]).equals(expected)
        at = market.sessions.index(day)
        window = market.sessions[max(0, at - 500) : at + 1]
        held = pl.col("trade_date").is_in(window)
        alone = scorecard(
            given.filter(held), market.index_close.filter(held), [day], window, market.closes
        )
        assert alone.equals(expected)


def test_only_the_last_five_hundred_sessions_count(make) -> None:
    market = make(620, np.full(620, 0.001))
    row = of(card(market, market.labels(sentiment=["BULLISH"] * 620)), market.sessions[-1],
             "BULLISH", 1)  # fmt: skip
    assert (row["n"], row["verdict"]) == (498, "too_few")  # and nothing to hold it against


def test_each_version_of_a_rule_has_its_own_record(quiet) -> None:
    given = quiet.labels(sentiment=["BULLISH"] * 400)
    newer = pl.col("trade_date") >= quiet.sessions[300]
    rule = pl.when(newer).then(pl.lit("rule-2")).otherwise("rule").alias("rule")
    found = card(quiet, given.with_columns(rule), quiet.sessions[-1:])
    counts = found.filter(pl.col("label") == "BULLISH", pl.col("horizon_sessions") == 1)
    assert dict(counts.select("rule", "n").iter_rows()) == {"rule-1": 300, "rule-2": 98}
    assert dict(counts.select("rule", "current").iter_rows()) == {"rule-1": False, "rule-2": True}


def test_labels_of_the_tables() -> None:
    day = date(2026, 7, 1)

    def frame(name: str, *rows: dict) -> pl.DataFrame:
        table = TABLES[name]
        base = dict.fromkeys(table.schema) | {"trade_date": day, "source": "exchange"}
        return pl.DataFrame([base | row for row in rows], schema=table.schema)

    activity = frame(
        "participants.activity",
        {"participant": "FII", "positioning": "BEARISH", "positioning_rule": "positioning-1"},
        {"participant": "PRO", "positioning": None, "positioning_rule": "positioning-1"},
    )
    cross = frame(
        "participants.cross", {"smart_money_direction": -0.3, "crowd_vs_smart_divergence": 1.0}
    )
    reading = frame("analytics.sentiment", {"label": "NEUTRAL", "rule": "sentiment-1"})
    found = labels(activity, cross, reading)
    assert found.select("signal", "rule", "label").rows() == [
        ("crowd_vs_smart_divergence", DIVERGENCE_RULE, "BEARISH"),
        ("positioning_fii", "positioning-1", "BEARISH"),
        ("sentiment", "sentiment-1", "NEUTRAL"),
        ("smart_money_direction", SIGN_RULE, "BEARISH"),
    ]
    assert set(found["available_from"].dt.strftime("%Y-%m-%d %H:%M %z")) == {
        "2026-07-01 20:30 +0530"
    }
    assert set(found["signal"]) <= set(SIGNALS)
    quiet_day = cross.with_columns(
        smart_money_direction=pl.lit(0.0), crowd_vs_smart_divergence=pl.lit(-0.99)
    )
    words = labels(activity.head(0), quiet_day, reading.head(0))["label"].to_list()
    assert words == ["NEUTRAL", "NEUTRAL"]
    unknown = cross.with_columns(
        smart_money_direction=pl.lit(None, pl.Float64),
        crowd_vs_smart_divergence=pl.lit(None, pl.Float64),
    )
    assert labels(activity.head(0), unknown, reading.head(0)).is_empty()


def test_no_labels_no_rows(quiet) -> None:
    assert card(quiet, quiet.labels(sentiment=[None] * 400)).is_empty()
