"""Why a connection is closed: the catalogue of close codes. The range says whether to come back.

1xxx as in RFC 6455; 44xx: not with the same request again (mend it first); 45xx: reconnect, with the cursors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = [
    "ADMISSION_REFUSED",
    "BAD_TOKEN",
    "CLOSE_CODES",
    "FLOOD",
    "FORBIDDEN",
    "HELLO_TOO_LATE",
    "INTERNAL_ERROR",
    "NORMAL",
    "NO_PONG",
    "OVERSIZE",
    "PROTOCOL_VIOLATED",
    "RESTARTING",
    "SLOW_READER",
    "CloseCode",
]


@dataclass(frozen=True, slots=True)
class CloseCode:
    """A close code: its number, the reason sent with it, and whether the client should reconnect."""

    number: int
    reason: str
    reconnect: bool


NORMAL: Final = CloseCode(1000, "done", reconnect=False)
OVERSIZE: Final = CloseCode(1009, "frame too large", reconnect=False)
RESTARTING: Final = CloseCode(1012, "gateway is restarting", reconnect=True)
ADMISSION_REFUSED: Final = CloseCode(1013, "too many connections, try again later", reconnect=True)
PROTOCOL_VIOLATED: Final = CloseCode(4400, "protocol violated", reconnect=False)
BAD_TOKEN: Final = CloseCode(4401, "token missing, invalid or expired", reconnect=False)
FORBIDDEN: Final = CloseCode(4403, "forbidden", reconnect=False)
HELLO_TOO_LATE: Final = CloseCode(4408, "no hello in time", reconnect=False)
FLOOD: Final = CloseCode(4429, "too many messages", reconnect=False)
INTERNAL_ERROR: Final = CloseCode(4500, "internal error", reconnect=True)
SLOW_READER: Final = CloseCode(4508, "too slow, come back with the cursors", reconnect=True)
NO_PONG: Final = CloseCode(4512, "no pong in time", reconnect=True)

CLOSE_CODES: Final[tuple[CloseCode, ...]] = (
    NORMAL,
    OVERSIZE,
    RESTARTING,
    ADMISSION_REFUSED,
    PROTOCOL_VIOLATED,
    BAD_TOKEN,
    FORBIDDEN,
    HELLO_TOO_LATE,
    FLOOD,
    INTERNAL_ERROR,
    SLOW_READER,
    NO_PONG,
)
