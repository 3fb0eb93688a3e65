"""Stops turns, running or waiting, and keeps answers that are not wanted any more from being merged."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec

from infra.clock import Clock
from processors.sessions.decisions.admission import body_hash_of, queued_entry
from processors.sessions.decisions.busy_session import stronger_stop
from processors.sessions.decisions.turn_life import TurnEvent
from processors.sessions.open_turn import OpenTurn
from processors.sessions.partition_tasks import PartitionTasks
from processors.sessions.session_lane import SessionLane
from processors.sessions.side_by_side import every
from schemas.journal import JournalEntry, StopKind
from schemas.prompts import turns_of

__all__ = ["TurnStops", "merge_entry"]


@dataclass(eq=False, kw_only=True)
class TurnStops:
    """Stops the turns of one partition. `launch` starts one that nobody is at work on, so that it is ended."""

    tasks: PartitionTasks
    clock: Clock
    launch: Callable[[SessionLane, OpenTurn], None]

    async def stop(self, lane: SessionLane, turns: Iterable[OpenTurn], kind: StopKind) -> None:
        """End these turns as soon as can be, whether they run or wait. Raises AppendFailed.

        Why is journalled first, so that whoever finds them after a crash ends them the same way.
        Cancellation: some may be journalled as stopped and go on here; the next owner stops them.
        """
        turns = list(turns)
        merging = await self.forbid_merges(lane, turns)
        stopped = [turn for turn in dict.fromkeys((*turns, *merging)) if not turn.over]
        await every(self.note_stop(lane, turn, kind) for turn in stopped)
        for turn in stopped:
            turn.stop_waiting()
            if not turn.life.claimed and not self.tasks.stopping:
                self.launch(lane, turn)

    async def note_stop(self, lane: SessionLane, turn: OpenTurn, kind: StopKind) -> None:
        if turn.over:  # its entry is being closed
            return
        stop = stronger_stop(turn.entry.stop if turn.entry.cancel_requested else None, kind)
        now_us = self.clock.now_us()
        turn.note(TurnEvent.STOPPED, stop=stop, updated_at_us=now_us)
        await lane.journal.write(turn.entry)

    async def forbid_merges(self, lane: SessionLane, turns: Iterable[OpenTurn]) -> list[OpenTurn]:
        """Journal that the answers of these turns' prompts are not to be merged any more.

        Returns the merging turns that are queued already. Raises AppendFailed.
        """
        prompts = {turn.prompt.prompt_id: turn for turn in turns if turn.prompt.models}
        found: list[OpenTurn] = []
        for turn in (turn for turn in prompts.values() if turn.prompt.compare == "merge"):
            async with lane.settling:  # a merge that is just being queued is found in the lane
                entry = merge_entry(turn, self.clock.now_us())
                merging = lane.find(entry.turn)
                if merging is not None:
                    found.append(merging)
                elif lane.journal.get(entry.turn) is None:
                    await lane.journal.write(msgspec.structs.replace(entry, phase="cancelled_early", prompt=None))
        return found


def merge_entry(turn: OpenTurn, now_us: int) -> JournalEntry:
    """What is journalled of the turn that merges the answers of this one's prompt."""
    body_hash, index = turn.entry.body_hash or body_hash_of(turn.prompt), len(turns_of(turn.prompt)) - 1
    accepted_at_us = turn.entry.accepted_at_us
    return queued_entry(
        turn.prompt,
        index,
        body_hash=body_hash,
        accepted_at_us=accepted_at_us,
        now_us=now_us,
        try_offset=turn.entry.try_offset,
    )
