"""How often members of consumer groups report."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from infra.settings import Settings


@given(st.floats(1, 300))
def test_members_report_often(session_timeout_s: float) -> None:
    """Three times in a session's timeout, and never more than 3 s apart: a rebalance waits for the slowest report."""
    interval_s = Settings(session_timeout_s=session_timeout_s).heartbeat_interval_s
    assert 0.3 <= interval_s <= min(3.0, session_timeout_s / 3)
