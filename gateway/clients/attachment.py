"""A connection's hold on one session: live, or still catching up at the client's own pace.

Live, it is told each record as it comes; where the connection does not take that, it keeps its position and hands
over what is missing from the hub's memory, joined, when there is room. Where that memory does not reach back, a
replay tells what lies between from the log: piece by piece, folded anew, deltas joined, each piece read only once
there is room, and what does not fit let go of and read again. So a slow client costs a position and a fold, and it
joins the hub in one step as soon as memory covers the rest: nothing is missed and nothing comes twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Final, Literal, Protocol, TypeAlias

from gateway.fetching.catch_up_reader import CatchUpReader, PastUnreadable
from gateway.fetching.decisions.resume_cursor import GapReason, LogPosition
from gateway.hubs.decisions.session_messages import HubMessage, SessionReading, subject_of
from gateway.hubs.decisions.session_snapshot import snapshot_messages
from gateway.hubs.decisions.shared_frames import SharedFrame, shared_frames
from gateway.hubs.session_hub import SessionHub
from gateway.sockets.client_writer import ClientWriter
from infra.clickhouse.decisions.archived_turns import ArchivedTurn
from infra.kafka.log_client import LogRecord
from schemas.client_messages import OnSlow
from schemas.codec import decode_session_event, encode
from schemas.errors import MalformedRecord
from schemas.session_events import PromptRefused, SessionEvent
from schemas.turn_fold import SessionFold

__all__ = ["SKIPPED_MESSAGES_MIN", "Attachment", "AttachmentOwner", "Outrun", "Picture"]

SKIPPED_MESSAGES_MIN: Final = 128
"""A client that wants to skip does so when it is further behind than this."""

BEGINNING: Final = LogPosition(0)

Outrun: TypeAlias = Literal["log", "skip"]
"""What a client needs that memory cannot serve: the log, or (having asked for it) a picture of the present."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What a snapshot shows."""

    since: int | None = None
    """Only turns of what lies behind this offset; None: of all that the log holds."""
    until: LogPosition | None = None
    """As it stood there; None: at the hub's position when it is made."""
    only: frozenset[str] | None = None
    """Only these turns, and comparisons of these prompts; None: all."""
    archived: Sequence[ArchivedTurn] = ()
    """Turns that are known from elsewhere; the log goes before."""
    fold_from: int | None = None
    """Where to fold from afterwards, if that is known; None: from the oldest turn that is open."""


class AttachmentOwner(Protocol):
    """Whose attachments they are (`gateway.clients.session_attachments.SessionAttachments`)."""

    def lost(self, held: Attachment, reason: GapReason) -> None:
        """The session's log does not go on."""

    def refused(self, held: Attachment, prompt_id: str, retry_after_s: float) -> None:
        """The session's log will not be made for this prompt."""

    def outrun(self, held: Attachment, need: Outrun) -> None:
        """Memory cannot serve this session's client."""


@dataclass(slots=True, eq=False)
class Attachment:
    """One session of one connection: a `HubListener` and a `FrameHolder`."""

    hub: SessionHub
    writer: ClientWriter
    position: LogPosition
    """The next thing to be told to this client, as far as it is behind the hub."""
    written_cursor: str
    """Where the client stands by what was written to its socket; empty while it waits for a picture: then nothing
    that it was told here is worth coming back with."""
    _: KW_ONLY
    owner: AttachmentOwner
    on_slow: OnSlow = "log"
    task: asyncio.Task[None] | None = field(default=None, init=False)
    live: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.hub.holders.add(self)

    # ---- Live

    def tell(self, frames: Sequence[SharedFrame]) -> None:
        """See `HubListener.tell`."""
        writer = self.writer
        if self in writer.behind:
            return
        for frame in frames:
            if frame.begins >= self.position:
                if not writer.push(self, frame):
                    return
                self.position = frame.ends
            elif frame.ends > self.position:  # some of it was heard elsewhere
                writer.fall_behind(self)
                return

    def hand_over(self) -> bool:
        """See `FrameHolder.hand_over`."""
        missing = self.missing()
        if self.on_slow == "skip" and (missing is None or len(missing) > SKIPPED_MESSAGES_MIN):
            self.outrun("skip")
            return True
        if missing is None:
            self.outrun("log")
            return True
        return self.take(missing)

    def lost(self, reason: GapReason) -> None:
        """See `HubListener.lost`."""
        self.end()
        self.owner.lost(self, reason)

    def began(self) -> None:
        """See `HubListener.began`: whoever was told nothing yet stands at the log's beginning."""
        if self.live and not self.written_cursor:
            self.written_cursor = self.hub.teller.cursor(BEGINNING, BEGINNING.offset)

    def refused(self, prompt_id: str, retry_after_s: float) -> None:
        """See `HubListener.refused`."""
        self.owner.refused(self, prompt_id, retry_after_s)

    def outrun(self, need: Outrun) -> None:
        """Be live no longer: drop what waits, and be told from where was really written."""
        self.hub.listeners.discard(self)
        self.live = False
        self.writer.drop(self)
        self.owner.outrun(self, need)

    def end(self) -> None:
        """Follow no longer."""
        self.hub.holders.discard(self)
        self.hub.listeners.discard(self)
        self.writer.behind.pop(self, None)
        self.live = False
        if self.task is not None:
            self.task.cancel()
            self.task = None

    def join_if_covered(self) -> bool:
        """Go live, if all that is missing is in memory and there is room for it; in one step."""
        missing, at_beginning = self.missing(), self.position == BEGINNING
        if missing is None or not self.take(missing):
            return False
        self.hub.listeners.add(self)
        self.live = True
        if at_beginning:
            self.began()
        return True

    def take(self, missing: list[HubMessage]) -> bool:
        """Take what is missing, up to the hub's position; False: as far as there was room."""
        frames = self.hub.rolled(missing)
        while missing and self.position < missing[-1].ends:
            if not self.writer.has_room():
                return False
            frame = next(frames)
            self.writer.pull(self, frame)
            self.position = frame.ends
        self.position = max(self.position, self.hub.position)
        return True

    def missing(self) -> list[HubMessage] | None:
        """What the hub has told since this position; None where only the log knows.

        A client may stand ahead of the hub, having heard another gateway; but inside a record only the log can tell
        where to go on.
        """
        if self.position >= self.hub.position:
            return None if self.position.chunk else []
        return self.hub.ring.since(self.position)

    # ---- From the log

    async def replay(self, past: CatchUpReader, fold_from: int) -> None:
        """Tell what is missing, then go live. Raises LogError.

        Cancellation: the client stands somewhere in between; its `written_cursor` says where.
        """
        reading = SessionReading(self.hub.teller, starts_at=fold_from, tells_from=self.position)
        while True:
            await self.writer.until_room()
            if self.join_if_covered():
                return
            if self.missing() is None:
                await self.replay_piece(past, reading)

    async def replay_piece(self, past: CatchUpReader, reading: SessionReading) -> None:
        hub = self.hub
        if reading.position <= self.position:
            reading.tells_from = self.position
        end = max(hub.position.offset, self.position.offset + 1 if self.position.chunk else 0)
        piece = await past.piece(hub.log, hub.key, reading.position.offset, end)
        if piece.lost and piece.next_offset > self.position.offset:
            raise PastUnreadable(f"offsets before {piece.next_offset} of the session's log cannot be read")
        untold, is_read = self.tell_records(piece.records, reading)
        if is_read:
            reading.passed(piece.next_offset)
        del piece  # nothing is held while a client takes its time, save what one record made
        for message in untold:
            await self.writer.until_room()
            self.take_message(message)
        self.position = max(self.position, reading.position)

    def tell_records(self, records: list[LogRecord], reading: SessionReading) -> tuple[list[HubMessage], bool]:
        """Tell as long as there is room: what one record still has to say, and whether all records were read."""
        for record in records:
            messages = reading.replay(record.offset, record.value)
            for index, message in enumerate(messages):
                if not self.writer.has_room():
                    return [*messages[index:], *reading.finish_replay()], record is records[-1]
                self.take_message(message)
        return reading.finish_replay(), True

    def take_message(self, message: HubMessage) -> None:
        self.writer.pull(self, shared_frames((message,))[0])
        self.position = message.ends

    async def replay_snapshot(self, past: CatchUpReader, picture: Picture) -> int:
        """Tell the session as it stands, and where to fold from afterwards. Raises LogError.

        The client goes live only when all of it was written: had it to be dropped half-way, nobody could tell what the
        client knows. Cancellation: the client has perhaps a part of it, and no cursor from it.
        """
        hub = self.hub
        end = hub.position if picture.until is None else picture.until
        fold = await self.folded(past, picture, end.offset)
        if picture.fold_from is None:
            fold_from = min([end.offset, *(turn.first_offset for turn in fold.open_turns())])
        else:
            fold_from = picture.fold_from
        self.position = end
        cursor = hub.teller.cursor(end, fold_from)
        messages = snapshot_messages(fold, hub.session, cursor, only=picture.only, archived=picture.archived)
        pieces = [(encode(message), bool(message.c)) for message in messages]
        del fold
        with self.writer.parked(sum(len(payload) for payload, _ in pieces)) as parked:
            for payload, is_last in pieces:
                await self.writer.until_room()
                told_to = cursor if is_last else self.written_cursor
                parked.release(len(payload))
                self.writer.pull(self, SharedFrame(payload, 1, told_to, end, end))
        await self.writer.until_written()
        return fold_from

    async def folded(self, past: CatchUpReader, picture: Picture, end: int) -> SessionFold:
        fold = SessionFold(keep_text=True)
        position = await past.start_of(self.hub.log) if picture.since is None else picture.since
        while position < end:
            piece = await past.piece(self.hub.log, self.hub.key, position, end)
            fold_events(fold, piece.records, picture.only)
            position = piece.next_offset
        return fold


def fold_events(fold: SessionFold, records: list[LogRecord], only: frozenset[str] | None) -> None:
    for record in records:
        if record.value is not None:
            with contextlib.suppress(MalformedRecord):
                event = decode_session_event(record.value)
                if only is None or subject_of(event) in only or takes_back(event, only):
                    fold.apply(event, record.offset)


def takes_back(event: SessionEvent, only: frozenset[str]) -> bool:
    return isinstance(event, PromptRefused) and not only.isdisjoint(event.turns)
