"""The fold under every interleaving: workers that start the same turns, freeze, wake up late and write twice.

Each generated log is the merge of several workers' writing. A worker writes a turn as our worker does (queued,
started, perhaps a second call beside the first, tokens, further attempts that go on from the text or begin again,
ended), or refuses it for now, in line or before; its prompt may be sent again meanwhile. It may die anywhere, knows
nothing of the others, and any of its records may appear again later.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from dataclasses import dataclass
from typing import TypeAlias

from hypothesis import event as note
from hypothesis import given
from hypothesis import strategies as st

from schemas.session_events import (
    ComparisonEnded,
    PromptRefused,
    SessionEvent,
    TokensEmitted,
    TurnEnded,
    TurnHedged,
    TurnQueued,
    TurnStarted,
)
from schemas.turn_fold import FoldedTurn, SessionFold, Verdict

__all__: list[str] = []

Log: TypeAlias = list[SessionEvent]
TURNS = ("t1", "t2", "t3")
WORKERS = 3
TRIES = (3, 5, 8)
"""Offsets of a prompt that is sent three times."""


@dataclass(frozen=True)
class Folded:
    """A log, the fold of it and what the fold said of each record."""

    log: Log
    fold: SessionFold
    verdicts: list[Verdict]

    def effective(self, turn: str) -> Log:
        return [
            event
            for event, verdict in zip(self.log, self.verdicts, strict=True)
            if verdict is Verdict.EFFECTIVE
            and not isinstance(event, PromptRefused | ComparisonEnded)
            and event.turn == turn
        ]


@st.composite
def writings(draw: st.DrawFn, run_suffix: str) -> Log:
    """What one worker writes of one turn before it is done or dies."""
    turn, sent = draw(st.sampled_from(TURNS)), draw(st.sampled_from(TRIES))
    written: Log = [TurnQueued(turn=turn, prompt_id=f"p-{turn}", input=f"question of {turn}", try_offset=sent)]
    refusal = draw(st.integers(0, 5))
    if refusal <= 1:
        return [*written[refusal:], refused(turn, try_offset=draw(st.sampled_from((sent, max(TRIES)))))]
    if draw(st.integers(0, 5)) == 0:
        written.append(TurnEnded(turn=turn, attempt=0, run="", reason="cancelled"))
        return written
    attempt, seq = draw(st.integers(1, 3)), 0
    for step in range(draw(st.integers(1, 3))):
        run = f"{turn}-{run_suffix}-{step}"
        seq = draw(st.sampled_from([0, seq]))  # it begins again, or goes on from what it said
        number = attempt
        written.append(TurnStarted(turn=turn, attempt=number, run=run, from_seq=seq))
        if draw(st.integers(0, 3)) == 0:
            attempt += 1
            written.append(TurnHedged(turn=turn, attempt=attempt, run=f"{run}-hedge"))
            if draw(st.booleans()):  # the second call spoke first
                number, run = attempt, f"{run}-hedge"
                written.append(TurnStarted(turn=turn, attempt=number, run=run, cause="hedge", from_seq=seq))
        for count in draw(st.lists(st.integers(1, 3), max_size=3)):
            written.append(tokens(turn, number, run, seq, count))
            seq += count
        attempt += 1
    written.append(TurnEnded(turn=turn, attempt=number, run=run, reason="complete", text_chars=seq))
    return written[: draw(st.integers(1, len(written)))]


def refused(turn: str, *, try_offset: int) -> PromptRefused:
    return PromptRefused(
        prompt_id=f"p-{turn}", code="session_busy", message="m", turns=(turn,), try_offset=try_offset, temporary=True
    )


def tokens(turn: str, attempt: int, run: str, seq: int, count: int) -> TokensEmitted:
    chunks = tuple(f"{run}#{number} " for number in range(seq, seq + count))
    return TokensEmitted(turn=turn, attempt=attempt, run=run, seq=seq, chunks=chunks, gaps_us=(1,) * count)


@st.composite
def logs(draw: st.DrawFn) -> Log:
    """A merge of the workers' writing, with records that appear a second time."""
    remaining = [
        [
            record
            for number in range(draw(st.integers(1, 2)))  # a worker may come back to a turn, with another run
            for record in draw(writings(f"w{worker}-{number}"))
        ]
        for worker in range(WORKERS)
    ]
    merged: Log = []
    while any(remaining):
        writer = draw(st.sampled_from([left for left in remaining if left]))
        burst = draw(st.integers(1, len(writer)))
        merged.extend(writer[:burst])
        del writer[:burst]
    for _ in range(draw(st.integers(0, 4))):
        source = draw(st.integers(0, len(merged) - 1))
        merged.insert(draw(st.integers(source + 1, len(merged))), merged[source])
    if draw(st.booleans()):
        merged.insert(draw(st.integers(0, len(merged))), PromptRefused(prompt_id="p-t1", code="id_reused", message="m"))
    for turn in draw(st.lists(st.sampled_from(TURNS), max_size=3)):
        compared = ComparisonEnded(prompt_id="p-t1", mode="first", turn=turn)
        merged.insert(draw(st.integers(0, len(merged))), compared)
    return merged


def folded(log: Log) -> Folded:
    fold = SessionFold(keep_text=True)
    verdicts = [fold.apply(event, offset) for offset, event in enumerate(log)]
    return Folded(log, fold, verdicts)


@given(logs())
def test_a_turn_ends_at_most_once_and_for_good(log: Log) -> None:
    """P2: of all endings written at most one counts, and nothing of the turn counts after it."""
    result = folded(log)
    for turn in TURNS:
        effective = result.effective(turn)
        endings = [position for position, event in enumerate(effective) if isinstance(event, TurnEnded)]
        assert len(endings) <= 1
        assert endings in ([], [len(effective) - 1])
        known = result.fold.turns.get(turn)
        assert (known is not None and known.ended is not None) == bool(endings)
        note(f"ended: {bool(endings)}")


@given(logs())
def test_chunks_of_a_run_have_no_hole_and_no_double(log: Log) -> None:
    """P3: what counts of a run is numbered from where it began, in its order."""
    result = folded(log)
    next_seq: dict[tuple[str, int, str], int] = defaultdict(int)
    for event, verdict in zip(log, result.verdicts, strict=True):
        if isinstance(event, TurnStarted) and verdict is Verdict.EFFECTIVE:
            next_seq[event.turn, event.attempt, event.run] = event.from_seq
        if isinstance(event, TokensEmitted) and verdict is Verdict.EFFECTIVE:
            name = (event.turn, event.attempt, event.run)
            assert event.seq == next_seq[name]
            next_seq[name] += len(event.chunks)
        assert verdict is not Verdict.HOLE or isinstance(event, TurnStarted)


@given(logs())
def test_attempt_goes_on_from_exactly_what_is_there(log: Log) -> None:
    """A start that names another number of chunks than the log holds does not count, and voids nothing."""
    live: dict[str, int] = defaultdict(int)
    for event, verdict in zip(log, folded(log).verdicts, strict=True):
        if isinstance(event, TurnStarted):
            assert verdict is not Verdict.EFFECTIVE or event.from_seq in (0, live[event.turn])
            assert verdict is not Verdict.HOLE or event.from_seq not in (0, live[event.turn])
            note(f"from_seq {bool(event.from_seq)}: {verdict.value}")
        if verdict is Verdict.EFFECTIVE and isinstance(event, TurnStarted):
            live[event.turn] = event.from_seq
        if verdict is Verdict.EFFECTIVE and isinstance(event, TokensEmitted):
            live[event.turn] = event.seq + len(event.chunks)


@given(logs())
def test_text_is_what_a_live_reader_shows(log: Log) -> None:
    """Whoever cuts its text back at each start and adds the chunks that count sees the fold's text."""
    result = folded(log)
    shown: dict[str, list[str]] = defaultdict(list)
    for event, verdict in zip(log, result.verdicts, strict=True):
        if verdict is Verdict.EFFECTIVE and isinstance(event, TurnStarted):
            del shown[event.turn][event.from_seq :]
        if verdict is Verdict.EFFECTIVE and isinstance(event, TokensEmitted):
            shown[event.turn] += event.chunks
    for name, turn in result.fold.turns.items():
        assert turn.text == "".join(shown[name])
        assert turn.next_seq == len(shown[name])
        if turn.ended is not None and turn.current is not None:
            assert (turn.ended.run, turn.ended.attempt) == (turn.run, turn.attempt)
            assert turn.ended.text_chars == turn.next_seq
        note(f"void runs: {len(turn.void_runs)}")


@given(logs())
def test_spans_that_stand_make_up_the_text(log: Log) -> None:
    """P5: the text is the own chunks of the runs since the last restart, each of which is marked as gone on from."""
    for turn in folded(log).fold.turns.values():
        if turn.current is None:
            continue
        runs = [*turn.void_runs, turn.current]
        restarts = [number for number, run in enumerate(runs) if not run.started.from_seq]
        chain = runs[restarts[-1] :]
        assert turn.text == "".join("".join(run.chunks) for run in chain)
        assert all(run.continued for run in chain[:-1])
        assert not turn.current.continued
        for run in runs:
            assert run.next_seq == run.started.from_seq + len(run.chunks)
            assert run.stands == (run.continued and bool(run.chunks))
        note(f"spans: {min(len(chain), 3)}")


@given(logs())
def test_second_call_is_noted_once_and_voids_nothing(log: Log) -> None:
    """P5: whoever comes after finds every second call that may have been paid for, by a number of its own."""
    result = folded(log)
    for name, turn in result.fold.turns.items():
        noted = [event for event in result.effective(name) if isinstance(event, TurnHedged)]
        assert turn.hedges == noted
        assert len({hedge.run for hedge in noted}) == len(noted)
        attempts = [run.attempt for run in turn.void_runs] + [turn.attempt] + [hedge.attempt for hedge in noted]
        assert turn.attempts_known == max(attempts)
        note(f"hedges: {min(len(noted), 2)}")


@given(logs())
def test_first_comparison_of_a_prompt_counts(log: Log) -> None:
    """What a comparison came to never changes."""
    written = [event for event in log if isinstance(event, ComparisonEnded)]

    assert folded(log).fold.comparisons == {event.prompt_id: event for event in reversed(written)}


@given(logs())
def test_attempts_that_count_rise(log: Log) -> None:
    """Each effective start has a higher attempt than the one before, and voids it."""
    result = folded(log)
    for turn, known in result.fold.turns.items():
        attempts = [event.attempt for event in result.effective(turn) if isinstance(event, TurnStarted)]
        assert attempts == sorted(set(attempts))
        assert [run.attempt for run in known.void_runs] == attempts[:-1]
        assert known.attempt == (attempts[-1] if attempts else 0)


@given(logs())
def test_void_records_change_nothing(log: Log) -> None:
    """A record that does not count leaves every turn as it was."""
    fold = SessionFold(keep_text=True)
    for offset, event in enumerate(log):
        before = copy.deepcopy(fold.turns)
        verdict = fold.apply(event, offset)
        takes_back = isinstance(event, PromptRefused) and bool(event.turns)
        if verdict is not Verdict.EFFECTIVE or (isinstance(event, PromptRefused | ComparisonEnded) and not takes_back):
            assert fold.turns == before
        note(verdict.value)


@given(logs())
def test_log_without_its_void_records_folds_to_the_same(log: Log) -> None:
    """What counts does not depend on what does not."""
    result = folded(log)
    alone = SessionFold(keep_text=True)
    for offset, (event, verdict) in enumerate(zip(log, result.verdicts, strict=True)):
        if verdict is Verdict.EFFECTIVE:
            assert alone.apply(event, offset) is Verdict.EFFECTIVE

    assert alone.turns == result.fold.turns


@given(logs(), st.data())
def test_folding_in_two_pieces_is_folding_at_once(log: Log, data: st.DataObject) -> None:
    """Wherever a reader pauses, and however much it reads again when it goes on, it knows the same in the end."""
    cut = data.draw(st.integers(0, len(log)))
    overlap = data.draw(st.integers(0, cut))
    in_pieces = folded(log[:cut]).fold
    for offset in range(cut - overlap, len(log)):
        in_pieces.apply(log[offset], offset)
    at_once = folded(log).fold

    assert in_pieces.turns == at_once.turns
    assert in_pieces.next_offset == at_once.next_offset


@given(logs(), st.data())
def test_reader_that_begins_at_read_from_knows_the_open_turns(log: Log, data: st.DataObject) -> None:
    """Of every turn opened from there on, a new reader knows all that one who read everything knows."""
    begin = folded(log[: data.draw(st.integers(0, len(log)))]).fold.read_from()
    late = SessionFold(keep_text=True)
    for offset in range(begin, len(log)):
        late.apply(log[offset], offset)
    complete = folded(log).fold
    expected = {name: turn for name, turn in complete.turns.items() if turn.first_offset >= begin}

    assert {name: turn for name, turn in late.turns.items() if name in expected} == expected
    for name in late.turns.keys() - expected.keys():  # queued once more after its end: the journal knows better
        known = complete.turns.get(name)
        assert known.ended is not None if known else complete.is_refused(f"p-{name}", name, late.turns[name].try_offset)
        note("queued again after its end" if known else "queued again after its refusal")
    for prompt_id, refusal in late.refused.items():
        assert complete.is_refused(prompt_id, prompt_id.removeprefix("p-"), refusal.try_offset)


@given(logs())
def test_a_sending_that_was_refused_never_opens_its_turn(log: Log) -> None:
    """Once a sending is refused before it began, only a later one is answered; what began is never taken back."""
    result = folded(log)
    open_try: dict[str, int] = {}
    newest_refused: dict[str, int] = defaultdict(lambda: -1)
    begun: set[str] = set()
    for event, verdict in zip(log, result.verdicts, strict=True):
        match event:
            case TurnQueued() if verdict is Verdict.EFFECTIVE:
                assert event.try_offset > newest_refused[event.turn]
                open_try[event.turn] = event.try_offset
            case TurnQueued() if event.turn in open_try:
                open_try[event.turn] = max(open_try[event.turn], event.try_offset)
            case TurnStarted() | TurnHedged() | TurnEnded() if verdict is Verdict.EFFECTIVE:
                begun.add(event.turn)
            case PromptRefused() if event.turns:
                (turn,) = event.turns
                stands = turn in begun or open_try.get(turn, -1) > event.try_offset
                known = newest_refused[turn] >= event.try_offset
                expected = Verdict.REPEATED if known else Verdict.AFTER_END if stands else Verdict.EFFECTIVE
                assert verdict is expected
                newest_refused[turn] = max(newest_refused[turn], event.try_offset)
                if verdict is Verdict.EFFECTIVE:
                    open_try.pop(turn, None)
            case _:
                pass
        note(f"{type(event).__name__}: {verdict.value}")
    assert open_try.keys() == result.fold.turns.keys()


@given(logs(), st.data())
def test_reader_that_begins_behind_a_refusal_agrees_on_who_is_open(log: Log, data: st.DataObject) -> None:
    """Where no sending that was refused is queued behind it, a reader may begin anywhere after the refusal."""
    fold = SessionFold(keep_text=True)
    for offset, event in enumerate(log):
        fold.apply(event, offset)
    clean = [index for index in range(len(log)) if not any(turn.first_offset < index for turn in fold.turns.values())]
    begin = data.draw(st.sampled_from(clean))
    late = SessionFold(keep_text=True)
    for offset in range(begin, len(log)):
        late.apply(log[offset], offset)

    stale = set(late.turns) - set(fold.turns)
    assert all(fold.is_refused(f"p-{name}", name, late.turns[name].try_offset) for name in stale)
    assert {name: turn for name, turn in late.turns.items() if name not in stale} == fold.turns


@given(logs())
def test_every_open_turn_lies_in_what_read_from_names(log: Log) -> None:
    """No open turn begins before the offset from which it must be read."""
    fold = folded(log).fold

    assert all(turn.first_offset >= fold.read_from() for turn in fold.open_turns())
    assert fold.read_from() <= fold.next_offset == len(log)


@given(logs())
def test_fold_without_texts_says_the_same_of_each_record(log: Log) -> None:
    """Whether texts are kept changes memory and nothing else."""
    with_texts, without = folded(log), SessionFold()
    verdicts = [without.apply(event, offset) for offset, event in enumerate(log)]

    assert verdicts == with_texts.verdicts
    assert {name: outline(turn) for name, turn in without.turns.items()} == {
        name: outline(turn) for name, turn in with_texts.fold.turns.items()
    }
    assert all(turn.text == "" for turn in without.turns.values())


def outline(turn: FoldedTurn) -> tuple[object, ...]:
    runs = [(run.run, run.next_seq, run.stands) for run in turn.void_runs]
    return (turn.attempt, turn.run, turn.next_seq, turn.ended, turn.first_offset, turn.last_offset, runs, turn.hedges)
