"""A `TurnRecord` part becomes one row of `tokenwire.turn_parts`. Pure and exact.

Microseconds and nano-dollars stay the integers they are; a hop time of 0 ("did not happen") becomes NULL. Parts before
the last one know no outcome: their columns hold the types' defaults and the view never shows them.
`recorded_at_ms` is the log's own stamp of the record: it is the same however often the record is read again.

An attempt has one outcome, so the row that carries it is known by the attempt, and every other row by its part's
number: a part of a worker that did not know that it had been replaced can't take the outcome's place.
"""

from __future__ import annotations

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

STREAM_COLUMNS: Final = (
    "user",
    "tenant",
    "session",
    "turn",
    "attempt",
    "run",
    "part",
    "last",
    "prompt_id",
    "recorded_at",
    "seq",
    "texts",
    "gaps_us",
)
OUTCOME_COLUMNS: Final = (
    "reason",
    "cause",
    "error_code",
    "provider",
    "model",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "cache_write_tokens",
    "usage_estimated",
    "stated_cost_nano_usd",
    "cost_nano_usd",
    "price_version",
    "text_sha256",
    "text_chars",
    "chunks",
    "accepted_at",
    "dequeued_at",
    "requested_at",
    "first_chunk_at",
    "published_at",
    "ended_at",
    "ttft_us",
    "tpot_us",
    "history_messages_cut",
    "metadata",
)
COLUMNS: Final = STREAM_COLUMNS + OUTCOME_COLUMNS
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
    stream: Row = (
        record.user,
        record.tenant,
        record.session,
        record.turn,
        record.attempt,
        record.run,
        record.part,
        record.outcome is not None,
        record.prompt_id,
        recorded_at_ms,
        record.seq,
        list(record.texts),
        list(record.gaps_us),
    )
    return stream + outcome_values(record.outcome)


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


def outcome_values(outcome: AttemptOutcome | None) -> Row:
    if outcome is None:
        return NO_OUTCOME
    usage = outcome.usage
    return (
        outcome.reason,
        outcome.cause,
        outcome.error_code,
        outcome.provider,
        outcome.model,
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_tokens,
        usage.reasoning_tokens,
        usage.cache_write_tokens,
        usage.estimated,
        usage.stated_cost_nano_usd,
        outcome.cost_nano_usd,
        outcome.price_version,
        outcome.text_sha256,
        outcome.text_chars,
        outcome.chunks,
        moment(outcome.accepted_at_us),
        moment(outcome.dequeued_at_us),
        moment(outcome.requested_at_us),
        moment(outcome.first_chunk_at_us),
        moment(outcome.published_at_us),
        moment(outcome.ended_at_us),
        outcome.ttft_us,
        outcome.tpot_us,
        outcome.history_messages_cut,
        outcome.metadata,
    )


def moment(at_us: int) -> int | None:
    return at_us or None


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
