"""A `TurnRecord` part becomes one row of `tokenwire.turn_parts`. Pure and exact.

Microseconds and nano-dollars stay the integers they are; a hop time of 0 ("did not happen") becomes NULL. Parts before
the last one know no outcome: their columns hold the types' defaults and the view never shows them.
`recorded_at_ms` is the log's own stamp of the record: it is the same however often the record is read again.

An attempt has one outcome, so the row that carries it is known by the attempt, and every other row by its part's
number: a part of a worker that did not know that it had been replaced can't take the outcome's place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from schemas.records import AttemptOutcome, TurnRecord

__all__ = ["COLUMNS", "PROBE", "TABLE", "Row", "RowIdentity", "fault_of", "identity_of", "row_of"]

TABLE: Final = "tokenwire.turn_parts"

Value: TypeAlias = str | int | bool | list[str] | list[int] | dict[str, str] | None
Row: TypeAlias = tuple[Value, ...]
RowIdentity: TypeAlias = tuple[str, str, str, int, str, int]
"""(user, session, turn, attempt, run, part) names a row for good; the part with the outcome is called OUTCOME."""

OUTCOME: Final = -1

UINT16_MAX: Final = 2**16 - 1
UINT32_MAX: Final = 2**32 - 1
INT64_MAX: Final = 2**63 - 1
MOMENT_US_MAX: Final = 4_102_444_800_000_000
"""2100-01-01; a later hop time is a wrong unit, not a time."""

STREAM_COLUMNS: Final[dict[str, Callable[[TurnRecord], Value]]] = {
    "user": lambda record: record.user,
    "tenant": lambda record: record.tenant,
    "session": lambda record: record.session,
    "turn": lambda record: record.turn,
    "attempt": lambda record: record.attempt,
    "run": lambda record: record.run,
    "part": lambda record: record.part,
    "last": lambda record: record.outcome is not None,
    "prompt_id": lambda record: record.prompt_id,
    "seq": lambda record: record.seq,
    "texts": lambda record: list(record.texts),
    "gaps_us": lambda record: list(record.gaps_us),
}
OUTCOME_COLUMNS: Final[dict[str, Callable[[AttemptOutcome], Value]]] = {
    "reason": lambda outcome: outcome.reason,
    "cause": lambda outcome: outcome.cause,
    "error_code": lambda outcome: outcome.error_code,
    "provider": lambda outcome: outcome.provider,
    "model": lambda outcome: outcome.model,
    "input_tokens": lambda outcome: outcome.usage.input_tokens,
    "output_tokens": lambda outcome: outcome.usage.output_tokens,
    "cached_tokens": lambda outcome: outcome.usage.cached_tokens,
    "reasoning_tokens": lambda outcome: outcome.usage.reasoning_tokens,
    "cache_write_tokens": lambda outcome: outcome.usage.cache_write_tokens,
    "usage_estimated": lambda outcome: outcome.usage.estimated,
    "stated_cost_nano_usd": lambda outcome: outcome.usage.stated_cost_nano_usd,
    "cost_nano_usd": lambda outcome: outcome.cost_nano_usd,
    "price_version": lambda outcome: outcome.price_version,
    "text_sha256": lambda outcome: outcome.text_sha256,
    "text_chars": lambda outcome: outcome.text_chars,
    "chunks": lambda outcome: outcome.chunks,
    "accepted_at": lambda outcome: outcome.accepted_at_us or None,
    "dequeued_at": lambda outcome: outcome.dequeued_at_us or None,
    "requested_at": lambda outcome: outcome.requested_at_us or None,
    "first_chunk_at": lambda outcome: outcome.first_chunk_at_us or None,
    "published_at": lambda outcome: outcome.published_at_us or None,
    "ended_at": lambda outcome: outcome.ended_at_us or None,
    "ttft_us": lambda outcome: outcome.ttft_us,
    "tpot_us": lambda outcome: outcome.tpot_us,
    "history_messages_cut": lambda outcome: outcome.history_messages_cut,
    "metadata": lambda outcome: outcome.metadata,
}
COLUMNS: Final = (*STREAM_COLUMNS, "recorded_at", *OUTCOME_COLUMNS)
"""The columns of a row, in its order."""


def identity_of(record: TurnRecord) -> RowIdentity:
    """What makes two records the same row."""
    part = record.part if record.outcome is None else OUTCOME
    return (record.user, record.session, record.turn, record.attempt, record.run, part)


def fault_of(record: TurnRecord) -> str | None:
    """The first number that no column can hold, by name; such a record is a dead letter, not a row cut to fit."""
    numbers = [
        ("attempt", record.attempt, UINT16_MAX),
        ("part", record.part, UINT32_MAX),
        ("seq", record.seq, UINT32_MAX),
    ]
    numbers += [
        ("gaps_us", gap_us, INT64_MAX) for gap_us in (min(record.gaps_us, default=0), max(record.gaps_us, default=0))
    ]
    if record.outcome is not None:
        numbers += outcome_numbers(record.outcome)
    return next((name for name, number, number_max in numbers if not 0 <= number <= number_max), None)


def row_of(record: TurnRecord, *, recorded_at_ms: int) -> Row:
    """The row of a part, in the order of COLUMNS."""
    stream = (value(record) for value in STREAM_COLUMNS.values())
    outcome = record.outcome
    told = NO_OUTCOME if outcome is None else (value(outcome) for value in OUTCOME_COLUMNS.values())
    return (*stream, recorded_at_ms, *told)


def outcome_numbers(outcome: AttemptOutcome) -> list[tuple[str, int, int]]:
    usage = outcome.usage
    return [
        ("input_tokens", usage.input_tokens, UINT32_MAX),
        ("output_tokens", usage.output_tokens, UINT32_MAX),
        ("cached_tokens", usage.cached_tokens, UINT32_MAX),
        ("reasoning_tokens", usage.reasoning_tokens, UINT32_MAX),
        ("cache_write_tokens", usage.cache_write_tokens, UINT32_MAX),
        ("stated_cost_nano_usd", usage.stated_cost_nano_usd or 0, INT64_MAX),
        ("cost_nano_usd", outcome.cost_nano_usd, INT64_MAX),
        ("text_chars", outcome.text_chars, UINT32_MAX),
        ("chunks", outcome.chunks, UINT32_MAX),
        ("accepted_at_us", outcome.accepted_at_us, MOMENT_US_MAX),
        ("dequeued_at_us", outcome.dequeued_at_us, MOMENT_US_MAX),
        ("requested_at_us", outcome.requested_at_us, MOMENT_US_MAX),
        ("first_chunk_at_us", outcome.first_chunk_at_us, MOMENT_US_MAX),
        ("published_at_us", outcome.published_at_us, MOMENT_US_MAX),
        ("ended_at_us", outcome.ended_at_us, MOMENT_US_MAX),
        ("ttft_us", outcome.ttft_us or 0, INT64_MAX),
        ("tpot_us", outcome.tpot_us or 0, INT64_MAX),
        ("history_messages_cut", outcome.history_messages_cut, UINT32_MAX),
    ]


NO_METADATA: Final[dict[str, str]] = {}
NO_OUTCOME: Final[Row] = (
    *("", "", "", "", ""),
    *(0, 0, 0, 0, 0, False, None),
    *(0, "", "", 0, 0),
    *(None, None, None, None, None, None),
    *(None, None, 0, NO_METADATA),
)

PROBE: Final = row_of(TurnRecord(user="", session="", turn="", attempt=0, run="", prompt_id=""), recorded_at_ms=0)
"""A row of nobody, which no attempt and no reader's question meets: it shows whether the table takes rows at all."""
