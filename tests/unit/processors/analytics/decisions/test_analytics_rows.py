from __future__ import annotations

import msgspec
import pytest

from processors.analytics.decisions.analytics_rows import COLUMNS, fault_of, identity_of, row_of
from schemas.records import AttemptOutcome, TurnRecord
from schemas.session_events import Usage

__all__: list[str] = []

OUTCOME = AttemptOutcome(
    reason="complete",
    cause="crash",
    error_code="",
    provider="openai",
    model="m",
    usage=Usage(
        input_tokens=1,
        output_tokens=2,
        cached_tokens=3,
        reasoning_tokens=4,
        cache_write_tokens=16,
        estimated=True,
        stated_cost_nano_usd=17,
    ),
    cost_nano_usd=5,
    price_version="2026-01",
    text_sha256="ab",
    text_chars=6,
    chunks=7,
    accepted_at_us=8,
    dequeued_at_us=9,
    requested_at_us=10,
    first_chunk_at_us=11,
    published_at_us=0,
    ended_at_us=13,
    ttft_us=14,
    tpot_us=None,
    history_messages_cut=15,
    metadata={"ticket": "4711"},
)
PART = TurnRecord(
    user="u",
    tenant="t",
    session="s",
    turn="x",
    attempt=2,
    run="r",
    prompt_id="p",
    part=1,
    seq=3,
    texts=("a",),
    gaps_us=(4,),
)


def test_last_part_fills_every_column() -> None:
    """Each column holds the record's own value; a hop that did not happen is NULL."""
    last = TurnRecord(**{name: getattr(PART, name) for name in PART.__struct_fields__} | {"outcome": OUTCOME})
    row = dict(zip(COLUMNS, row_of(last, recorded_at_ms=99), strict=True))

    assert (row["last"], row["reason"], row["cause"], row["recorded_at"]) == (True, "complete", "crash", 99)
    assert (row["input_tokens"], row["output_tokens"], row["cached_tokens"], row["reasoning_tokens"]) == (1, 2, 3, 4)
    assert (row["usage_estimated"], row["cost_nano_usd"], row["price_version"]) == (True, 5, "2026-01")
    assert (row["cache_write_tokens"], row["stated_cost_nano_usd"]) == (16, 17)
    assert (row["text_sha256"], row["text_chars"], row["chunks"], row["history_messages_cut"]) == ("ab", 6, 7, 15)
    assert (row["accepted_at"], row["dequeued_at"], row["requested_at"], row["first_chunk_at"]) == (8, 9, 10, 11)
    assert (row["published_at"], row["ended_at"], row["ttft_us"], row["tpot_us"]) == (None, 13, 14, None)
    assert (row["texts"], row["gaps_us"], row["seq"], row["part"]) == (["a"], [4], 3, 1)
    assert row["metadata"] == {"ticket": "4711"}


def test_earlier_part_knows_no_outcome() -> None:
    """Its outcome columns hold defaults and `last` is false."""
    row = dict(zip(COLUMNS, row_of(PART, recorded_at_ms=99), strict=True))

    assert (row["last"], row["reason"], row["accepted_at"], row["ttft_us"], row["chunks"]) == (False, "", None, None, 0)
    assert (row["provider"], row["cost_nano_usd"], row["price_version"], row["usage_estimated"]) == ("", 0, "", False)


def test_identity_is_the_part_or_the_outcome() -> None:
    """User, session, turn, attempt, run and the part's number; an attempt has one outcome, whichever part brings it."""
    assert identity_of(PART) == ("u", "s", "x", 2, "r", 1)
    outcomes = [msgspec.structs.replace(PART, part=part, outcome=OUTCOME) for part in (0, 1, 7)]
    assert {identity_of(record) for record in outcomes} == {("u", "s", "x", 2, "r", -1)}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"attempt": -1}, "attempt"),
        ({"attempt": 65_536}, "attempt"),
        ({"seq": 2**32}, "seq"),
        ({"gaps_us": (1, -1)}, "gaps_us"),
        ({"outcome": AttemptOutcome(reason="void", accepted_at_us=5_000_000_000_000_000)}, "accepted_at_us"),
        ({"outcome": AttemptOutcome(reason="void", usage=Usage(output_tokens=-1))}, "output_tokens"),
    ],
)
def test_number_that_no_column_holds_is_named(changes: dict[str, object], name: str) -> None:
    """Such a record is refused by name instead of cut to fit."""
    values = {field: getattr(PART, field) for field in PART.__struct_fields__} | changes

    assert fault_of(TurnRecord(**values)) == name
    assert fault_of(PART) is None
