"""An incremental fetch session (KIP-227), seen from the client: what to say in the next request.

The broker remembers which partitions we fetch and from where, so a request names only what changed: partitions that
joined, whose position moved, or that left. The first request has epoch 0 and names everything; the broker answers
with a session id, and the epoch then counts up with each request. When the broker has forgotten the session (evicted,
restarted) or disagrees about the epoch, or an answer is lost, the next request is a full one with epoch 0 again;
broker and client then agree by construction.

Invariant: after an answered request, `known` is exactly what the broker holds for this session. Asking for a change
marks nothing until the answer is in: a request whose answer never comes leaves the state to be opened anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

__all__ = ["FetchPlan", "FetchSession", "pause_s"]

FULL_FETCH_EPOCH: Final = 0
EPOCH_MAX: Final = 0x7FFFFFFF

PAUSE_S_PER_PARTITION: Final = 3e-6
"""A broker walks through every partition of a session at each request, measured at some 2 µs each."""
PARTITIONS_FREE: Final = 100
"""So few cost nothing worth a pause."""
PAUSE_S_MAX: Final = 0.02

Partition = TypeVar("Partition")


@dataclass(frozen=True, slots=True)
class FetchPlan(Generic[Partition]):
    """One request: the session and epoch, partitions to add or move with their offsets, partitions to drop."""

    session_id: int
    epoch: int
    changed: dict[Partition, int]
    forgotten: tuple[Partition, ...]


class FetchSession(Generic[Partition]):
    """The client's half of one session with one broker."""

    __slots__ = ("asked", "epoch", "known", "session_id")

    def __init__(self) -> None:
        self.session_id = 0
        self.epoch = FULL_FETCH_EPOCH
        self.known: dict[Partition, int] = {}
        self.asked: FetchPlan[Partition] | None = None

    def next_request(self, wanted: Mapping[Partition, int]) -> FetchPlan[Partition]:
        """The request that makes the broker fetch `wanted` (partition → offset), given what it already knows."""
        if self.asked is not None:  # the last request was never answered: nobody knows what the broker made of it
            self.lost()
        if self.epoch == FULL_FETCH_EPOCH:
            changed: dict[Partition, int] = dict(wanted)
            forgotten: tuple[Partition, ...] = ()
        else:
            known = self.known
            changed = {part: offset for part, offset in wanted.items() if known.get(part) != offset}
            forgotten = tuple(part for part in known if part not in wanted)
        self.asked = FetchPlan(self.session_id, self.epoch, changed, forgotten)
        return self.asked

    def answered(self, session_id: int) -> None:
        """The broker did what was asked. A session id of 0: it keeps none for us, so each request is a full one."""
        asked, self.asked = self.asked, None
        if asked is None or session_id == 0:
            self.lost()
            return
        if asked.epoch == FULL_FETCH_EPOCH:
            self.known = dict(asked.changed)
        else:
            self.known.update(asked.changed)
            for partition in asked.forgotten:
                del self.known[partition]
        self.session_id = session_id
        self.epoch = 1 if asked.epoch == EPOCH_MAX else asked.epoch + 1

    def lost(self) -> None:
        """The session is gone or in doubt: open a new one with the next request."""
        self.asked = None
        self.session_id = 0
        self.epoch = FULL_FETCH_EPOCH
        self.known = {}


def pause_s(partitions: int) -> float:
    """How long to wait after an answer with records, before the next request for so many partitions.

    While many sessions speak there is always a record somewhere, so a request is answered at once and the next one
    follows: 300 a second, in each of which the broker walks through all of them. A pause that grows with their number
    bounds what walking takes of it, and each answer brings more records.
    """
    if partitions <= PARTITIONS_FREE:
        return 0.0
    return min(PAUSE_S_MAX, partitions * PAUSE_S_PER_PARTITION)
