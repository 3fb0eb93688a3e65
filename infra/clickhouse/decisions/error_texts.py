"""How an error reads on the wire: as ClickHouse writes it, number first and name last, since drivers look for both."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["error_text"]

NAMES: Final = {
    46: "UNKNOWN_FUNCTION",
    48: "NOT_IMPLEMENTED",
    60: "UNKNOWN_TABLE",
    62: "SYNTAX_ERROR",
    73: "UNKNOWN_FORMAT",
    81: "UNKNOWN_DATABASE",
    115: "UNKNOWN_SETTING",
    159: "TIMEOUT_EXCEEDED",
    164: "READONLY",
    202: "TOO_MANY_SIMULTANEOUS_QUERIES",
    396: "TOO_MANY_ROWS_OR_BYTES",
    497: "ACCESS_DENIED",
    516: "AUTHENTICATION_FAILED",
}
"""Of what is refused before the engine runs it; the engine names its own."""
NAMED: Final = re.compile(r"\([A-Z][A-Z0-9_]{2,}\)\s*\Z")


def error_text(code: int, message: str) -> str:
    """The line that a client is sent."""
    name = "" if NAMED.search(message) or code not in NAMES else f" ({NAMES[code]})"
    return f"Code: {code}. DB::Exception: {message.rstrip()}{name}\n"
