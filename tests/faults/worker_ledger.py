"""The ledger of a line that has workers only: session logs, records, journal, commits and the provider's own calls.

What `tests/integration/ledger.py` is for a whole line: every accepted prompt ended once with the right text, every
attempt has its one record with that attempt's text, nothing is left open in the journal, nothing is left to commit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from schemas.codec import decode_journal_entry, decode_record, decode_session_event
from schemas.identifiers import SessionKey
from schemas.records import TurnRecord
from schemas.session_events import SessionEvent, TokensEmitted
from schemas.topics import RECORD_PARTITIONS, USER_PARTITIONS, LogPlace
from schemas.turn_fold import FoldedTurn, SessionFold
from tests.fakes.recorded_attempts import RecordedAttempt, RunName, recorded_attempts
from tests.fakes.topic_names import PROMPTS, RECORDS, TURNS, session_place
from tests.integration.ledger import Asked, SessionLog, log_problems, read_places, runs_of
from tests.integration.worker_line import WorkerLine

__all__ = ["TimedLog", "WorkerLedger", "check_worker_ledger", "lag_of", "until_no_lag"]

QUIET_S: Final = 60.0
KAFKA_S: Final = 10.0
POLL_S: Final = 0.1


@dataclass(slots=True)
class TimedLog(SessionLog):
    """A session's log that also remembers when each record of an answer was written."""

    written_us: dict[str, list[int]] = field(default_factory=dict)
    """Worker's clock at each record of a run, in log order."""

    def take(self, event: SessionEvent, offset: int) -> None:
        """Fold the next record."""
        SessionLog.take(self, event, offset)
        if isinstance(event, TokensEmitted):
            self.written_us.setdefault(event.run, []).append(event.at_us)


@dataclass(slots=True)
class WorkerLedger:
    """What was found. Both by turn id and by run."""

    turns: dict[str, FoldedTurn]
    written_us: dict[str, list[int]]


async def check_worker_ledger(line: WorkerLine, asked: Sequence[Asked], *, crashed: bool = False) -> WorkerLedger:
    """Wait for quiescence, compare everything, raise AssertionError with all that does not fit.

    `crashed`: a worker was killed or gave turns away, so that logs may hold void records of earlier runs.
    """
    kafka = line.broker.bootstrap_servers
    logs = await asyncio.to_thread(until_ended, kafka, asked)
    turns = {turn: folded for log in logs.values() for turn, folded in log.fold.turns.items()}
    problems = log_problems(asked, dict(logs), crashed=crashed)
    wanted = {(turn, attempt, run) for turn, folded in turns.items() for attempt, run, _ in runs_of(folded)}
    recorded = await asyncio.to_thread(until_recorded, kafka, set(turns), wanted)
    problems += record_problems(turns, recorded)
    left_open = await asyncio.to_thread(until_closed, kafka, set(turns))
    problems += [f"lost: the journal holds turn {turn} open" for turn in sorted(left_open)]
    assert not problems, "\n".join(problems)
    return WorkerLedger(turns, {run: times for log in logs.values() for run, times in log.written_us.items()})


# ---- The logs


def until_ended(kafka: str, asked: Sequence[Asked]) -> dict[SessionKey, TimedLog]:
    """The logs, once every asked turn has ended; as they stand at the deadline otherwise."""
    give_up_s = time.monotonic() + QUIET_S
    while True:
        logs = {each.key: TimedLog(SessionFold(keep_text=True)) for each in asked}
        owners = {session_place(key, "dedicated"): key for key in logs}
        for place, message in read_places(kafka, set(owners)):
            logs[owners[place]].take(decode_session_event(message.value() or b""), message.offset() or 0)
        ended = {turn for log in logs.values() for turn, folded in log.fold.turns.items() if folded.ended}
        if {each.turn for each in asked} <= ended or time.monotonic() > give_up_s:
            return logs
        time.sleep(POLL_S)


# ---- The records


def until_recorded(kafka: str, turns: set[str], wanted: set[RunName]) -> dict[RunName, RecordedAttempt]:
    """What is on record of these turns, once each run is."""
    give_up_s = time.monotonic() + QUIET_S
    while True:
        recorded = recorded_attempts(record for record in read_records(kafka) if record.turn in turns)
        if wanted <= set(recorded) or time.monotonic() > give_up_s:
            return recorded
        time.sleep(POLL_S)


def read_records(kafka: str) -> Iterable[TurnRecord]:
    places = {LogPlace(RECORDS, partition, shared=False) for partition in range(RECORD_PARTITIONS)}
    return [decode_record(message.value() or b"") for _, message in read_places(kafka, places)]


def record_problems(turns: dict[str, FoldedTurn], recorded: dict[RunName, RecordedAttempt]) -> list[str]:
    problems = []
    for name, turn in turns.items():
        for attempt, run, folded in runs_of(turn):
            found = recorded.pop((name, attempt, run), None)
            if found is None:
                problems.append(f"lost: no record of turn {name}, attempt {attempt}")
                continue
            last = found.outcome
            problems += [
                f"divergent: turn {name}, attempt {attempt}, on record {each}" for each in found.faults(folded)
            ]
            is_last = turn.ended is not None and turn.ended.run == run
            left = "continued" if folded is not None and folded.stands else "void"
            reason = turn.ended.reason if is_last and turn.ended else left
            if last.reason != reason:
                problems.append(f"divergent: turn {name}, attempt {attempt}, is {last.reason} on record, not {reason}")
            if folded is not None and folded.chunks and not last.cost_nano_usd:
                problems.append(f"lost: turn {name}, attempt {attempt}, cost nothing")
    return [*problems, *(f"phantom: a record of {name}" for name in recorded)]


# ---- The journal


def until_closed(kafka: str, turns: set[str]) -> set[str]:
    """Turns whose newest journal entry is open; waits for there to be none."""
    places = {LogPlace(TURNS, partition, shared=False) for partition in range(USER_PARTITIONS)}
    give_up_s = time.monotonic() + KAFKA_S
    while True:
        phases: dict[str, str] = {}
        for _, message in read_places(kafka, places):
            if message.value() is not None:
                entry = decode_journal_entry(message.value() or b"")
                phases[entry.turn] = entry.phase
        left_open = {turn for turn in turns if phases.get(turn, "ended") != "ended"}
        if not left_open or time.monotonic() > give_up_s:
            return left_open
        time.sleep(POLL_S)


# ---- The commits


def lag_of(line: WorkerLine) -> int:
    """Prompts that the group has not committed yet."""
    kafka = line.broker.bootstrap_servers
    partitions = [TopicPartition(PROMPTS, partition) for partition in range(USER_PARTITIONS)]
    admin = AdminClient({"bootstrap.servers": kafka})
    group = line.settings.worker_group_name
    asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, partitions)])
    committed = asked[group].result(KAFKA_S).topic_partitions
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "lag", "enable.auto.commit": False})
    try:
        ends = [consumer.get_watermark_offsets(TopicPartition(PROMPTS, each.partition), KAFKA_S) for each in committed]
    finally:
        consumer.close()
    return sum(high - max(low, each.offset) for each, (low, high) in zip(committed, ends, strict=True))


async def until_no_lag(line: WorkerLine, deadline_s: float) -> float:
    """Wait for the group to have committed everything; the seconds it took."""
    begun_s = time.monotonic()
    async with asyncio.timeout(deadline_s):
        while await asyncio.to_thread(lag_of, line):  # noqa: ASYNC110 - the condition lies in the broker
            await asyncio.sleep(POLL_S)
    return time.monotonic() - begun_s
