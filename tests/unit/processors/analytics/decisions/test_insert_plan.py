from __future__ import annotations

import pytest

from processors.analytics.decisions.insert_plan import (
    NotAPlan,
    Plan,
    PlannedRecord,
    decode_plan,
    encode_plan,
    kept_records,
    make_plan,
)

__all__: list[str] = []

ONE, TWO = ("u", "s", "t1", 1, "r", 0), ("u", "s", "t2", 1, "r", 0)


def test_present_repeated_and_undecodable_records_are_skipped() -> None:
    """Of each row one record is kept, unless the row is there; the commit's first offset may lie before the records."""
    records = [
        PlannedRecord(7, ONE),
        PlannedRecord(8, TWO),
        PlannedRecord(9, TWO),
        PlannedRecord(10, None),
        PlannedRecord(12, ("u", "s", "t3", 1, "r", 0)),
    ]
    plan = make_plan(records, {ONE}, place="p", first=5)

    assert (plan.first, plan.last, plan.skips) == (5, 12, frozenset({7, 9, 10}))
    assert [record.offset for record in kept_records(plan, records)] == [8, 12]
    assert encode_plan(plan) == f"plan1 5 12 {plan.token} 2,4-5"


def test_plan_of_nothing_is_a_mistake_of_the_caller() -> None:
    """There is no range to plan."""
    with pytest.raises(ValueError, match="at least one"):
        make_plan([], set(), place="p", first=0)


@pytest.mark.parametrize(
    "metadata",
    [
        "",
        "hello",
        "plan0 1 2 aa -",
        "plan1 1 2 aa",
        "plan1 x 2 aa -",
        "plan1 3 2 aa -",
        "plan1 1 2 aa 5",
        "plan1 1 2 aa 0-99999999999",
        "plan1 1 2 aa ,",
    ],
)
def test_metadata_that_is_no_plan(metadata: str) -> None:
    """Empty, foreign, of another version or damaged: told apart from a plan, with a reason."""
    decoded = decode_plan(metadata)

    assert isinstance(decoded, NotAPlan)
    assert decoded.reason


def test_plan_without_skips_is_read_back() -> None:
    """A dash stands for none."""
    plan = Plan(1, 2, frozenset(), "aa")

    assert encode_plan(plan) == "plan1 1 2 aa -"
    assert decode_plan(encode_plan(plan)) == plan
