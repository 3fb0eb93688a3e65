"""A connection's hold on one session: live, or still catching up at the client's own pace.

A replay tells what lies between the client's position and the hub's, from the hub's memory where that reaches, else
from the log, folded anew and with deltas joined. It waits whenever the client is behind, so a slow client is served
from the log and costs no memory; and it joins the hub in one step as soon as memory covers the rest, so nothing is
missed and nothing comes twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Final

from gateway.client_writer import ClientWriter
from gateway.decisions.resume_cursor import GapReason, LogPosition
from gateway.decisions.session_messages import HubMessage, SessionReading
from gateway.decisions.session_snapshot import snapshot_messages
from gateway.log_reader import PastReader
from gateway.session_hub import SessionHub
from gateway.session_hubs import session_records
from infra.kafka.log_client import LogRecord
from schemas.codec import decode_session_event, encode
from schemas.errors import MalformedRecord
from schemas.turn_fold import SessionFold

__all__ = ["Attachment"]

JOIN_BYTES_MAX: Final = 16_384
"""So much of the ring is handed over in the step that joins; more is told piece by piece before."""


class Attachment:
    """One session of one connection."""

    __slots__ = ("hub", "live", "on_lost", "position", "task", "turns", "turns_until", "writer", "written_cursor")

    def __init__(
        self,
        hub: SessionHub,
        writer: ClientWriter,
        position: LogPosition,
        written_cursor: str,
        on_lost: Callable[[Attachment, GapReason], None],
    ) -> None:
        self.hub = hub
        self.writer = writer
        self.position = position
        """The next thing to be told to this client, as far as it is behind the hub."""
        self.written_cursor = written_cursor
        """Where the client stands by what was written to its socket."""
        self.on_lost = on_lost
        self.turns: frozenset[str] | None = None
        """Tell only these turns' messages before `turns_until`; None: tell everything."""
        self.turns_until = position
        self.task: asyncio.Task[None] | None = None
        self.live = False
        hub.holders[self] = None

    def only_turns(self, turns: frozenset[str], until: LogPosition) -> None:
        """Leave out what other turns said before `until`."""
        self.turns, self.turns_until = turns, until

    def tell(self, messages: Sequence[HubMessage]) -> None:
        """See `HubListener.tell`."""
        if messages[0].begins < self.position:
            messages = [message for message in messages if message.begins >= self.position]
        self.writer.tell(self, messages)

    def lost(self, reason: GapReason) -> None:
        """See `HubListener.lost`."""
        self.end()
        self.on_lost(self, reason)

    def end(self) -> None:
        """Follow no longer."""
        self.hub.holders.pop(self, None)
        self.hub.listeners.pop(self, None)
        self.live = False
        if self.task is not None:
            self.task.cancel()
            self.task = None

    def join_if_covered(self) -> bool:
        """Go live, if all that is missing is in memory and small; in one step."""
        missing = self.missing()
        if missing is None or sum(len(message.payload) for message in missing) > JOIN_BYTES_MAX:
            return False
        self.writer.tell(self, self.chosen(missing))
        self.position = max(self.position, self.hub.position)
        self.hub.listeners[self] = None
        self.live = True
        return True

    def missing(self) -> list[HubMessage] | None:
        """What the hub has told since this position; None where only the log knows.

        A client may stand ahead of the hub, having heard another gateway; but inside a record only the log can tell
        where to go on.
        """
        if self.position >= self.hub.position:
            return None if self.position.chunk else []
        return self.hub.ring.since(self.position)

    def chosen(self, messages: list[HubMessage]) -> list[HubMessage]:
        turns = self.turns
        if turns is None:
            return messages
        return [message for message in messages if message.begins >= self.turns_until or message.turn in turns]

    async def replay(self, log_client: PastReader, fold_from: int) -> None:
        """Tell what is missing, then go live. Raises LogError.

        Cancellation: the client stands somewhere in between; its `written_cursor` says where.
        """
        reading = SessionReading(self.hub.teller, starts_at=fold_from, tells_from=self.position)
        while not self.join_if_covered():
            missing = self.missing()
            if missing is None:
                await self.replay_log(log_client, reading)
            else:
                await self.tell_slowly(self.chosen(missing))
                self.position = max(self.position, missing[-1].ends)

    async def replay_log(self, log_client: PastReader, reading: SessionReading) -> None:
        hub = self.hub
        if reading.position <= self.position:
            reading.tells_from = self.position
        end = max(hub.position.offset, self.position.offset + 1 if self.position.chunk else 0)
        async for records in session_records(log_client, hub.log, hub.key, reading.position.offset, end):
            messages: list[HubMessage] = []
            for record in records:
                messages.extend(reading.replay(record.offset, record.value))
            await self.tell_slowly(self.chosen(messages))
        await self.tell_slowly(self.chosen(reading.finish_replay()))
        reading.passed(end)
        self.position = max(self.position, reading.position)

    async def replay_snapshot(self, log_client: PastReader) -> int:
        """Tell the session as it stands at the hub's position, and where to fold from afterwards. Raises LogError."""
        hub = self.hub
        end = hub.position.offset
        fold = SessionFold(keep_text=True)
        start = (await log_client.bounds(hub.log.place.topic, hub.log.place.partition)).start
        async for records in session_records(log_client, hub.log, hub.key, start, end):
            fold_events(fold, records)
        fold_from = min([end, *(turn.first_offset for turn in fold.open_turns())])
        self.position = LogPosition(end)
        cursor = hub.teller.cursor(self.position, fold_from)
        for message in snapshot_messages(fold, hub.teller.session, cursor):
            await self.writer.until_flowing()
            if message.c:
                self.writer.send_encoded(encode(message), self, cursor)
            else:
                self.writer.send(message)
        return fold_from

    async def tell_slowly(self, messages: list[HubMessage]) -> None:
        """Tell one by one as the client takes them; the client stands behind what it was told."""
        for message in messages:
            await self.writer.until_flowing()
            self.writer.tell(self, (message,))
            self.position = message.ends


def fold_events(fold: SessionFold, records: list[LogRecord]) -> None:
    for record in records:
        if record.value is not None:
            with contextlib.suppress(MalformedRecord):
                fold.apply(decode_session_event(record.value), record.offset)
