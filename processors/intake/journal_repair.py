"""Writes anew what a damaged journal has lost, before anything is recovered from it.

`sessions/decisions/lost_entries.py` says which prompts may be concerned. Those are read, in pieces; for each turn that
the journal does not know its session's log is read from that prompt on, and what the log shows is journalled: recovery
then does with it as with any other turn. What commands behind it asked of an open turn is journalled as well.

Cost, where entries were lost: the prompts of ENDED_KEPT_S at most, and a read of the session's log for each session of
a piece with a turn that is not known. Once that is done the entries are known, and after ENDED_KEPT_S nothing is read
any more. Memory: one piece of the prompts, and the prompts of what is open, as ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import msgspec
import structlog

from infra.kafka.cluster_errors import ClusterUnavailable
from infra.kafka.log_client import LogRecord, UnknownLog
from processors.intake.command_intake import check_identifiers
from processors.sessions.decisions.lost_entries import CLOCK_SLACK_MS, LostWindow, early_cancel, rebuilt_entry, stop_by
from processors.sessions.side_by_side import every
from processors.sessions.turn_journal import TurnJournal
from processors.turns.worker_parts import WorkerParts
from schemas.codec import decode_prompt_command, decode_session_event
from schemas.errors import MalformedRecord, SchemaError
from schemas.identifiers import PromptId, SessionId, SessionKey, TurnId, UserId, session_key_of, turn_id_of
from schemas.journal import JournalEntry
from schemas.prompts import PromptCancelled, PromptSubmitted, turns_of
from schemas.session_events import PromptRefused, TurnQueued
from schemas.topics import LogPlace, user_partition
from schemas.turn_fold import FoldedTurn, SessionFold

__all__ = ["JournalRepair"]

log = structlog.get_logger(__name__)

SESSIONS_SIDE_BY_SIDE_MAX: Final = 16
MS_US: Final = 1_000


@dataclass(frozen=True, slots=True)
class Sent:
    """A command as it lies on the prompts."""

    command: PromptSubmitted | PromptCancelled
    turns: tuple[TurnId, ...]
    stamped_us: int


@dataclass(frozen=True, slots=True)
class SessionCommands:
    """What one piece of the prompts holds of a session, in order."""

    sent: list[Sent] = field(default_factory=list)
    open: list[JournalEntry] = field(default_factory=list)
    """The session's turns that have not ended, as the journal has them."""


@dataclass(eq=False, kw_only=True)
class JournalRepair:
    """The repair of one partition's journal, once it is loaded."""

    parts: WorkerParts
    journal: TurnJournal
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(SESSIONS_SIDE_BY_SIDE_MAX), init=False)
    _repaired: int = field(default=0, init=False)

    async def repair(self) -> None:
        """Journal what the journal has lost, if anything. Raises AppendFailed, LogError, SessionTopicsUnavailable; it
        may be repeated."""
        window = self.journal.lost.window()
        if window is None:
            return
        partition = self.journal.partition
        start, end = await self.bounds_of(window)
        log.warning("journal_has_lost_entries", partition=partition, prompts_read=max(0, end - start))
        async for records in self.parts.reader.read(self.parts.names.prompts, partition, start, end):
            sessions = self.sessions_of(records)
            for entry in self.journal.open_entries():
                if (entry.user, entry.session) in sessions:
                    sessions[entry.user, entry.session].open.append(entry)
            await every(self.repair_session(session) for session in sessions.values())
        log.warning("journal_repaired", partition=partition, entries=self._repaired)

    async def bounds_of(self, window: LostWindow) -> tuple[int, int]:
        place = self.parts.names.prompts, self.journal.partition
        start = await self.parts.reader.offset_at(*place, window.since_ms)
        if window.until_ms is None:
            return start, await self.parts.reader.end(*place)
        return start, await self.parts.reader.offset_at(*place, window.until_ms + 1)

    def sessions_of(self, records: Iterable[LogRecord]) -> dict[tuple[str, str], SessionCommands]:
        """The prompts and cancels among them, as far as they are this partition's."""
        models_max = self.parts.prompt_limits().compared_models_max
        sessions: dict[tuple[str, str], SessionCommands] = {}
        for record in records:
            try:
                command = decode_prompt_command(record.value or b"")
                check_identifiers(command)
            except SchemaError:
                continue
            ours = user_partition(command.user) == self.journal.partition
            if ours and isinstance(command, PromptSubmitted | PromptCancelled):
                sent = Sent(command, turn_ids_of(command, models_max), record.timestamp_ms * MS_US)
                sessions.setdefault((command.user, command.session), SessionCommands()).sent.append(sent)
        return sessions

    async def repair_session(self, session: SessionCommands) -> None:
        async with self._slots:
            try:
                await self.repair_alone(session)
            except ClusterUnavailable:
                raise
            except Exception as error:  # one session must not keep a partition from being recovered
                log.error("journal_not_repaired", commands=len(session.sent), exc_info=error)

    async def repair_alone(self, session: SessionCommands) -> None:
        shown = await self.shown(session)
        for sent in session.sent:
            match sent.command:
                case PromptSubmitted():
                    await self.rebuild(session, sent, sent.command, shown)
                case PromptCancelled():
                    await self.remember_early(sent, sent.command)
            await self.stop(session, sent)

    async def rebuild(
        self, session: SessionCommands, sent: Sent, prompt: PromptSubmitted, shown: Mapping[str, FoldedTurn]
    ) -> None:
        journal = self.journal
        for index, turn in enumerate(sent.turns):
            if journal.get(turn) is not None or turn not in shown:
                continue
            entry = rebuilt_entry(
                prompt,
                index,
                shown[turn],
                accepted_at_us=sent.stamped_us,
                newest_us=journal.lost.newest_ms * MS_US,
                now_us=self.parts.clock.now_us(),
            )
            await self.write(entry)
            session.open.append(entry)

    async def remember_early(self, sent: Sent, command: PromptCancelled) -> None:
        turn, now_us = sent.turns[0], self.parts.clock.now_us()
        early = early_cancel(turn, command, stamped_us=sent.stamped_us, now_us=now_us)
        if early is not None and self.journal.get(turn) is None:
            await self.write(early)

    async def stop(self, session: SessionCommands, sent: Sent) -> None:
        """Journal what a command asked of the turns that were open before it."""
        is_open = any(entry.turn in sent.turns and entry.phase != "ended" for entry in session.open)
        for place, entry in enumerate(session.open):
            kind = stop_by(sent.command, entry, stamped_us=sent.stamped_us, is_open=is_open)
            if kind is not None:
                session.open[place] = msgspec.structs.replace(entry, cancel_requested=True, stop=kind)
                await self.write(session.open[place])

    async def write(self, entry: JournalEntry) -> None:
        await self.journal.write(entry)
        self._repaired += 1

    async def shown(self, session: SessionCommands) -> dict[str, FoldedTurn]:
        """The turns of these commands that the journal does not know and the session's log shows."""
        unknown = [
            (turn, sent.stamped_us)
            for sent in session.sent
            if isinstance(sent.command, PromptSubmitted)
            for turn in sent.turns
            if self.journal.get(turn) is None
        ]
        if not unknown:
            return {}
        command, wanted = session.sent[0].command, {turn for turn, _ in unknown}
        key = session_key_of(UserId(command.user), SessionId(command.session))
        found = await self.parts.topics.find(key)
        if found is None:
            return {}
        since_ms = max(0, unknown[0][1] // MS_US - CLOCK_SLACK_MS)
        try:
            return await self.folded(found.place, key, since_ms, wanted)
        except UnknownLog:  # deleted just now
            return {}

    async def folded(
        self, place: LogPlace, key: SessionKey, since_ms: int, wanted: Collection[str]
    ) -> dict[str, FoldedTurn]:
        reader = self.parts.reader
        end = await reader.end(place.topic, place.partition)
        start = await reader.offset_at(place.topic, place.partition, since_ms)
        fold, turns = SessionFold(), {}
        async for records in reader.read(place.topic, place.partition, start, end):
            for record in records:
                if record.value is None or (place.shared and record.key != key.encode()):
                    continue
                with suppress(MalformedRecord):
                    event = decode_session_event(record.value)
                    fold.apply(event, record.offset)
                    if isinstance(event, TurnQueued) and event.turn in wanted and event.turn in fold.turns:
                        turns[event.turn] = fold.turns[event.turn]  # kept beyond the fold's own memory
                    if isinstance(event, PromptRefused):
                        turns = {turn: known for turn, known in turns.items() if fold.stands(turn) or known.ended}
        return turns


def turn_ids_of(command: PromptSubmitted | PromptCancelled, models_max: int) -> tuple[TurnId, ...]:
    """The turns that a command is about; of a prompt with too many models those that it was turned away with."""
    if isinstance(command, PromptSubmitted):
        return turns_of(msgspec.structs.replace(command, models=command.models[: models_max + 1]))
    names = UserId(command.user), SessionId(command.session), PromptId(command.prompt_id)
    return (turn_id_of(*names, 0),)
