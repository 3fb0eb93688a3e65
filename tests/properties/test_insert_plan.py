"""Whatever is committed can be repeated exactly, and fits a commit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from processors.analytics.decisions.analytics_rows import RowIdentity
from processors.analytics.decisions.insert_plan import (
    PLAN_BYTES_MAX,
    NotAPlan,
    Plan,
    PlannedRecord,
    decode_plan,
    encode_plan,
    kept_records,
    make_plan,
    token_of,
)

__all__: list[str] = []

PLACE = "tokenwire.records/3"
IDENTITIES = [("u", "s", f"t{number}", 1, "r", 0) for number in range(30)]


@st.composite
def logs(draw: st.DrawFn) -> tuple[list[PlannedRecord], set[RowIdentity], int]:
    """Records in offset order, with holes, duplicates and undecodable ones; which rows are there; the commit."""
    steps = draw(st.lists(st.integers(1, 5), min_size=1, max_size=60))
    first = draw(st.integers(0, 2**53))
    records, offset = [], first
    for step in steps:
        offset += step
        records.append(PlannedRecord(offset, draw(st.one_of(st.none(), st.sampled_from(IDENTITIES)))))
    return records, draw(st.sets(st.sampled_from(IDENTITIES))), first


@given(logs())
def test_every_row_is_inserted_once(log: tuple[list[PlannedRecord], set[RowIdentity], int]) -> None:
    """Plan after plan over the whole log: each identity is inserted once, unless it was there, and nothing twice."""
    records, present, first = log
    there, left = list(present), records
    while left:
        plan = make_plan(left, set(there), place=PLACE, first=first, bytes_max=120)
        there += [record.identity for record in kept_records(plan, left) if record.identity is not None]
        left = [record for record in left if record.offset > plan.last]
        first = plan.last + 1

    assert len(there) == len(set(there))
    assert set(there) == present | {record.identity for record in records if record.identity is not None}


@given(logs())
def test_committed_plan_is_repeated_exactly(log: tuple[list[PlannedRecord], set[RowIdentity], int]) -> None:
    """The decoded plan over the same records, and more behind them, gives the same rows and token."""
    records, present, first = log
    plan = make_plan(records, present, place=PLACE, first=first)
    decoded = decode_plan(encode_plan(plan))
    more = [*records, PlannedRecord(records[-1].offset + 1, IDENTITIES[0])]

    assert isinstance(decoded, Plan)
    assert decoded == plan
    assert kept_records(decoded, more) == kept_records(plan, records)
    assert token_of(PLACE, decoded.first, decoded.last, kept_records(decoded, more)) == plan.token


@given(st.integers(1, 6_000), st.integers(2, 3), st.integers(0, 2**53))
def test_plan_with_many_skips_is_shortened_until_it_fits(count: int, stride: int, first: int) -> None:
    """Every n-th record is undecodable: the plan fits a commit and still makes progress."""
    records = [
        PlannedRecord(first + number, None if number % stride else ("u", "s", f"t{number}", 1, "r", 0))
        for number in range(count)
    ]
    plan = make_plan(records, set(), place=PLACE, first=first)

    assert len(encode_plan(plan)) <= PLAN_BYTES_MAX
    assert plan.last >= first


@given(logs())
def test_token_tells_rows_apart(log: tuple[list[PlannedRecord], set[RowIdentity], int]) -> None:
    """The same offsets with another row, as after a topic was made anew, have another token."""
    records, _, first = log
    other = [PlannedRecord(record.offset, ("v", "s", "t", 1, "r", record.offset)) for record in records]
    renewed = make_plan(other, set(), place=PLACE, first=first)
    plan = make_plan(records, set(), place=PLACE, first=first)

    assert plan.token != renewed.token
    assert plan.token != make_plan(records, set(), place="tokenwire.records/4", first=first).token


@given(st.text(max_size=80))
def test_foreign_metadata_is_no_plan(text: str) -> None:
    """Whatever else stands in a commit is told apart, never an exception."""
    assert isinstance(decode_plan(text), NotAPlan)


@given(st.text(alphabet="plan1 0123456789-,", max_size=40))
def test_damaged_plans_never_raise(text: str) -> None:
    """Near-plans decode to a sound plan or to none."""
    decoded = decode_plan(f"plan1 {text}")

    assert isinstance(decoded, NotAPlan) or decoded.first <= decoded.last
