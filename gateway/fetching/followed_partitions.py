"""The partitions that are followed, who follows them, and how far each has been read.

One position per partition, whoever follows it: in the shared layout several sessions meet in one partition and their
records are told apart by key. Purely bookkeeping, so all of the reader's loops may feed it, and
a partition moves to another broker's without a gap: whatever was asked for
from an offset at or before the position can only repeat, never skip, and what repeats is cut off here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.fetching.decisions.open_turns import OpenTurns
from gateway.fetching.decisions.resume_cursor import GapReason
from gateway.fetching.log_reader import LogFollower
from infra.kafka.fetch_request import FetchedPartition, PartitionName
from infra.kafka.log_client import LogRecord
from infra.kafka.lost_range import LEFT_OUT
from infra.kafka.record_batches import Unreadable
from schemas.identifiers import SessionKey
from schemas.topics import LogPlace

__all__ = ["FollowedPartition", "FollowedPartitions"]

UNKNOWN_AGAIN_S: Final = 5.0


@dataclass(slots=True)
class FollowedPartition:
    """One partition: its position and followers by session key."""

    place: LogPlace
    position: int
    dense: bool
    """Whether offsets that are missing there are lost."""
    only: LogFollower | None = None
    """Who follows a place that is not shared."""
    followers: dict[bytes, LogFollower] | None = None
    """Who follows one that is. (A dict of one takes 232 bytes; places that are not shared there are many.)"""
    retry_at_s: float = 0.0
    """Not asked for before this moment: the broker answered with an error."""
    unknown_since_s: float | None = None
    """The brokers have said since then that there is no such topic, and nothing else."""
    unknown_at_s: float = 0.0
    unreadable: int = 0
    """How often what lies at the position could not be read, for the same reason."""
    tries_max: int = 0
    """How often that reason is given another try."""
    turns: OpenTurns | None = None
    """Where the open turns of all its sessions are noted, if it is a shared one."""

    def add(self, key: SessionKey, follower: LogFollower) -> None:
        """In place of whoever followed under this key."""
        if not self.place.shared:
            self.only = follower
        elif self.followers is None:
            self.followers = {key.encode(): follower}
        else:
            self.followers[key.encode()] = follower

    def remove(self, key: SessionKey) -> None:
        """Nobody follows under this key."""
        self.only = None
        if self.followers is not None:
            self.followers.pop(key.encode(), None)

    def note(self, records: Sequence[LogRecord], next_offset: int) -> None:
        """Note the turns of everything before `next_offset`, unless what lies before these records is not known."""
        turns = self.turns
        if turns is not None and turns.known_to >= self.position:
            for record in records:
                turns.note(record.offset, record.key, record.value)
            turns.passed(next_offset)

    def everybody(self) -> list[LogFollower]:
        """Who follows now."""
        if self.only is not None:
            return [self.only]
        return list(self.followers.values()) if self.followers else []


class FollowedPartitions:
    """All partitions that one gateway follows, by name."""

    def __init__(self, is_dense: Callable[[str], bool]) -> None:
        self._is_dense = is_dense
        self.by_name: dict[PartitionName, FollowedPartition] = {}

    def __len__(self) -> int:
        return len(self.by_name)

    def follow(self, place: LogPlace, key: SessionKey, offset: int, follower: LogFollower) -> bool:
        """Add a follower; False where the partition has been read beyond `offset`."""
        name = (place.topic, place.partition)
        partition = self.by_name.get(name)
        if partition is None:
            partition = self.by_name[name] = FollowedPartition(place, offset, self._is_dense(place.topic))
        elif partition.position > offset:
            return False
        partition.add(key, follower)
        return True

    def unfollow(self, place: LogPlace, key: SessionKey) -> None:
        """Remove a follower, and the partition with its last one."""
        name = (place.topic, place.partition)
        partition = self.by_name.get(name)
        if partition is not None:
            partition.remove(key)
            if not partition.everybody():
                del self.by_name[name]

    def position(self, place: LogPlace) -> int | None:
        """How far the partition has been read."""
        partition = self.by_name.get((place.topic, place.partition))
        return None if partition is None else partition.position

    def note_turns(self, place: LogPlace, turns: OpenTurns) -> None:
        """Have the turns of a place noted as its records come; nothing where nobody follows it."""
        partition = self.by_name.get((place.topic, place.partition))
        if partition is not None:
            partition.turns = turns

    def wanted(self, names: Iterable[PartitionName], now_s: float) -> dict[PartitionName, int]:
        """What to ask for now of these, and from where."""
        found = ((name, self.by_name[name]) for name in names)
        return {name: part.position for name, part in found if part.retry_at_s <= now_s}

    def take(self, fetched: FetchedPartition, asked_from: int) -> Unreadable | None:
        """Deliver what is new; what lies at the position and cannot be read. An answer that began beyond the position
        is of no use, and one that began before it may end before it."""
        partition = self.by_name.get(fetched.name)
        if partition is None or asked_from > partition.position:
            return None
        partition.unknown_since_s = None
        decoded = fetched.decoded(partition.position, dense=partition.dense)
        records, next_offset = decoded.records, decoded.next_offset
        if records:
            partition.note(records, next_offset)
            for follower, batch in batches(partition, records):
                follower.deliver(batch)
        if next_offset > partition.position:
            partition.position, partition.unreadable = next_offset, 0
            return None
        return decoded.unreadable if asked_from == partition.position else None

    def give_up(self, name: PartitionName, fault: Unreadable, *, now_s: float, pause_s: float) -> bool:
        """Leave a partition out for a while whose position cannot be read; True: that was tried often enough."""
        partition = self.by_name.get(name)
        if partition is None:
            return False
        if fault is not LEFT_OUT:
            partition.retry_at_s = now_s + pause_s
        if fault.tries_max != partition.tries_max:
            partition.tries_max, partition.unreadable = fault.tries_max, 0
        partition.unreadable += 1
        return partition.unreadable >= fault.tries_max

    def fail(self, name: PartitionName, *, now_s: float, pause_s: float, is_unknown: bool) -> float:
        """The broker answered with an error: leave the partition out for a while. Seconds it has been unknown.

        Unknown now and unknown long ago are two things: a broker that starts may not have heard of a topic yet.
        """
        partition = self.by_name.get(name)
        if partition is None:
            return 0.0
        partition.retry_at_s = now_s + pause_s
        if not is_unknown:
            partition.unknown_since_s = None
            return 0.0
        if partition.unknown_since_s is None or now_s - partition.unknown_at_s > UNKNOWN_AGAIN_S:
            partition.unknown_since_s = now_s
        partition.unknown_at_s = now_s
        return now_s - partition.unknown_since_s

    def retry_now(self, name: PartitionName) -> None:
        """Another broker leads the partition: what the last one said is of no account."""
        partition = self.by_name.get(name)
        if partition is not None:
            partition.retry_at_s = 0.0

    def lose(self, name: PartitionName, reason: GapReason) -> None:
        """Drop the partition and tell its followers."""
        partition = self.by_name.pop(name, None)
        if partition is not None:
            for follower in partition.everybody():
                follower.lost(reason)


def batches(partition: FollowedPartition, records: list[LogRecord]) -> Iterator[tuple[LogFollower, list[LogRecord]]]:
    """Each follower with its records. Followers may come and go while they are served."""
    if not partition.place.shared:
        for follower in partition.everybody():
            yield follower, records
        return
    followers = partition.followers or {}
    by_key: defaultdict[bytes, list[LogRecord]] = defaultdict(list)
    for record in records:
        if record.key is not None and record.key in followers:
            by_key[record.key].append(record)
    for key, batch in by_key.items():
        if key in followers:
            yield followers[key], batch
