"""Opening a socket to a gateway, and what its answer means where it did not let us in."""

from __future__ import annotations

import contextlib
from typing import Final

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from schemas.client_messages import SUBPROTOCOL
from schemas.close_codes import ADMISSION_REFUSED, FORBIDDEN, PROTOCOL_VIOLATED
from schemas.gateway_messages import Disconnect

__all__ = ["CLOSE_S", "LOST_CODE", "dial", "refusal_of"]

CLOSE_S: Final = 2.0
LOST_CODE: Final = 1006
HTTP_ERROR: Final = 400
HTTP_FORBIDDEN: Final = 403
HTTP_FAULTY: Final = 500
HTTP_UNAVAILABLE: Final = 503
WORDS_CHARS_MAX: Final = 200


def dial(address: str) -> connect:
    """A connection, once awaited or entered; our own messages keep it alive and bounded."""
    return connect(
        address,
        subprotocols=[Subprotocol(SUBPROTOCOL)],
        compression=None,
        max_size=None,
        ping_interval=None,
        close_timeout=CLOSE_S,
        proxy=None,
    )


def refusal_of(refused: InvalidStatus) -> tuple[int, str, Disconnect | None]:
    """The upgrade was answered with a status: the close code and reason that it stands for, and the words if any."""
    response = refused.response
    status = response.status_code
    if HTTP_ERROR <= status < HTTP_FAULTY:  # the request itself is at fault
        said = bytes(response.body or b"")[:WORDS_CHARS_MAX].decode("ascii", "replace").strip()
        reason = f"refused with status {status}" + (f": {said}" if said.isprintable() and said else "")
        return (FORBIDDEN if status == HTTP_FORBIDDEN else PROTOCOL_VIOLATED).number, reason, None
    if status == HTTP_UNAVAILABLE:
        with contextlib.suppress(ValueError):
            pause_s = float(response.headers.get("Retry-After", ""))
            code = ADMISSION_REFUSED.number
            return LOST_CODE, "", Disconnect(code=code, reason="no room", reconnect=True, retry_after_s=pause_s)
    return LOST_CODE, "", None
