"""Who and what is meant: how each identifier is made and checked.

Invariants: a session id never becomes a topic name, only its key does; a session key names one session of one
user, so another user's "s1" is another session and *foreign* cannot be told from *absent*; two gateways that see
the same prompt derive the same turn id without talking to each other.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Final, NewType

from schemas.errors import InvalidField

__all__ = [
    "IDENTIFIER_CHARS_MAX",
    "PromptId",
    "RunId",
    "SessionId",
    "SessionKey",
    "TenantId",
    "TurnId",
    "UserId",
    "check_prompt_id",
    "check_session_id",
    "check_tenant_id",
    "check_user_id",
    "session_key_of",
    "turn_id_of",
]

UserId = NewType("UserId", str)
TenantId = NewType("TenantId", str)
SessionId = NewType("SessionId", str)
PromptId = NewType("PromptId", str)
SessionKey = NewType("SessionKey", str)
TurnId = NewType("TurnId", str)
RunId = NewType("RunId", str)

IDENTIFIER_CHARS_MAX: Final = 128
SESSION_KEY_CHARS: Final = 32  # 160 bits: collisions stay out of reach at 2**64 sessions
TURN_ID_CHARS: Final = 24  # 120 bits, scoped to one user's 24 hours of deduplication

ALLOWED: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]*\Z")
REMEDY: Final = f"use 1 to {IDENTIFIER_CHARS_MAX} letters, digits or . _ : @ - and begin with a letter or digit"


def check_user_id(value: str) -> UserId:
    """Return `value` as a user id. Raises InvalidField naming `user`."""
    return UserId(checked("user", value))


def check_tenant_id(value: str) -> TenantId:
    """Return `value` as a tenant id. Raises InvalidField naming `tenant`."""
    return TenantId(checked("tenant", value))


def check_session_id(value: str) -> SessionId:
    """Return `value` as a session id. Raises InvalidField naming `session`."""
    return SessionId(checked("session", value))


def check_prompt_id(value: str) -> PromptId:
    """Return `value` as a prompt id. Raises InvalidField naming `prompt_id`."""
    return PromptId(checked("prompt_id", value))


def session_key_of(user: UserId, session: SessionId) -> SessionKey:
    """base32(SHA-256 of the length-prefixed user and session id), cut to 160 bits, in lower case."""
    return SessionKey(digest_of(user, session)[:SESSION_KEY_CHARS])


def turn_id_of(user: UserId, session: SessionId, prompt_id: PromptId, model_index: int = 0) -> TurnId:
    """The id of the turn that answers this prompt with its n-th model; the same wherever it is computed."""
    return TurnId(digest_of(user, session, prompt_id, str(model_index))[:TURN_ID_CHARS])


def checked(field: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidField(field, "is no text", REMEDY)
    if not value:
        raise InvalidField(field, "is empty", REMEDY)
    if len(value) > IDENTIFIER_CHARS_MAX:
        raise InvalidField(field, f"has {len(value)} characters", REMEDY)
    if ALLOWED.match(value) is None:
        raise InvalidField(field, "holds a character that is not allowed", REMEDY)
    return value


def digest_of(*parts: str) -> str:
    """Length-prefixing keeps ("ab", "c") and ("a", "bc") apart."""
    state = hashlib.sha256()
    for part in parts:
        raw = part.encode()
        state.update(len(raw).to_bytes(4, "big") + raw)
    return base64.b32encode(state.digest()).decode().lower()
