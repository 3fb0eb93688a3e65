"""Which prompts the lost entries of a journal may concern, and what an entry was, by what the session's log shows.

A worker journals a turn when it takes its prompt in, and keeps what it journalled for ENDED_KEPT_S after the turn's
end. So a journal that its last writer left at time t knows each turn of a prompt that was stamped within ENDED_KEPT_S
before t: a turn that it does not know has lost its entry, or was not taken in yet. And an entry that lies before
another one is not younger than that, so what it was about was stamped before.

The session's log says what became of the turn. A prompt is committed only after its `TurnQueued` is on that log, so
one that the log does not show was not taken in, or its log is gone (retention, deletion, damage there as well): it may
have been answered, and nothing is begun for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from processors.sessions.decisions.admission import CANCEL_REMEMBERED_S, body_hash_of, cancelled_entry, queued_entry
from processors.sessions.decisions.busy_session import WHILE_BUSY, Supersede
from processors.sessions.decisions.recovery import closed
from schemas.journal import ENDED_KEPT_S, JournalEntry, StopKind
from schemas.prompts import PromptCancelled, PromptCommand, PromptSubmitted
from schemas.turn_fold import FoldedTurn

__all__ = ["CLOCK_SLACK_MS", "LostEntries", "LostWindow", "early_cancel", "rebuilt_entry", "stop_by"]

CLOCK_SLACK_MS: Final = 1_000
"""How far the clocks of two brokers may differ."""
MS_US: Final = 1_000
RECORDED_WITHIN_US: Final = 60_000_000
"""So long after a turn's end its records are written, unless its worker died; then its journal ends there as well."""


@dataclass(frozen=True, slots=True)
class LostWindow:
    """Stamps of the prompts that lost entries may concern."""

    since_ms: int
    until_ms: int | None
    """None: of all that came since."""


@dataclass(slots=True)
class LostEntries:
    """Noted while a journal is read, in order."""

    any: bool = False
    newest_ms: int = 0
    """Stamp of the newest entry that can be read."""
    until_ms: int | None = 0
    """No lost entry is younger; None: nothing that can be read follows the newest one."""

    def lose(self) -> None:
        """Entries cannot be read."""
        self.any, self.until_ms = True, None

    def pass_by(self, timestamp_ms: int) -> None:
        """An entry, or what is in the place of one, was stamped then."""
        self.newest_ms = timestamp_ms
        if self.until_ms is None:
            self.until_ms = timestamp_ms

    def window(self) -> LostWindow | None:
        """The prompts that may be concerned; None: no entry was lost, or so long ago that it is of no account."""
        since_ms = max(0, self.newest_ms - ENDED_KEPT_S * 1_000)
        if not self.any or (self.until_ms is not None and self.until_ms < since_ms):
            return None
        until_ms = None if self.until_ms is None else self.until_ms + CLOCK_SLACK_MS
        return LostWindow(max(0, since_ms - CLOCK_SLACK_MS), until_ms)


def rebuilt_entry(
    prompt: PromptSubmitted, index: int, folded: FoldedTurn, *, accepted_at_us: int, newest_us: int, now_us: int
) -> JournalEntry:
    """The entry of a turn as its session's log shows it. `newest_us`: when the journal was written last.

    One that has ended is open again where its worker may have died before it wrote the records: recovery writes what is
    missing and closes it.
    """
    body_hash = body_hash_of(prompt)
    entry = msgspec.structs.replace(
        queued_entry(
            prompt,
            index,
            body_hash=body_hash,
            accepted_at_us=accepted_at_us,
            now_us=now_us,
            try_offset=folded.try_offset,
        ),
        phase="running" if folded.attempts_known else "queued",
        attempt=folded.attempts_known,
        run=folded.run,
        first_offset=folded.first_offset,
    )
    ended = folded.ended
    if ended is None or ended.at_us + RECORDED_WITHIN_US >= newest_us:
        return entry
    return closed(entry, ended.reason, folded.last_offset, now_us)


def stop_by(command: PromptCommand, entry: JournalEntry, *, stamped_us: int, is_open: bool) -> StopKind | None:
    """What a command of its session asks of an open turn; None: nothing. `is_open`: the command's own turn is."""
    if entry.cancel_requested or entry.phase not in ("queued", "running") or entry.accepted_at_us > stamped_us:
        return None
    match command:
        case PromptCancelled() if command.prompt_id == entry.prompt_id:
            return "cancelled"
        case PromptSubmitted() if is_open and command.prompt_id != entry.prompt_id:
            decision = WHILE_BUSY[command.on_busy]
            return decision.stop if isinstance(decision, Supersede) else None
        case _:
            return None


def early_cancel(turn: str, command: PromptCancelled, *, stamped_us: int, now_us: int) -> JournalEntry | None:
    """The entry of a cancel whose prompt has not come; None: it is remembered no longer."""
    is_remembered = now_us - stamped_us <= CANCEL_REMEMBERED_S * 1_000_000
    return cancelled_entry(turn, command, now_us=stamped_us) if is_remembered else None
