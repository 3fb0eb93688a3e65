"""Every event of the contract with each of its fields set, beside the bytes it has had since it was added.

`golden/<tag>.<version>.json` holds the bytes (no line end) that version wrote. They are never changed: what lies on
somebody's log stays as it is. When a field is added, leave the old file and its expectation here (the new field has
its default there), add a `Golden` with the field set and the next `version` after it, and write its file with

    python -m tests.unit.schemas.golden_events

which makes the files that are missing and touches no other. (Until the first release nobody has a log: there, set the
field in the event below, remove its file and write it anew.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from schemas import client_messages, codec, gateway_messages
from schemas.access import TicketUsed, UserLoggedOut
from schemas.activity import SessionActivity
from schemas.dead_letters import DeadLetter
from schemas.journal import JournalEntry
from schemas.ledger import Amount, LedgerSnapshot, RunAccount, SessionUse, SettledRun
from schemas.permits import PermitAsked, PermitGranted, PermitRefused, PermitReturned
from schemas.prompts import ExpireSession, PromptCancelled, PromptSubmitted, SessionWatched
from schemas.records import AttemptOutcome, TurnRecord
from schemas.session_events import (
    ComparisonEnded,
    PromptRefused,
    TokensEmitted,
    TurnEnded,
    TurnHedged,
    TurnQueued,
    TurnStarted,
    TurnWaiting,
)
from tests.unit.schemas.golden_messages import CLIENT_MESSAGES, SERVER_MESSAGES
from tests.unit.schemas.golden_values import AT_US, ERROR, MESSAGES, USAGE

__all__ = ["GOLDEN", "Golden"]

FOLDER: Final = Path(__file__).parent / "golden"
PROMPT: Final = PromptSubmitted(
    user="alice",
    session="s1",
    prompt_id="p1",
    input="Why is the sky blue?",
    messages=MESSAGES,
    model="simulated",
    max_tokens=256,
    on_busy="parallel",
    on_leave="cancel",
    pace="reader",
    priority="batch",
    models=("simulated", "other"),
    compare="merge",
    merge_model="simulated",
    temperature=0.5,
    cache=True,
    metadata={"client": "page"},
    tenant="acme",
    submitted_at_us=AT_US,
)


@dataclass(frozen=True, slots=True)
class Golden:
    """An event and how its topic's readers decode it."""

    event: msgspec.Struct
    decode: Callable[[bytes], Any]
    version: int = 1
    current: bool = True
    """Whether today's build still writes these bytes; False for versions that only have to be read."""

    @property
    def name(self) -> str:
        """Tag and version, as the file is called."""
        return f"{self.event.__struct_config__.tag}.{self.version}"

    @property
    def path(self) -> Path:
        """The file with the bytes."""
        return FOLDER / f"{self.name}.json"


def from_client(raw: bytes) -> client_messages.ClientMessage:
    (message,) = codec.decode_client_messages(raw)
    return message


def from_server(raw: bytes) -> gateway_messages.ServerMessage:
    (message,) = codec.decode_server_messages(raw)
    return message


COMMANDS: Final = (
    PROMPT,
    PromptCancelled(user="alice", session="s1", prompt_id="p1"),
    SessionWatched(user="alice", session="s1", gateway="g1", devices=2, read_offset=41),
    ExpireSession(user="alice", session="s1"),
)

PERMITS: Final = (
    PermitAsked(
        permit="w1-7",
        target="groq:llama",
        reply_partition=3,
        tokens=1_200,
        priority="batch",
        waited_s=2.5,
        patient=False,
        held=True,
    ),
    PermitGranted(permit="w1-7", target="groq:llama", holder=11),
    PermitRefused(permit="w1-7", target="groq:llama", retry_after_s=1.5),
    PermitReturned(
        permit="w1-7",
        target="groq:llama",
        tokens_used=900,
        outcome="timed_out",
        first_token_s=0.5,
        input_tokens=700,
    ),
)

SESSION_EVENTS: Final = (
    TurnQueued(
        turn="t1",
        prompt_id="p1",
        input="Why is the sky blue?",
        messages=MESSAGES,
        model="simulated",
        position=2,
        eta_s=1.25,
        on_leave="cancel",
        pace="reader",
        index=1,
        models=("simulated", "other", "simulated"),
        compare="merge",
        metadata={"ticket": "4711"},
        try_offset=12,
        at_us=AT_US,
    ),
    TurnHedged(turn="t1", attempt=3, run="r3", provider="groq", model="llama-3.3-70b-versatile", at_us=AT_US),
    ComparisonEnded(prompt_id="p1", mode="best", turn="t1", scores={"t1": 0.75, "t2": 0.5}, at_us=AT_US),
    TurnWaiting(turn="t1", position=3, eta_s=2.5, waits_for="model", at_us=AT_US),
    TurnStarted(
        turn="t1",
        attempt=2,
        run="r2",
        provider="openai",
        model="gpt-4.1-mini",
        cause="crash",
        from_seq=7,
        cached=True,
        history_messages_cut=3,
        at_us=AT_US,
    ),
    TokensEmitted(
        turn="t1", attempt=2, run="r2", seq=7, chunks=("Ray", "leigh ", "🙂"), gaps_us=(20, 0, 7), at_us=AT_US
    ),
    TurnEnded(
        turn="t1",
        attempt=2,
        run="r2",
        reason="incomplete",
        usage=USAGE,
        cost_nano_usd=4_321,
        price_version="2026-11-01",
        error=ERROR,
        text_sha256="ab" * 32,
        text_chars=99,
        forgotten=True,
        metadata={"ticket": "4711"},
        at_us=AT_US,
    ),
    PromptRefused(
        prompt_id="p1",
        code="session_busy",
        message="another prompt is being answered",
        turns=("t1", "t2"),
        try_offset=12,
        temporary=True,
        retry_after_s=1.5,
        metadata={"ticket": "4711"},
        at_us=AT_US,
    ),
)

LEDGER: Final = LedgerSnapshot(
    user="alice",
    at_us=AT_US,
    requests=((1_750_000_000, 2),),
    input_tokens=((1_749_999_990, 120), (1_750_000_000, 34)),
    output_tokens=((1_750_000_000, 56),),
    bucket_missing=210_000_000,
    bucket_at_us=AT_US,
    day=20_254,
    day_tokens=4_321,
    day_granted_tokens=1_000,
    month=665,
    month_nano_usd=987_654_321,
    sessions={"s1": SessionUse(4_321, AT_US)},
    open=(
        RunAccount(
            turn="turn-1",
            run="run-1",
            session="s1",
            at_us=AT_US - 5,
            held=Amount(120, 512, 2_168_000),
            used=Amount(120, 40, 280_000),
        ),
    ),
    settled=(SettledRun("turn-0", "run-0", AT_US - 9),),
    forgotten_at_us=AT_US - 20,
    blocked=True,
    commands_to=41,
)

JOURNAL: Final = JournalEntry(
    turn="t1",
    user="alice",
    session="s1",
    prompt_id="p1",
    phase="running",
    body_hash="cd" * 32,
    prompt=PROMPT,
    accepted_at_us=AT_US,
    cancel_requested=True,
    stop="superseded",
    try_offset=12,
    index=1,
    alone=True,
    attempt=2,
    run="r2",
    crashes=1,
    failures=1,
    lease_until_us=AT_US + 2,
    first_offset=41,
    last_offset=57,
    reason="complete",
    updated_at_us=AT_US + 1,
    counted_at_us=AT_US + 3,
    runs=(
        RunAccount(
            turn="t1",
            run="r2",
            session="s1",
            at_us=AT_US + 4,
            held=Amount(10, 512, 2_058_000),
            used=Amount(10, 20, 90_000),
            settled_at_us=AT_US + 5,
        ),
    ),
)

RECORD: Final = TurnRecord(
    user="alice",
    tenant="acme",
    session="s1",
    turn="t1",
    attempt=2,
    run="r2",
    prompt_id="p1",
    part=1,
    seq=7,
    texts=("Ray", "leigh"),
    gaps_us=(20, 7),
    outcome=AttemptOutcome(
        reason="void",
        cause="append_lost",
        error_code="provider_stalled",
        provider="openai",
        model="gpt-4.1-mini",
        usage=USAGE,
        cost_nano_usd=4_321,
        price_version="2026-11-01",
        text_sha256="ab" * 32,
        text_chars=99,
        chunks=9,
        accepted_at_us=AT_US,
        dequeued_at_us=AT_US + 1,
        requested_at_us=AT_US + 2,
        first_chunk_at_us=AT_US + 3,
        published_at_us=AT_US + 4,
        ended_at_us=AT_US + 5,
        ttft_us=250_000,
        tpot_us=20_000,
        history_messages_cut=3,
        metadata={"ticket": "4711"},
    ),
)

ACCESS_EVENTS: Final = (
    UserLoggedOut(user="alice", at_s=1_750_000_000.5, issued_until_s=1_750_000_030.0),
    TicketUsed(ticket="x1y2z3", claim="0123456789abcdef", expires_at_s=1_750_000_030.0),
)

ACTIVITY: Final = SessionActivity(
    key="abcdefghijklmnopqrstuvwxyz234567",
    kind="refused",
    newest_offset=42,
    first_offset=7,
    at_us=AT_US,
    prompt_id="p1",
    retry_after_s=60.0,
)

DEAD_LETTER: Final = DeadLetter(
    reason="malformed",
    message="is not valid JSON in UTF-8",
    topic="tokenwire.prompts",
    partition=3,
    offset=12,
    key=b"alice",
    value=b"\x00\xff{",
    value_bytes=3,
    value_sha256="ef" * 32,
    user="alice",
    session="s1",
    prompt_id="p1",
    at_us=AT_US,
)

GOLDEN: Final[tuple[Golden, ...]] = (
    *(Golden(event, codec.decode_prompt_command) for event in COMMANDS),
    *(Golden(event, codec.decode_permit) for event in PERMITS),
    *(Golden(event, codec.decode_session_event) for event in SESSION_EVENTS),
    Golden(JOURNAL, codec.decode_journal_entry),
    Golden(LEDGER, codec.decode_ledger_snapshot),
    Golden(RECORD, codec.decode_record),
    *(Golden(event, codec.decode_access_event) for event in ACCESS_EVENTS),
    Golden(ACTIVITY, codec.decode_activity),
    Golden(DEAD_LETTER, codec.decode_dead_letter),
    *(Golden(event, from_client) for event in CLIENT_MESSAGES),
    *(Golden(event, from_server) for event in SERVER_MESSAGES),
)


def write_missing() -> None:
    for golden in GOLDEN:
        if not golden.path.exists():
            golden.path.write_bytes(codec.encode(golden.event))


if __name__ == "__main__":
    write_missing()
