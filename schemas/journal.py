"""What a worker remembers of a turn, on the compacted topic `tokenwire.turns` (key: turn id).

An entry is written *before* what it describes is done, so that a new owner of the partition knows everything its
predecessor may have begun. Ended turns stay a day without their prompt, for deduplication; then a tombstone.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from schemas.ledger import RunAccount
from schemas.prompts import PromptSubmitted
from schemas.session_events import EndReason

__all__ = ["ENDED_KEPT_S", "JournalEntry", "StopKind", "TurnPhase"]

TurnPhase: TypeAlias = Literal["cancelled_early", "queued", "running", "ended"]
"""`cancelled_early`: the cancel came before the prompt. The others follow each other in this order."""

StopKind: TypeAlias = Literal["cancelled", "superseded", "rolled_back", "left", "lost_comparison"]
"""Why an open turn is to end. `cancelled`: somebody asked for it; `superseded`: another prompt interrupts it;
`rolled_back`: the same, and it is forgotten; `left`: no device followed it any more; `lost_comparison`: another model
was first."""

ENDED_KEPT_S: Final = 86_400
"""Seconds an ended turn is remembered: the window in which the same prompt id is answered once."""


class JournalEntry(msgspec.Struct, frozen=True, omit_defaults=True, tag="journal", kw_only=True):
    """The state of one turn. Offsets are those of the session's log; -1 means not known yet."""

    turn: str
    user: str
    session: str
    prompt_id: str
    phase: TurnPhase
    body_hash: str = ""
    prompt: PromptSubmitted | None = None
    """The prompt while the turn is open."""
    accepted_at_us: int = 0
    """When the broker stamped the prompt."""
    cancel_requested: bool = False
    """It is to end as soon as can be; `stop` says why."""
    stop: StopKind = "cancelled"
    try_offset: int = -1
    """Which sending of the prompt it answers: the offset of its record on `tokenwire.prompts`; -1: not known."""
    index: int = 0
    """Which of the prompt's models it asks."""
    attempt: int = 0
    run: str = ""
    """The run that is about to write, or was, when the entry was written."""
    crashes: int = 0
    """Attempts that a worker did not live to end."""
    failures: int = 0
    """Attempts that our own code failed."""
    alone: bool = False
    """It is suspected of killing workers and runs while no other turn of its worker does: a crash now is its own."""
    lease_until_us: int = 0
    """Not 0: its worker goes on with it even if the partition has moved to another. Until when is by that worker's own
    clock, and only read by versions before 0102: others count from the broker's stamp of the entry."""
    first_offset: int = -1
    """At or before the turn's first record."""
    last_offset: int = -1
    """The offset of its TurnEnded."""
    reason: EndReason | None = None
    updated_at_us: int = 0
    counted_at_us: int = 0
    """Ledger time at which its prompt was counted as a request; 0: it was not, or another turn of the prompt was."""
    runs: tuple[RunAccount, ...] = ()
    """What its runs hold of the user's account and have used, where the user is limited."""
