"""Where a client stands in a session's log, as a signed word that it can bring to any gateway.

A cursor names the next thing to be told: chunk number `chunk` of the record at `offset` of the log `epoch` (the Kafka
topic id, so a topic made anew cannot pass for the old one). `fold_from` is where a reader that knows nothing must
begin to fold to judge what follows. Signed with a keyed hash over these and the session key, which is itself a hash
of user and session id: a cursor of another user, another session or another hand is *forged*, and foreign cannot be
told from absent.

    version 1 · key id 2 · epoch 6 · offset 8 · fold_from 8 · chunk 4 · signature 16   = 45 bytes = 60 characters

45 bytes make exactly 60 characters of base64, so each cursor has one spelling. Signing costs about 1 µs: the keyed
state that has taken in the session key is kept per session and copied. The first key signs; all keys verify, so a
key is changed by putting the new one in front. An unknown key id is an honest *unknown cursor*, not a forgery.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from schemas.identifiers import SessionKey

__all__ = [
    "CURSOR_CHARS",
    "CursorKeys",
    "CursorSigner",
    "Forged",
    "Gap",
    "GapReason",
    "LogPosition",
    "ReplayFrom",
    "ResumeDecision",
    "SignedPosition",
    "UpToDate",
    "epoch_digest",
    "plan_resume",
]

VERSION: Final = 1
PAYLOAD: Final = struct.Struct(">B2s6sQQI")
SIGNATURE_BYTES: Final = 16
CURSOR_CHARS: Final = 60
KEY_ID_BYTES: Final = 2
EPOCH_BYTES: Final = 6

GapReason: TypeAlias = Literal["expired", "recreated", "unknown_cursor", "log_lost", "skipped"]


class LogPosition(NamedTuple):
    """The next thing to be told: chunk `chunk` of the record at `offset`. Compares in log order."""

    offset: int
    chunk: int = 0


@dataclass(frozen=True, slots=True)
class ReplayFrom:
    """Tell everything from `position` on, having folded from `fold_from`."""

    position: LogPosition
    fold_from: int


@dataclass(frozen=True, slots=True)
class UpToDate:
    """Nothing was missed."""

    position: LogPosition


@dataclass(frozen=True, slots=True)
class Gap:
    """Not everything after the cursor can be given."""

    reason: GapReason


@dataclass(frozen=True, slots=True)
class Forged:
    """Not signed by us for this user and session."""


ResumeDecision: TypeAlias = ReplayFrom | UpToDate | Gap


@dataclass(frozen=True, slots=True)
class SignedPosition:
    """What a cursor with a good signature says."""

    epoch: bytes
    position: LogPosition
    fold_from: int


class CursorKeys:
    """The secrets that sign cursors, by key id; the first one signs."""

    __slots__ = ("_by_id", "signing_id", "states")

    def __init__(self, secrets: Sequence[bytes]) -> None:
        if not secrets:
            raise ValueError("at least one secret is needed to sign cursors")
        derived = [hashlib.blake2b(secret, person=b"tokenwire.cursor").digest() for secret in secrets]
        self._by_id: dict[bytes, bytes] = {}
        for key in derived:
            self._by_id.setdefault(key_id_of(key), key)
        self.signing_id = key_id_of(derived[0])
        self.states = {
            key_id: hashlib.blake2b(key=key, digest_size=SIGNATURE_BYTES) for key_id, key in self._by_id.items()
        }
        """The work on a key, done once: a copy goes on from it."""


class CursorSigner:
    """Signs and reads the cursors of one session."""

    __slots__ = ("_keys", "session_key")

    def __init__(self, keys: CursorKeys, session_key: SessionKey) -> None:
        self._keys = keys
        self.session_key = session_key

    def sign(self, epoch: bytes, position: LogPosition, fold_from: int) -> str:
        """The cursor for a position of the log `epoch` (see `epoch_digest`)."""
        payload = PAYLOAD.pack(VERSION, self._keys.signing_id, epoch, position[0], fold_from, position[1])
        return base64.urlsafe_b64encode(payload + self.signature(self._keys.signing_id, payload)).decode()

    def read(self, cursor: str) -> SignedPosition | Gap | Forged:
        """What the cursor says, if its signature is ours; an unknown key id is a gap."""
        raw = decoded(cursor)
        if raw is None:
            return Forged()
        payload, signature = raw[: PAYLOAD.size], raw[PAYLOAD.size :]
        version, key_id, epoch, offset, fold_from, chunk = PAYLOAD.unpack(payload)
        if version != VERSION or key_id not in self._keys.states:
            return Gap("unknown_cursor")
        if not hmac.compare_digest(self.signature(key_id, payload), signature):
            return Forged()
        return SignedPosition(epoch, LogPosition(offset, chunk), fold_from)

    def signature(self, key_id: bytes, payload: bytes) -> bytes:
        state = self._keys.states[key_id].copy()
        state.update(self.session_key.encode())
        state.update(payload)
        return state.digest()


def epoch_digest(epoch: str) -> bytes:
    """The short form of a log's epoch that travels in cursors."""
    return hashlib.blake2b(epoch.encode(), digest_size=EPOCH_BYTES).digest()


def plan_resume(said: SignedPosition, epoch: bytes, *, log_start: int, log_end: int) -> ResumeDecision:
    """What a client at this position is owed, given the log as it is: `log_start` ≤ offsets kept < `log_end`."""
    if said.epoch != epoch:
        return Gap("recreated")
    if said.position > (log_end, 0):
        return Gap("log_lost")
    if said.position == (log_end, 0):
        return UpToDate(said.position)
    if min(said.fold_from, said.position.offset) < log_start:
        return Gap("expired")
    return ReplayFrom(said.position, min(said.fold_from, said.position.offset))


def key_id_of(key: bytes) -> bytes:
    return hashlib.blake2b(key, digest_size=KEY_ID_BYTES).digest()


def decoded(cursor: str) -> bytes | None:
    if len(cursor) != CURSOR_CHARS or not cursor.isascii():
        return None
    try:
        return base64.b64decode(cursor, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
