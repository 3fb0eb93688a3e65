"""The ledger of a run at quiescence, kept from outside: what was accepted against the log, the clients, the database.

Every accepted prompt ended once, as it should, with the text that the provider derives from its conversation; no
session holds a turn that nobody asked for; every record of a log counts (or, after a crash, is void for a reason);
ClickHouse has one row per attempt, with the log's own numbers. Verdicts are named as Jepsen names them: lost,
duplicate, phantom, divergent, reordered, unseen.

The logs are read with a plain Kafka client and the rows with a plain ClickHouse client.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import clickhouse_connect
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from schemas.codec import decode_dead_letter, decode_session_event
from schemas.dead_letters import DeadLetter
from schemas.identifiers import PromptId, SessionId, SessionKey, UserId, session_key_of, turn_id_of
from schemas.session_events import EndReason, SessionEvent, TokensEmitted, TurnEnded
from schemas.topics import Layout, LogPlace
from schemas.turn_fold import FoldedRun, FoldedTurn, SessionFold, Verdict, text_hash
from tests.fakes.topic_names import DEAD_LETTERS, session_place
from tests.integration.chat_client import ChatClient
from tests.integration.whole_line import POLL_S, WholeLine

__all__ = [
    "Asked",
    "Ledger",
    "SessionLog",
    "check_ledger",
    "client_problems",
    "letters_of",
    "log_problems",
    "read_places",
    "row_problems",
    "rows_of",
    "runs_of",
]

QUIET_S: Final = 60.0
KAFKA_S: Final = 10.0
COLUMNS: Final = (
    "turn",
    "attempt",
    "run",
    "reason",
    "prompt_id",
    "session",
    "text",
    "text_sha256",
    "chunks",
    "cost_nano_usd",
    "output_tokens",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """An accepted prompt and what must have become of it. `text` None: any (what a cancel leaves)."""

    user: str
    session: str
    prompt_id: str
    text: str | None
    reason: EndReason = "complete"

    @property
    def turn(self) -> str:
        """Its turn."""
        return turn_id_of(UserId(self.user), SessionId(self.session), PromptId(self.prompt_id))

    @property
    def key(self) -> SessionKey:
        """Its session's key."""
        return session_key_of(UserId(self.user), SessionId(self.session))


@dataclass(slots=True)
class SessionLog:
    """One session's log, folded; and what of it did not count."""

    fold: SessionFold
    void: list[tuple[Verdict, SessionEvent]] = field(default_factory=list)
    endings: dict[str, int] = field(default_factory=dict)

    def take(self, event: SessionEvent, offset: int) -> None:
        """Fold the next record."""
        verdict = self.fold.apply(event, offset)
        if verdict is not Verdict.EFFECTIVE:
            self.void.append((verdict, event))
        if isinstance(event, TurnEnded):
            self.endings[event.turn] = self.endings.get(event.turn, 0) + 1


@dataclass(slots=True)
class Ledger:
    """What was found. `turns` and `rows` by turn id."""

    turns: dict[str, FoldedTurn]
    rows: dict[str, list[dict[str, Any]]]
    problems: list[str]

    @property
    def attempts(self) -> dict[str, int]:
        """Attempts by turn."""
        return {turn: folded.attempt for turn, folded in self.turns.items()}


async def check_ledger(
    line: WholeLine,
    asked: Sequence[Asked],
    *,
    clients: Iterable[ChatClient] = (),
    layout: Layout = "dedicated",
    crashed: bool = False,
    dead_letters: int = 0,
) -> Ledger:
    """Wait for quiescence, compare everything, raise AssertionError with all that does not fit.

    `crashed`: a worker was killed or lost its broker, so that logs may hold void records of earlier runs.
    """
    logs = await asyncio.to_thread(until_ended, line, asked, layout)
    turns = {turn: folded for log in logs.values() for turn, folded in log.fold.turns.items()}
    problems = log_problems(asked, logs, crashed=crashed)
    problems += [problem for client in clients for problem in client_problems(client, turns)]
    rows = await asyncio.to_thread(until_rows, line, asked, sum(len(runs_of(turn)) for turn in turns.values()))
    problems += row_problems(turns, rows)
    letters = await asyncio.to_thread(letters_of, line, {each.user for each in asked})
    if len(letters) != dead_letters:
        problems.append(f"phantom: {len(letters)} dead letters instead of {dead_letters}: {letters}")
    assert not problems, "\n".join([*problems, line.logs()])
    return Ledger(turns, rows, problems)


# ---- The logs


def until_ended(line: WholeLine, asked: Sequence[Asked], layout: Layout) -> dict[SessionKey, SessionLog]:
    """The logs, once every turn on them has ended; as they stand at the deadline otherwise."""
    give_up_s = time.monotonic() + QUIET_S
    while True:
        logs = read_logs(line.kafka, {each.key for each in asked}, layout)
        ended = {turn for log in logs.values() for turn, folded in log.fold.turns.items() if folded.ended}
        if {each.turn for each in asked} <= ended or time.monotonic() > give_up_s:
            return logs
        time.sleep(POLL_S)


def read_logs(kafka: str, keys: set[SessionKey], layout: Layout) -> dict[SessionKey, SessionLog]:
    logs = {key: SessionLog(SessionFold(keep_text=True)) for key in keys}
    owners = {session_place(key, layout): key for key in keys}
    for place, message in read_places(kafka, set(owners)):
        key = SessionKey((message.key() or b"").decode()) if place.shared else owners[place]
        if key not in logs:
            continue  # a neighbour in the shared layout
        logs[key].take(decode_session_event(message.value() or b""), message.offset() or 0)
    return logs


def read_places(kafka: str, places: set[LogPlace]) -> Iterator[tuple[LogPlace, Message]]:
    """Every record there is, in order within a place."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "ledger", "enable.auto.commit": False})
    try:
        ends = {(place.topic, place.partition): (place, end_of(consumer, place)) for place in places}
        left = {where: end for where, (_, end) in ends.items() if end}
        consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in left])
        give_up_s = time.monotonic() + KAFKA_S
        while left:
            assert time.monotonic() < give_up_s, f"the logs could not be read: {left}"
            for message in consumer.consume(500, 0.2):
                if message.error() is not None:
                    continue  # such as a broker that was just killed; the deadline bounds it
                where = (message.topic() or "", message.partition() or 0)
                yield ends[where][0], message
                if (message.offset() or 0) + 1 >= left.get(where, 0):
                    left.pop(where, None)
    finally:
        consumer.close()


def end_of(consumer: Consumer, place: LogPlace) -> int:
    """The offset of the next record; 0 where there is no such log (yet)."""
    try:
        return int(consumer.get_watermark_offsets(TopicPartition(place.topic, place.partition), KAFKA_S)[1])
    except KafkaException:
        return 0


def log_problems(asked: Sequence[Asked], logs: dict[SessionKey, SessionLog], *, crashed: bool) -> list[str]:
    problems = []
    for key, log in logs.items():
        wanted = {each.turn: each for each in asked if each.key == key}
        problems += [f"phantom: turn {turn}, asked by nobody" for turn in log.fold.turns if turn not in wanted]
        for each in wanted.values():
            problems += turn_problems(each, log.fold.turns.get(each.turn), log.endings.get(each.turn, 0), crashed)
        for verdict, event in log.void:
            if verdict is Verdict.HOLE or (verdict is Verdict.REPEATED and isinstance(event, TokensEmitted)):
                problems.append(f"{'lost' if verdict is Verdict.HOLE else 'duplicate'}: {verdict} {event}")
            elif not crashed:
                problems.append(f"duplicate: {verdict} {event}, though nothing crashed")
    return problems


def turn_problems(asked: Asked, turn: FoldedTurn | None, endings: int, crashed: bool) -> list[str]:
    name = f"{asked.session}/{asked.prompt_id}"
    if turn is None:
        return [f"lost: {name} is not on the log"]
    if turn.ended is None:
        return [f"lost: {name} did not end (attempt {turn.attempt}, {turn.next_seq} chunks)"]
    problems = []
    if turn.ended.reason != asked.reason:
        problems.append(f"divergent: {name} ended {turn.ended.reason}, not {asked.reason}: {turn.ended.error}")
    if asked.text is not None and turn.text != asked.text:
        problems.append(f"divergent: {name} says {turn.text!r} instead of {asked.text!r}")
    if turn.ended.text_sha256 not in ("", text_hash(turn.text)):
        problems.append(f"divergent: the ending of {name} has the hash of another text")
    if endings != 1 and not crashed:
        problems.append(f"duplicate: {endings} endings of {name}")
    return problems


# ---- The clients


def client_problems(client: ChatClient, turns: dict[str, FoldedTurn]) -> list[str]:
    problems = [f"reordered: {fault}" for fault in client.faults]
    for seen in client.turns.values():
        folded = turns.get(seen.turn)
        if folded is None or folded.ended is None:
            continue  # said of the log already
        if seen.end is None:
            problems.append(f"unseen: the end of {seen.session}/{seen.prompt_id}")
        elif (seen.text, seen.attempt, seen.end.reason) != (folded.text, folded.attempt, folded.ended.reason):
            problems.append(f"divergent: {seen.session}/{seen.prompt_id} was shown {seen.text!r}, {seen.end}")
    return problems


# ---- The database


def rows_of(line: WholeLine, users: Iterable[str]) -> list[dict[str, Any]]:
    """What the attempts of these users are, by a plain ClickHouse client."""
    client = clickhouse_connect.get_client(**line.analytics_access)
    try:
        answer = client.query(
            f"SELECT {', '.join(COLUMNS)} FROM tokenwire.turn_streams WHERE user IN %(users)s ORDER BY turn, attempt",
            parameters={"users": sorted(set(users))},
        )
        return [dict(zip(COLUMNS, row, strict=True)) for row in answer.result_rows]
    finally:
        client.close()


def until_rows(line: WholeLine, asked: Sequence[Asked], count: int) -> dict[str, list[dict[str, Any]]]:
    """The rows of the asked sessions, once there are enough of them (or as they stand at the deadline)."""
    sessions = {each.session for each in asked}
    give_up_s = time.monotonic() + QUIET_S
    while True:
        rows = [row for row in rows_of(line, (each.user for each in asked)) if row["session"] in sessions]
        if len(rows) >= count or time.monotonic() > give_up_s:
            break
        time.sleep(POLL_S)
    by_turn: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_turn.setdefault(row["turn"], []).append(row)
    return by_turn


def runs_of(turn: FoldedTurn) -> list[tuple[int, str, FoldedRun | None]]:
    """Attempt and run of every row that a turn must have: second calls that never spoke have one, too."""
    runs: list[tuple[int, str, FoldedRun | None]] = [(run.attempt, run.run, run) for run in turn.void_runs]
    runs.append((turn.attempt, turn.run, turn.current))
    spoken = {run for _, run, _ in runs}
    silent = [(hedge.attempt, hedge.run, None) for hedge in turn.hedges if hedge.run not in spoken]
    return sorted([*runs, *silent], key=lambda run: run[:2])


def row_problems(turns: dict[str, FoldedTurn], rows: dict[str, list[dict[str, Any]]]) -> list[str]:
    problems = [f"phantom: {len(rows[turn])} rows of turn {turn}" for turn in rows if turn not in turns]
    for name, turn in turns.items():
        wanted = [row_of_run(turn, attempt, run, folded) for attempt, run, folded in runs_of(turn)]
        found = rows.get(name, [])
        if [(row["attempt"], row["run"]) for row in found] != [(row["attempt"], row["run"]) for row in wanted]:
            problems.append(f"divergent: the rows of turn {name} are {found}, the log says {wanted}")
            continue
        for row, of_log in zip(found, wanted, strict=True):
            differs = {column: (row[column], value) for column, value in of_log.items() if row[column] != value}
            if differs:
                problems.append(f"divergent: turn {name}, attempt {row['attempt']}, row and log: {differs}")
    return problems


def row_of_run(turn: FoldedTurn, attempt: int, run: str, folded: FoldedRun | None) -> dict[str, Any]:
    """What ClickHouse must say of an attempt. The cost of a void one is an estimate and on no log."""
    ended = turn.ended
    last = ended is not None and ended.run == run
    left = "continued" if folded is not None and folded.stands else "void"
    row: dict[str, Any] = {
        "attempt": attempt,
        "run": run,
        "reason": ended.reason if last and ended else left,
        "prompt_id": turn.queued.prompt_id,
        "text": "".join(folded.chunks) if folded else "",
        "chunks": len(folded.chunks) if folded else 0,
    }
    if last and ended:
        row |= {"cost_nano_usd": ended.cost_nano_usd, "output_tokens": ended.usage.output_tokens}
    return row


# ---- The dead letters


def letters_of(line: WholeLine, users: Iterable[str]) -> list[DeadLetter]:
    """What of these users could not be processed: told by the user named in it, or by its record's key."""
    names = {name.encode() for name in users}
    place = LogPlace(DEAD_LETTERS, 0, shared=False)
    letters = (decode_dead_letter(message.value() or b"") for _, message in read_places(line.kafka, {place}))
    return [letter for letter in letters if letter.key in names or letter.user.encode() in names]
