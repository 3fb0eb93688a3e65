"""Bytes ⇄ events, for every topic and the websocket. JSON with one tag field, `type`.

Unknown fields pass (a newer build may have added them); unknown tags and wrong shapes are errors that never quote
the bytes. One decoder per union, made once: msgspec compiles them.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from schemas.access import AccessEvent
from schemas.activity import SessionActivity
from schemas.client_messages import ClientMessage
from schemas.dead_letters import DeadLetter
from schemas.decode_errors import malformed
from schemas.errors import MalformedRecord
from schemas.gateway_messages import ServerMessage
from schemas.journal import JournalEntry
from schemas.ledger import LedgerSnapshot
from schemas.permits import PermitCommand
from schemas.prompts import PromptCommand
from schemas.records import TurnRecord
from schemas.session_events import SessionEvent

__all__ = [
    "decode_access_event",
    "decode_activity",
    "decode_client_messages",
    "decode_dead_letter",
    "decode_journal_entry",
    "decode_ledger_snapshot",
    "decode_permit",
    "decode_prompt_command",
    "decode_record",
    "decode_server_messages",
    "decode_session_event",
    "encode",
]

Decoded = TypeVar("Decoded")

ENCODER: Final = msgspec.json.Encoder()
PROMPT_COMMANDS: Final[msgspec.json.Decoder[PromptCommand]] = msgspec.json.Decoder(PromptCommand)
PERMITS: Final[msgspec.json.Decoder[PermitCommand]] = msgspec.json.Decoder(PermitCommand)
SESSION_EVENTS: Final[msgspec.json.Decoder[SessionEvent]] = msgspec.json.Decoder(SessionEvent)
JOURNAL_ENTRIES: Final = msgspec.json.Decoder(JournalEntry)
LEDGER_SNAPSHOTS: Final = msgspec.json.Decoder(LedgerSnapshot)
RECORDS: Final = msgspec.json.Decoder(TurnRecord)
ACCESS_EVENTS: Final[msgspec.json.Decoder[AccessEvent]] = msgspec.json.Decoder(AccessEvent)
ACTIVITIES: Final = msgspec.json.Decoder(SessionActivity)
DEAD_LETTERS: Final = msgspec.json.Decoder(DeadLetter)
CLIENT_MESSAGE: Final = msgspec.json.Decoder(ClientMessage)
CLIENT_MESSAGES: Final = msgspec.json.Decoder(list[ClientMessage])
SERVER_MESSAGE: Final = msgspec.json.Decoder(ServerMessage)
SERVER_MESSAGES: Final = msgspec.json.Decoder(list[ServerMessage])


def encode(event: msgspec.Struct) -> bytes:
    """The bytes of an event."""
    return ENCODER.encode(event)


def decode_prompt_command(raw: bytes) -> PromptCommand:
    """Read a command of `tokenwire.prompts`. Raises MalformedRecord, UnknownTag."""
    return decoded(PROMPT_COMMANDS, raw)


def decode_permit(raw: bytes) -> PermitCommand:
    """Read a worker's word to another one on `tokenwire.prompts`. Raises MalformedRecord, UnknownTag."""
    return decoded(PERMITS, raw)


def decode_session_event(raw: bytes) -> SessionEvent:
    """Read a record of a session's log. Raises MalformedRecord, UnknownTag."""
    return decoded(SESSION_EVENTS, raw)


def decode_journal_entry(raw: bytes) -> JournalEntry:
    """Read a record of `tokenwire.turns`. Raises MalformedRecord, UnknownTag."""
    return decoded(JOURNAL_ENTRIES, raw)


def decode_ledger_snapshot(raw: bytes) -> LedgerSnapshot:
    """Read a snapshot of a user's account. Raises MalformedRecord, UnknownTag."""
    return decoded(LEDGER_SNAPSHOTS, raw)


def decode_record(raw: bytes) -> TurnRecord:
    """Read a record of `tokenwire.records`. Raises MalformedRecord, UnknownTag."""
    return decoded(RECORDS, raw)


def decode_access_event(raw: bytes) -> AccessEvent:
    """Read a record of `tokenwire.access` or `tokenwire.tickets`. Raises MalformedRecord, UnknownTag."""
    return decoded(ACCESS_EVENTS, raw)


def decode_activity(raw: bytes) -> SessionActivity:
    """Read a record of `tokenwire.activity`. Raises MalformedRecord, UnknownTag."""
    return decoded(ACTIVITIES, raw)


def decode_dead_letter(raw: bytes) -> DeadLetter:
    """Read a record of `tokenwire.deadletters`. Raises MalformedRecord, UnknownTag."""
    return decoded(DEAD_LETTERS, raw)


def decode_client_messages(raw: bytes | str) -> list[ClientMessage]:
    """Read a frame of a client: a message or an array of them. Raises MalformedRecord, UnknownTag."""
    if is_array(raw):
        return decoded(CLIENT_MESSAGES, raw)
    return [decoded(CLIENT_MESSAGE, raw)]


def decode_server_messages(raw: bytes | str) -> list[ServerMessage]:
    """Read a frame of the gateway: a message or an array of them. Raises MalformedRecord, UnknownTag."""
    if is_array(raw):
        return decoded(SERVER_MESSAGES, raw)
    return [decoded(SERVER_MESSAGE, raw)]


def decoded(decoder: msgspec.json.Decoder[Decoded], raw: bytes | str) -> Decoded:
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise malformed(error, decoder.type, raw) from None
    except (msgspec.DecodeError, UnicodeError):
        raise MalformedRecord("is not valid JSON in UTF-8") from None
    except RecursionError:
        raise MalformedRecord("is nested too deeply") from None


def is_array(raw: bytes | str) -> bool:
    return raw.lstrip()[:1] in (b"[", "[")
