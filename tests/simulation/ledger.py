"""The ledger: what must be true of a cluster's logs once everything has come to rest, seen from outside the code.

Verdict names follow the table of faults: *lost* (accepted, never ended), *divergent* (text that nobody wrote),
*unpaid* (a call whose run is not on record), *unfenced* (a call of a run that did not count when it was made),
*phantom* (a run on record that the log does not know). A prompt whose newest sending was refused for now is not lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from infra.kafka.log_client import LogRecord
from processors.sessions.decisions.recovery import newer_entry
from schemas.codec import decode_dead_letter, decode_journal_entry, decode_record, decode_session_event
from schemas.journal import JournalEntry
from schemas.prompts import CompareMode
from schemas.records import REFUSED_RUN
from schemas.session_events import (
    ComparisonEnded,
    PromptRefused,
    TokensEmitted,
    TurnEnded,
    TurnHedged,
    TurnStarted,
)
from schemas.topics import LogPlace
from schemas.turn_fold import FoldedRun, FoldedTurn, SessionFold, Verdict, text_hash
from tests.fakes.memory_log import MemoryLog
from tests.fakes.recorded_attempts import RecordedAttempt, RunName, recorded_attempts
from tests.fakes.scripted_provider import answer_chunks
from tests.fakes.topic_names import DEAD_LETTERS, TURNS
from tests.simulation.simulated_group import SimulatedGroup

__all__ = ["Accepted", "Ledger"]


@dataclass(frozen=True, slots=True)
class Accepted:
    """A prompt that the log took."""

    turn: str
    session_key: str
    place: LogPlace
    question: str
    mode: CompareMode | None = None
    """Set for the turns of a comparison."""


@dataclass(slots=True)
class Ledger:
    """Reads everything and lists what is wrong."""

    group: SimulatedGroup
    accepted: dict[str, Accepted]
    zombies: bool
    """Whether a frozen worker may have written late: the journal then relies on the session's log."""
    faults: list[str] = field(default_factory=list)
    turns: dict[str, FoldedTurn] = field(default_factory=dict)
    comparisons: dict[str, ComparisonEnded] = field(default_factory=dict)
    """By each turn of their prompts."""
    effective_starts: set[tuple[str, int, str]] = field(default_factory=set)
    sent: dict[str, int] = field(default_factory=dict)
    """By each turn, the newest sending of its prompt."""
    refusals: dict[str, list[PromptRefused]] = field(default_factory=dict)
    """By each turn that they took back, in order."""

    def check(self) -> list[str]:
        """Every fault, in words."""
        for key, place in {(prompt.session_key, prompt.place) for prompt in self.accepted.values()}:
            self.fold(key, place)
        for prompt in self.accepted.values():
            self.check_turn(prompt)
            if prompt.mode is not None:
                self.check_comparison(prompt)
        for turn in self.turns.values():
            if turn.ended is None and turn.queued.turn not in self.accepted:
                self.faults.append(f"lost: the merging turn of {turn.queued.prompt_id} never ended")
        recorded = recorded_attempts(map(decode_record, self.group.recorded()))
        self.check_calls(set(recorded))
        self.check_rows(recorded)
        self.check_journal(compacted=False)
        if not self.zombies:
            self.check_journal(compacted=True)
        return self.faults

    def fold(self, key: str, place: LogPlace) -> None:
        fold = SessionFold(keep_text=True)
        records = self.group.log.partitions.get((place.topic, place.partition), [])
        for record in records:
            if record.value is None or (place.shared and record.key != key.encode()):
                continue
            event = decode_session_event(record.value)
            verdict = fold.apply(event, record.offset)
            if isinstance(event, TurnStarted | TurnHedged) and verdict is Verdict.EFFECTIVE:
                self.effective_starts.add((event.turn, event.attempt, event.run))
            if isinstance(event, PromptRefused) and verdict is Verdict.EFFECTIVE:
                for name in event.turns:
                    if not fold.stands(name):
                        self.refusals.setdefault(name, []).append(event)
            if isinstance(event, TokensEmitted | TurnEnded) and verdict is Verdict.HOLE:
                self.faults.append(f"hole: turn {event.turn} attempt {event.attempt} at offset {record.offset}")
        self.turns.update(fold.turns)
        for turn in fold.turns.values():
            comparison = fold.comparisons.get(turn.queued.prompt_id)
            if comparison is not None:
                self.comparisons[turn.queued.turn] = comparison

    def check_comparison(self, prompt: Accepted) -> None:
        """Settled, in favour of a complete answer of its own, or of none where there was none."""
        comparison = self.comparisons.get(prompt.turn)
        if comparison is None and self.is_refused(prompt.turn):
            return
        if comparison is None:
            self.faults.append(f"unsettled: {prompt.question[:40]}")
            return
        asked = self.turns[prompt.turn]
        chosen = self.turns.get(comparison.turn)
        if asked.ended is None or chosen is None:
            if comparison.turn or (asked.ended and asked.ended.reason == "complete" and not self.forgotten(prompt)):
                self.faults.append(f"unsettled: {prompt.question[:40]} has come to nothing")
            return
        if chosen.queued.prompt_id != asked.queued.prompt_id or not chosen.ended:
            self.faults.append(f"unsettled: {prompt.question[:40]} was won by another prompt")
        elif chosen.ended.reason != "complete" or chosen.ended.forgotten:
            self.faults.append(f"unsettled: {prompt.question[:40]} was won by a turn that is {chosen.ended.reason}")

    def forgotten(self, prompt: Accepted) -> bool:
        others = (turn for turn in self.turns.values() if self.comparisons.get(turn.queued.turn) is not None)
        mine = self.comparisons[prompt.turn]
        return any(
            turn.ended.forgotten
            for turn in others
            if turn.ended is not None and self.comparisons[turn.queued.turn] is mine
        )

    def is_refused(self, turn: str) -> bool:
        """Whether the newest sending was refused for now."""
        refused = max((event.try_offset for event in self.refusals.get(turn, ())), default=-1)
        return turn not in self.turns and refused >= self.sent.get(turn, 0)

    def check_turn(self, prompt: Accepted) -> None:
        turn = self.turns.get(prompt.turn)
        if turn is None and self.is_refused(prompt.turn):
            return
        if turn is None:
            self.faults.append(f"lost: {prompt.question[:40]} is not on its session's log")
            return
        ended = turn.ended
        if ended is None:
            self.faults.append(f"lost: {prompt.question[:40]} never ended (attempt {turn.attempt})")
            return
        expected = "".join(answer_chunks(turn.queued.input))  # the id of a prompt that was refused may have other words
        if ended.reason == "complete" and turn.text != expected:
            self.faults.append(f"divergent: {prompt.question[:40]} has {turn.text!r}, not {expected!r}")
        if not expected.startswith(turn.text):
            self.faults.append(f"divergent: {prompt.question[:40]} begins with {turn.text!r}, not {expected!r}")
        if ended.text_sha256 and (ended.text_sha256, ended.text_chars) != (text_hash(turn.text), len(turn.text)):
            self.faults.append(f"divergent: {prompt.question[:40]} ended with the hash of another text")
        if ended.reason in ("complete", "incomplete") and not ended.text_sha256:
            self.faults.append(f"divergent: {prompt.question[:40]} ended {ended.reason} without a hash")
        said = turn.current is not None and turn.current.chunks
        if said and ended.text_sha256 and not ended.usage.output_tokens:
            self.faults.append(f"unbilled: {prompt.question[:40]} ended {ended.reason} without usage")

    def check_calls(self, recorded: set[RunName]) -> None:
        paid = [
            (call.started.turn, call.started.attempt, call.started.run) for call in self.group.calls if call.started
        ]
        if len(paid) != len(self.group.calls):
            self.faults.append("unfenced: a call without a TurnStarted")
        if len(paid) != len(set(paid)):
            self.faults.append("duplicate: two calls of one run")
        self.faults += [f"unpaid: {run} was called and is not on record" for run in paid if run not in recorded]
        self.faults += [
            f"unfenced: {run} was called and never counted" for run in paid if run not in self.effective_starts
        ]

    def check_rows(self, recorded: dict[RunName, RecordedAttempt]) -> None:
        """Rows are the log: every attempt of a turn that has ended is one, with its own text, gaps and reason."""
        known: set[RunName] = set()
        for turn in self.turns.values():
            runs = [*turn.void_runs, turn.current]
            started = {run.run for run in runs if run is not None}
            calls = [(run.attempt, run.run, run) if run else (0, "", None) for run in runs]
            calls += [(hedge.attempt, hedge.run, None) for hedge in turn.hedges if hedge.run not in started]
            for attempt, name, run in calls:
                known.add((turn.queued.turn, attempt, name))
                if turn.ended is not None:
                    self.check_row(recorded, turn, (turn.queued.turn, attempt, name), run)
        self.check_refusals(recorded)
        self.faults += [
            f"phantom: {name} is on record"
            for name in recorded
            if name not in known and not name[2].startswith(REFUSED_RUN)
        ]

    def check_refusals(self, recorded: dict[RunName, RecordedAttempt]) -> None:
        """Each refusal of a turn is a row, under its own sending or the one that it came for; no row is without one."""
        rows: dict[str, list[int]] = {}
        for turn, _, run in recorded:
            if run.startswith(REFUSED_RUN):
                rows.setdefault(turn, []).append(int(run.removeprefix(REFUSED_RUN)))
        for turn, events in self.refusals.items():
            if len(set(rows.get(turn, ()))) < len(events):
                self.faults.append(f"unpaid: {events[0].prompt_id} was refused {len(events)} times: {rows.get(turn)}")
        for turn, sendings in rows.items():
            refused = max((event.try_offset for event in self.refusals.get(turn, ())), default=-1)
            if max(sendings) > refused:
                self.faults.append(f"phantom: sending {max(sendings)} of {turn} is on record as refused")

    def check_row(
        self, recorded: dict[RunName, RecordedAttempt], turn: FoldedTurn, name: RunName, run: FoldedRun | None
    ) -> None:
        found = recorded.get(name)
        if found is None:
            self.faults.append(f"unpaid: {name} is not on record; {turn.queued.prompt_id} has ended")
            return
        expected = "continued" if run is not None and run.stands else "void"
        if turn.ended is not None and (turn.ended.attempt, turn.ended.run) == name[1:]:
            expected = turn.ended.reason
        if found.outcome.reason != expected:
            self.faults.append(f"divergent: {name} is on record as {found.outcome.reason}, not {expected}")
        self.faults += [f"divergent: {name} on record {fault}" for fault in found.faults(run)]

    def check_journal(self, *, compacted: bool) -> None:
        for (topic, _), records in self.group.log.partitions.items():
            if topic != TURNS:
                continue
            entries = folded_journal(records, compacted=compacted)
            self.faults += [
                f"journal: turn of {entry.prompt_id} is {entry.phase}{' once compacted' if compacted else ''}"
                for entry in entries.values()
                if entry.phase in ("queued", "running") and not self.is_stale(entry)
            ]

    def is_stale(self, entry: JournalEntry) -> bool:
        """Whether another worker has refused what this entry is of, which its writer did not live to hear: the next
        owner finds that on the log."""
        refused = max((event.try_offset for event in self.refusals.get(entry.turn, ())), default=-1)
        return (self.zombies or self.group.skipped > 0) and entry.phase == "queued" and entry.try_offset <= refused

    def dead_letters(self) -> list[str]:
        """Their reasons."""
        return [decode_dead_letter(record.value or b"").reason for record in dead_letter_records(self.group.log)]


def dead_letter_records(log: MemoryLog) -> list[LogRecord]:
    return log.records(DEAD_LETTERS, 0)


def folded_journal(records: list[LogRecord], *, compacted: bool) -> dict[str, JournalEntry]:
    """What a new owner would load, of the whole topic or of what compaction leaves."""
    newest = {record.key: record.offset for record in records}
    entries: dict[str, JournalEntry] = {}
    for record in records:
        turn = (record.key or b"").decode()
        if compacted and newest[record.key] != record.offset:
            continue
        if record.value is None:
            entries.pop(turn, None)
        else:
            entries[turn] = newer_entry(entries.get(turn), decode_journal_entry(record.value))
    return entries
