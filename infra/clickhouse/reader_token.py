"""The token that lets readers in at the embedded engine's endpoint: made on first use, kept in TOKENWIRE_HOME/keys.

It is a file and never a setting: what stands in an environment is inherited by every child and shown to whoever may
look at one of them. Whoever wants a token of their own writes the file before the start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from infra.clickhouse.decisions.reader_access import READER_NAME
from infra.keys import SECRET_BYTES_MIN, SecretDamaged, load_or_create_secret

__all__ = ["TOKEN_PLACE", "reader_headers", "reader_token"]

TOKEN_NAME: Final = "analytics"
TOKEN_PLACE: Final = f"keys/{TOKEN_NAME}"
"""Where the token is, seen from TOKENWIRE_HOME."""
TOKEN_CHARS_MAX: Final = 1_024


def reader_token(home: Path) -> str:
    """The token of this folder's line, the same every time. Raises SecretDamaged, OSError."""
    secret = load_or_create_secret(home / "keys", TOKEN_NAME)
    if len(secret) > TOKEN_CHARS_MAX or not all(0x21 <= sign <= 0x7E for sign in secret):
        wanted = f"{SECRET_BYTES_MIN} to {TOKEN_CHARS_MAX} printable ASCII characters without a space"
        raise SecretDamaged(home / TOKEN_PLACE, wanted)
    return secret.decode()


def reader_headers(token: str) -> dict[str, str]:
    """Headers by which a request shows the token."""
    return {"X-ClickHouse-User": READER_NAME, "X-ClickHouse-Key": token}
