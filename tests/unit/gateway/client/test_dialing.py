"""An upgrade that was answered with a status: what it means to the client."""

from __future__ import annotations

import pytest
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response

from gateway.client.dialing import LOST_CODE, WORDS_CHARS_MAX, refusal_of
from schemas.close_codes import ADMISSION_REFUSED, FORBIDDEN, PROTOCOL_VIOLATED

__all__: list[str] = []


def answered(status: int, body: bytes = b"", **headers: str) -> InvalidStatus:
    named = Headers({name.replace("_", "-"): value for name, value in headers.items()})
    return InvalidStatus(Response(status, "said", named, body))


@pytest.mark.parametrize(
    ("status", "body", "number", "reason"),
    [
        (403, b"origin not allowed\n", FORBIDDEN.number, "refused with status 403: origin not allowed"),
        (401, b"", PROTOCOL_VIOLATED.number, "refused with status 401"),
        (404, b"\x1b[2J", PROTOCOL_VIOLATED.number, "refused with status 404"),
        (400, b"x" * 9_999, PROTOCOL_VIOLATED.number, f"refused with status 400: {'x' * WORDS_CHARS_MAX}"),
    ],
)
def test_request_at_fault(status: int, body: bytes, number: int, reason: str) -> None:
    """The same again would be refused again: a code that says so, with the server's words where they can be shown."""
    assert refusal_of(answered(status, body)) == (number, reason, None)


def test_gateway_without_room() -> None:
    """It says when to come back, as if it had closed the connection with those words."""
    code, reason, words = refusal_of(answered(503, Retry_After="2.5"))

    assert (code, reason) == (LOST_CODE, "")
    assert words is not None
    assert (words.code, words.reconnect, words.retry_after_s) == (ADMISSION_REFUSED.number, True, 2.5)


@pytest.mark.parametrize("refused", [answered(503), answered(503, Retry_After="soon"), answered(502), answered(302)])
def test_nothing_is_said_of_when(refused: InvalidStatus) -> None:
    """As good as a connection that was lost: tried again at the client's own pace."""
    assert refusal_of(refused) == (LOST_CODE, "", None)
