"""What a verdict is: one row a day, no verdict where something was not seen."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optrade.quality import Inputs, Rule, evaluate
from optrade.quality.rules import counted, largest, missing, share, words
from optrade.tables import TABLES

DAYS = [date(2026, 7, 1), date(2026, 7, 2), date(2026, 7, 3)]
TABLE, OTHER = "participants.positions", "participants.cross"


def rows(*values: tuple[int, float | None]) -> pl.DataFrame:
    """Rows of (day number, value)."""
    return pl.DataFrame(
        [(DAYS[n], value) for n, value in values],
        schema={"trade_date": pl.Date, "value": pl.Float64},
        orient="row",
    )


def rule(measure, **changes: object) -> Rule:
    fields = {
        "name": "small",
        "table": TABLE,
        "severity": "ERROR",
        "blocking": True,
        "description": "Values are small.",
        "remedy": "look",
        "threshold": 1,
        "unit": "large values",
        "measure": measure,
    }
    return Rule(**(fields | changes))


def of(frame: pl.DataFrame, sessions=DAYS, **others: pl.DataFrame) -> Inputs:
    return Inputs({TABLE: frame} | {k.replace("__", "."): v for k, v in others.items()}, sessions)


LARGE, TEXT = pl.col("value") > 10, words("value {}", "value")


def measure(inputs: Inputs) -> pl.DataFrame:
    return counted(inputs.frame(TABLE), LARGE, TEXT)


def test_counts_threshold_and_sample() -> None:
    frame = rows((0, 11), (0, 12), (0, 1), (1, 13), (1, None), (2, 1))
    verdict = evaluate(rule(measure), of(frame), DAYS)
    assert verdict.columns == [
        "trade_date",
        "passed",
        "checked",
        "found",
        "threshold",
        "sample",
        "detail",
    ]
    assert verdict["passed"].to_list() == [False, True, True]
    assert verdict["checked"].to_list() == [3, 1, 1]
    assert verdict["found"].to_list() == [2.0, 1.0, 0.0]
    assert verdict["sample"].to_list() == ["value 11.0; value 12.0", "value 13.0", None]
    assert verdict["detail"][0] == "2 large values (at most 1) over 3 checked"


def test_sample_is_short() -> None:
    verdict = evaluate(rule(measure), of(rows(*((0, 20.0 + n) for n in range(9)))), DAYS)
    assert verdict["sample"][0] == "value 20.0; value 21.0; value 22.0"


def test_only_the_days_asked_for_that_have_rows() -> None:
    frame = rows((0, 1), (2, 1))
    assert evaluate(rule(measure), of(frame), DAYS)["trade_date"].to_list() == [DAYS[0], DAYS[2]]
    assert evaluate(rule(measure), of(frame), DAYS[1:])["trade_date"].to_list() == [DAYS[2]]
    assert evaluate(rule(measure), of(frame), [DAYS[1]]).is_empty()


def test_no_verdict_where_a_needed_table_is_absent() -> None:
    other = TABLES[OTHER].empty()
    verdict = evaluate(
        rule(measure, needs=(OTHER,)), of(rows((0, 1)), participants__cross=other), DAYS
    )
    assert verdict["passed"].to_list() == [None]
    assert verdict["checked"].to_list() == [0]
    assert verdict["detail"].to_list() == [f"not checked: {OTHER} has no rows of the day"]


def test_a_table_not_given_is_a_table_without_rows() -> None:
    verdict = evaluate(rule(measure, needs=(OTHER,)), of(rows((0, 1))), DAYS)
    assert verdict["passed"].to_list() == [None]
    assert evaluate(rule(measure), Inputs({}), DAYS).is_empty()


def test_no_verdict_on_the_first_day_held_when_looking_back() -> None:
    frame = rows((0, 1), (2, 1))
    verdict = evaluate(rule(measure, looks_back=True), of(frame), DAYS)
    assert verdict["passed"].to_list() == [None, None]
    verdict = evaluate(rule(measure, looks_back=True), of(frame, sessions=[DAYS[0], DAYS[2]]), DAYS)
    assert verdict["passed"].to_list() == [None, True]


def test_no_verdict_where_nothing_could_be_checked() -> None:
    verdict = evaluate(rule(measure), of(rows((0, None))), DAYS)
    assert verdict["passed"].to_list() == [None]
    assert verdict["detail"].to_list() == ["not checked: nothing to check"]


def test_share_and_largest() -> None:
    frame = rows((0, 11), (0, 1), (0, 1), (0, 12), (1, float("nan")), (2, -4))
    assert share(frame, LARGE, TEXT).sort("trade_date")["found"][0] == 0.5
    top = largest(frame, pl.col("value"), TEXT).sort("trade_date")
    assert top["found"].to_list() == [12.0, float("inf"), -4.0]
    assert top["sample"].to_list() == ["value 12.0; value 11.0; value 1.0", "value NaN", None]


def test_missing_looks_only_at_days_held() -> None:
    expected = rows((0, 1), (0, 2), (1, 1))
    measured = missing(rows((0, 2)), expected, TEXT)
    assert measured.rows() == [(DAYS[0], 2, 1.0, "value 1.0")]


def test_previous_rows_stand_beside_todays() -> None:
    frame = pl.DataFrame({"trade_date": DAYS[:2], "k": [None, None], "v": [1, 2]}).cast(
        {"k": pl.Int64}
    )
    paired = of(frame).with_previous(TABLE, ("k",), "v")
    assert paired.select("trade_date", "v", "v_before").rows() == [(DAYS[1], 2, 1)]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"table": "raw.nothing"}, "no table is called raw.nothing"),
        ({"needs": ("raw.nothing",)}, "no table is called raw.nothing"),
        ({"severity": "WARN"}, "only an ERROR can block"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(changes, said) -> None:
    with pytest.raises(ValueError, match=said):
        rule(measure, **changes)


VALUES = st.lists(
    st.tuples(st.integers(0, 2), st.none() | st.integers(-20, 20).map(float)), max_size=30
)


@given(VALUES, st.sets(st.sampled_from(DAYS)))
def test_a_days_verdict_ignores_the_other_days(values, asked) -> None:
    """Judging days together or one by one gives the same rows."""
    frame = rows(*values)
    for made in (counted, share, largest):
        looked = rule(lambda i, made=made: made(i.frame(TABLE), pl.col("value") > 0, TEXT))
        if made is largest:
            looked = rule(lambda i: largest(i.frame(TABLE), pl.col("value"), TEXT))
        together = evaluate(looked, of(frame), asked)
        alone = [
            evaluate(looked, of(frame.filter(pl.col("trade_date") == day)), [day])
            for day in sorted(asked)
        ]
        assert together.equals(pl.concat([*alone, together.clear()]))


@given(VALUES)
def test_counts_are_plain_counts(values) -> None:
    verdict = evaluate(rule(measure), of(rows(*values)), DAYS)
    for row in verdict.iter_rows(named=True):
        known = [v for n, v in values if DAYS[n] == row["trade_date"] and v is not None]
        large = sum(v > 10 for v in known)
        assert row["checked"] == len(known)
        assert row["passed"] == ((large <= 1) if known else None)
