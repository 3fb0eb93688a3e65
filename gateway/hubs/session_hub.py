"""One session on this gateway: its place in the log, its newest messages, and everybody who follows it.

Each record is decoded, folded and encoded once; all connections share the bytes. The hub knows the position up to
which everything has been told; a connection that stands there (or where the ring reaches) is joined in one step
without waiting, so no record can slip between. A hub holds no texts: its fold remembers turns, its ring a bounded
number of bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Final, Generic, Protocol, TypeVar

from gateway.fetching.decisions.resume_cursor import Forged, Gap, GapReason, LogPosition, SignedPosition
from gateway.fetching.log_reader import LogReader
from gateway.hubs.decisions.attach_plan import HubView
from gateway.hubs.decisions.message_ring import MessageRing
from gateway.hubs.decisions.roll_up import ROLLED_BYTES_MAX, groups, rolled_group
from gateway.hubs.decisions.session_messages import HubMessage, SessionReading, SessionTeller
from gateway.hubs.decisions.shared_frames import FRAME_BYTES_MAX, SharedFrame, shared_frames
from infra.kafka.log_client import LogRecord
from infra.kafka.session_topics import SessionLog
from schemas.identifiers import SessionKey, UserId
from schemas.topics import LogPlace

__all__ = ["RING_BYTES_MAX", "HubListener", "OneOrMany", "SessionHub"]

RING_BYTES_MAX: Final = 262_144
"""Newest messages that a session keeps for reconnects; older ones come from Kafka."""

JOINED_FRAMES_MAX: Final = 4
"""Frames of joined messages that are kept for the next slow reader that comes by."""

RELAY_SAMPLE: Final = 16
"""One delivery in so many is measured."""

Item = TypeVar("Item")


class HubListener(Protocol):
    """Somebody who follows a session."""

    written_cursor: str
    """Where it stands by what was written to its socket."""

    def tell(self, frames: Sequence[SharedFrame]) -> None:
        """The next messages, in order, in frames that all listeners share."""

    def lost(self, reason: GapReason) -> None:
        """The log does not go on from here."""

    def began(self) -> None:
        """The log that was waited for is there."""

    def refused(self, prompt_id: str, retry_after_s: float) -> None:
        """The log will not be made for this prompt."""


@dataclass(slots=True, eq=False)
class SessionHub:
    """A `LogFollower` that relays to its listeners."""

    key: SessionKey
    log: SessionLog
    teller: SessionTeller
    reading: SessionReading
    _: KW_ONLY
    user: UserId
    on_lost: Callable[[SessionHub], None]
    on_relay: Callable[[int], None]
    """Told now and then when a record was stamped that is being relayed."""
    on_holes: Callable[[int], None]
    """Told how many records more were passed over since what should come before them is missing."""
    on_wish: Callable[[SessionHub], None]
    """Told, now and again, while an open turn's worker wants word of those who follow it."""
    ring: MessageRing = field(init=False)
    holders: OneOrMany[HubListener] = field(default_factory=lambda: OneOrMany(), init=False)
    """Everybody who needs this hub, those who still catch up included."""
    listeners: OneOrMany[HubListener] = field(default_factory=lambda: OneOrMany(), init=False)
    """Those who are told each record as it comes."""
    _reader: LogReader | None = field(default=None, init=False)
    _frame_bytes_max: int = field(init=False)
    _rolled_bytes_max: int = field(init=False)
    joined_frames: dict[tuple[LogPosition, LogPosition], SharedFrame] | None = field(default=None, init=False)
    """The newest frames of joined messages, by where they begin and end, for a second or so."""
    _relayed: int = field(default=0, init=False)
    idle_since_s: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.ring = MessageRing(bytes_max=RING_BYTES_MAX, covers_from=self.reading.position)
        self._frame_bytes_max = min(FRAME_BYTES_MAX, self.teller.message_bytes_max)
        self._rolled_bytes_max = min(ROLLED_BYTES_MAX, self.teller.message_bytes_max)

    def joined(self, reader: LogReader) -> None:
        """The reader delivers from here on."""
        self._reader = reader
        self.ring.covers_from = self.reading.position

    @property
    def is_absent(self) -> bool:
        """Whether its log is not there yet: nothing was told, and there is no cursor."""
        return not self.log.epoch

    @property
    def session(self) -> str:
        """What its user calls it."""
        return self.teller.session

    @property
    def place(self) -> LogPlace:
        """Where its log lies, or will."""
        return self.log.place

    def read(self, cursor: str) -> SignedPosition | Gap | Forged:
        """What a cursor of the session says."""
        return self.teller.signer.read(cursor)

    def found(self, session_log: SessionLog, epoch: bytes) -> None:
        """Its log has come, and is followed from its beginning."""
        self.log, self.teller.epoch = session_log, epoch
        for holder in self.holders:
            holder.began()

    def refused(self, prompt_id: str, retry_after_s: float) -> None:
        """A worker may not make its log for this prompt."""
        for holder in self.holders:
            holder.refused(prompt_id, retry_after_s)

    @property
    def position(self) -> LogPosition:
        """Everything before it has been told. In a shared partition others' records move it as well."""
        if self._reader is not None and self.place.shared:
            reached = self._reader.position(self.place)
            if reached is not None:
                self.reading.passed(reached)
        return self.reading.position

    def head(self) -> str:
        """The cursor of somebody who has been told everything."""
        position = self.position
        return self.teller.cursor(position, self.reading.fold_from)

    def view(self) -> HubView:
        """What decides how a client is attached."""
        position = self.position
        subjects: set[str] = set()
        for turn in self.reading.fold.open_turns():
            subjects.add(turn.queued.turn)
            if turn.queued.models:
                subjects.add(turn.queued.prompt_id)  # what its comparison came to
        return HubView(self.teller.epoch, position, self.reading.fold_from, frozenset(subjects), self.ring.covers_from)

    def has_open_turn(self) -> bool:
        """Whether a turn waits or runs."""
        return next(iter(self.reading.fold.open_turns()), None) is not None

    def expects_records(self) -> bool:
        """See `LogFollower.expects_records`."""
        return self.has_open_turn()

    def deliver(self, records: Sequence[LogRecord]) -> None:
        """See `LogFollower.deliver`."""
        messages: list[HubMessage] = []
        for record in records:
            messages.extend(self.reading.take(record.offset, record.value))
        if self.reading.holes:
            self.on_holes(self.reading.holes)
            self.reading.holes = 0
        if self.reading.wish is not None:
            self.heed()
        if messages:
            self._relayed += 1
            if self._relayed % RELAY_SAMPLE == 1:
                self.on_relay(self.reading.stamped_us)
            self.ring.extend(messages)
            if self.listeners:
                frames = shared_frames(messages, self._frame_bytes_max)
                for listener in self.listeners:
                    listener.tell(frames)

    def rolled(self, missing: Sequence[HubMessage]) -> Iterator[SharedFrame]:
        """The messages joined, frame by frame as they are asked for; made once for readers that go the same way."""
        made = self.joined_frames = {} if self.joined_frames is None else self.joined_frames
        for group in groups(missing, self._rolled_bytes_max):
            place = (group[0].begins, group[-1].ends)
            frame = made.get(place)
            if frame is None:
                frame = made[place] = rolled_group(group)
                if len(made) > JOINED_FRAMES_MAX:
                    del made[next(iter(made))]
            yield frame

    def heed(self) -> None:
        """Make the wish of the session's worker known, if it has one."""
        if self.reading.wish is not None:
            self.on_wish(self)

    def lost(self, reason: GapReason) -> None:
        """See `LogFollower.lost`: whoever listens is told and comes back through a new hub."""
        self.on_lost(self)
        holders, self.holders, self.listeners = self.holders, OneOrMany(), OneOrMany()
        for holder in holders:
            holder.lost(reason)


class OneOrMany(Generic[Item]):
    """An ordered set that nearly always holds one thing: a session's readers, of which there are as a rule one.

    A dict takes 232 bytes from its first entry on, and a gateway has three of them for each of its sessions. Iterating
    goes over those that were there when it began.
    """

    __slots__ = ("_many", "_one")

    def __init__(self) -> None:
        self._one: Item | None = None
        self._many: dict[Item, None] | None = None
        """All of them, once there were two."""

    def add(self, item: Item) -> None:
        """Put it at the end, unless it is there."""
        if self._many is not None:
            self._many[item] = None
        elif self._one is None:
            self._one = item
        elif self._one is not item:
            self._many = {self._one: None, item: None}
            self._one = None

    def discard(self, item: Item) -> None:
        """Take it out, if it is there."""
        if self._many is not None:
            self._many.pop(item, None)
            if not self._many:
                self._many = None
        elif self._one is item:
            self._one = None

    def __iter__(self) -> Iterator[Item]:
        if self._many is not None:
            return iter(list(self._many))
        return iter(() if self._one is None else (self._one,))

    def __len__(self) -> int:
        return len(self._many) if self._many is not None else int(self._one is not None)

    def __contains__(self, item: object) -> bool:
        return item in self._many if self._many is not None else self._one is item and item is not None
