"""Word on `tokenwire.activity` that something happens in a session, for gateways that are not reading its log now.

A hint and no more: it says where to look, never what is there. One that is lost, late or repeated changes nothing but
how soon a gateway looks; everything is on the session's own log. Written by the worker once the record that it speaks
of is acknowledged, and only where sessions have logs of their own: shared partitions are read all the time.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

__all__ = ["ActivityKind", "SessionActivity"]

ActivityKind: TypeAlias = Literal["queued", "started", "running", "ended", "deleted", "refused"]


class SessionActivity(msgspec.Struct, frozen=True, omit_defaults=True, tag="session.active", kw_only=True):
    """Something was appended to a session's log, or the log was deleted."""

    key: str
    """The session's key, in the record's own key as well."""
    kind: ActivityKind
    """What a turn of the session did; `running` is said every 30 s or so while its answer grows. `refused`: the session
    has no log, and may have none now; its prompt has ended."""
    newest_offset: int
    """The newest record that the writer has put on the session's log; -1 where the log is deleted."""
    first_offset: int = -1
    """The first record of its oldest open turn; -1 where none is open."""
    at_us: int = 0
    """When, in microseconds since 1970."""
    prompt_id: str = ""
    """With `refused`: which prompt."""
    retry_after_s: float = 0.0
    """With `refused`: when to send it again; 0: not before somebody has acted."""
