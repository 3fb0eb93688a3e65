"""Whether and when a client comes back; the same numbers as the JavaScript twin's tests."""

from __future__ import annotations

import pytest

from gateway.client.decisions.reconnect_plan import ComeBack, StayAway, plan_reconnect
from schemas.gateway_messages import Disconnect


def words(code: int, *, reconnect: bool = True, retry_after_s: float | None = None) -> Disconnect:
    return Disconnect(code=code, reason="", reconnect=reconnect, retry_after_s=retry_after_s)


@pytest.mark.parametrize(
    ("code", "said", "failures", "draw", "slot_in_s", "plan"),
    [
        (1006, None, 0, 0.5, 0.0, ComeBack(0.25)),
        (1006, None, 3, 0.5, 0.0, ComeBack(2.0)),
        (1006, None, 99, 1.0, 0.0, ComeBack(30.0)),
        (1012, words(1012, retry_after_s=4), 0, 0.5, 0.0, ComeBack(4.25)),
        (1012, words(1012, retry_after_s=4), 0, 0.5, 3.0, ComeBack(4.25)),
        (1006, None, 0, 0.5, 3.0, ComeBack(3.25)),
        (4400, None, 0, 0.5, 0.0, StayAway()),
        (4508, None, 0, 0.5, 0.0, ComeBack(0.25)),
        (4508, words(4508, reconnect=False), 0, 0.5, 0.0, StayAway()),
        (4429, None, 0, 0.5, 0.0, ComeBack(30.25)),
        (4429, words(4429, reconnect=False, retry_after_s=2), 0, 0.0, 0.0, ComeBack(2.0)),
        (1006, words(4401, reconnect=False), 0, 0.5, 0.0, StayAway()),
    ],
)
def test_what_follows_a_close(
    code: int, said: Disconnect | None, failures: int, draw: float, slot_in_s: float, plan: ComeBack | StayAway
) -> None:
    """The gateway's word, else the code's range; its pause or slot, and a growing random part."""
    assert plan_reconnect(code, said, failures=failures, draw=draw, slot_in_s=slot_in_s) == plan
