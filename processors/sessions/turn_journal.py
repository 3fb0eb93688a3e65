"""The journal of one partition of users: what was begun, in memory and on `tokenwire.turns`.

Loaded from the topic before the partition's prompts are read, written before what it describes is done. The memory
copy changes only after the broker acknowledged, so that a decision never rests on an entry that a successor would
not find. What of the topic cannot be read is noted (`lost`); `journal_repair.py` finds it again. Ended turns stay
ENDED_KEPT_S for deduplication, then leave a tombstone; turns that were refused for now leave one at once. Of ended
turns a worker has many more than of open ones, so they are kept packed.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import islice
from typing import Final

import msgspec
import structlog

from infra.clock import Clock
from infra.kafka.log_client import LogClient, LogRecord
from processors.sessions.decisions.lost_entries import LostEntries
from processors.sessions.decisions.recovery import newer_entry
from processors.writing.log_appender import LogAppender
from schemas.codec import decode_journal_entry, encode
from schemas.errors import MalformedRecord
from schemas.journal import ENDED_KEPT_S, JournalEntry
from schemas.ledger import Amount, RunAccount, TurnAccount

__all__ = ["TurnJournal"]

log = structlog.get_logger(__name__)

SECOND_US: Final = 1_000_000
SWEEP_BATCH_MAX: Final = 500
FIELDS: Final = JournalEntry.__struct_fields__
OF_ACCOUNTS: Final = ("counted_at_us", "runs")
"""The last of them."""
ENDED_PHASES: Final = frozenset({"ended", "cancelled_early"})


class TurnJournal:
    """The entries of one partition."""

    def __init__(self, partition: int, *, appender: LogAppender, reader: LogClient, clock: Clock) -> None:
        self._topic = appender.names.turns
        self.partition = partition
        self._appender = appender
        self._reader = reader
        self._clock = clock
        self.open: dict[str, JournalEntry] = {}
        """Turns that have not ended."""
        self.ended: dict[str, bytes] = {}
        """Those that have, packed, the one written last at the end."""
        self.leased: dict[str, int] = {}
        """When the broker stamped the entries that leave a running turn to another worker, by turn."""
        self.first_offsets: dict[tuple[str, str], array[int]] = {}
        """Per session, where its remembered turns begin, ascending."""
        self._accounted: set[str] = set()
        """Turns that say something of their user's account."""
        self.lost = LostEntries()
        """What of the topic could not be read when it was loaded."""

    async def load(self) -> None:
        """Read the whole partition. Raises LogError."""
        bounds = await self._reader.bounds(self._topic, self.partition)
        self.lost = LostEntries()
        async for piece in self._reader.pieces(self._topic, self.partition, bounds.start, bounds.end):
            if piece.lost is not None:
                self.lost.lose()
            for record in piece.records:
                turn = (record.key or b"").decode(errors="replace")
                if record.value is None:
                    self.forget(turn)
                else:
                    self.take(turn, record)
                self.lost.pass_by(record.timestamp_ms)
        if self.open or self.ended:
            log.info("journal_loaded", partition=self.partition, turns=len(self.open) + len(self.ended))

    def get(self, turn: str) -> JournalEntry | None:
        """What is known of a turn."""
        packed = self.ended.get(turn)
        return self.open.get(turn) if packed is None else unpacked(turn, packed)

    def open_entries(self) -> Iterator[JournalEntry]:
        """Turns that have not ended, as they were journalled."""
        return iter(self.open.values())

    def leased_at_us(self, turn: str) -> int:
        """When a turn was left to the worker that runs it, by the broker's stamp; 0: it was not, as the topic says."""
        return self.leased.get(turn, 0)

    def is_open(self, turn: str) -> bool:
        """Whether a turn is known and has not ended."""
        return turn in self.open

    def turn_accounts(self) -> Iterator[tuple[str, TurnAccount]]:
        """User by user what turns say of their account."""
        for turn in self._accounted:
            entry = self.get(turn)
            if entry is not None:
                yield entry.user, TurnAccount(turn=turn, counted_at_us=entry.counted_at_us, runs=entry.runs)

    def first_offset_of(self, user: str, session: str) -> int:
        """Where the oldest remembered turn of a session begins on its log; -1: none is remembered."""
        offsets = self.first_offsets.get((user, session))
        return offsets[0] if offsets else -1

    async def write(self, entry: JournalEntry) -> None:
        """Append the entry and wait for the acknowledgement. Raises AppendFailed, AppendRefused.

        Cancellation: the entry may be on the topic and not in memory; the next owner reads it.
        """
        await self._appender.append(self._topic, self.partition, encode(entry), key=entry.turn.encode())
        self.remember(newer_entry(self.get(entry.turn), entry))

    async def remove(self, turn: str) -> None:
        """Forget a turn, here and on the topic. Raises AppendFailed. Cancellation: as of `write`."""
        await self._appender.append(self._topic, self.partition, None, key=turn.encode())
        self.forget(turn)

    async def sweep(self) -> int:
        """Forget up to SWEEP_BATCH_MAX turns that ended more than ENDED_KEPT_S ago; returns how many those were."""
        old = list(islice(self.old_turns(), SWEEP_BATCH_MAX))
        for turn in old:
            await self.remove(turn)
        return len(old)

    def old_turns(self) -> Iterator[str]:
        horizon_us = self._clock.now_us() - ENDED_KEPT_S * SECOND_US
        for turn, packed in self.ended.items():
            if unpacked(turn, packed).updated_at_us >= horizon_us:
                return  # what follows was written later
            yield turn

    def remember(self, entry: JournalEntry) -> None:
        self.forget(entry.turn)
        if entry.phase in ENDED_PHASES:
            self.ended[entry.turn] = packed_entry(entry)
        else:
            self.open[entry.turn] = entry
        if entry.runs or entry.counted_at_us:
            self._accounted.add(entry.turn)
        if entry.first_offset >= 0:
            insort(self.first_offsets.setdefault((entry.user, entry.session), array("q")), entry.first_offset)

    def forget(self, turn: str) -> None:
        entry = self.get(turn)
        self.leased.pop(turn, None)
        self.open.pop(turn, None)
        self.ended.pop(turn, None)
        self._accounted.discard(turn)
        if entry is None or entry.first_offset < 0:
            return
        session = (entry.user, entry.session)
        offsets = self.first_offsets[session]
        del offsets[bisect_left(offsets, entry.first_offset)]
        if not offsets:
            del self.first_offsets[session]

    def take(self, turn: str, record: LogRecord) -> None:
        try:
            entry = decode_journal_entry(record.value or b"")
        except MalformedRecord:
            log.error("journal_entry_unreadable", partition=self.partition, offset=record.offset)
            self.lost.lose()
            return
        newer = newer_entry(self.get(turn), entry)
        self.remember(newer)
        if newer is entry and entry.lease_until_us:
            self.leased[turn] = record.timestamp_ms * 1_000


def packed_entry(entry: JournalEntry) -> bytes:
    """The entry of an ended turn (which has no prompt), without its names, its turn, and what it says of no account."""
    values = msgspec.structs.astuple(msgspec.structs.replace(entry, turn="", prompt=None))
    accounted = entry.counted_at_us or entry.runs
    runs = [packed_run(run) for run in entry.runs]
    return msgspec.msgpack.encode((*values[: -len(OF_ACCOUNTS)], *((entry.counted_at_us, runs) if accounted else ())))


def packed_run(run: RunAccount) -> tuple[object, ...]:
    return (
        run.run,
        run.at_us,
        run.settled_at_us,
        *msgspec.structs.astuple(run.held),
        *msgspec.structs.astuple(run.used),
    )


def unpacked(turn: str, packed: bytes) -> JournalEntry:
    values = dict(zip(FIELDS, msgspec.msgpack.decode(packed), strict=False)) | {"turn": turn}
    runs = values.get("runs", ())
    values["runs"] = tuple(
        RunAccount(
            turn=turn,
            run=run,
            session=values["session"],
            at_us=at_us,
            settled_at_us=settled_at_us,
            held=Amount(*amounts[:3]),
            used=Amount(*amounts[3:]),
        )
        for run, at_us, settled_at_us, *amounts in runs
    )
    return JournalEntry(**values)
