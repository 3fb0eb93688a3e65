"""Whatever attempts a turn had, its rows in ClickHouse say what its log said in the end."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from infra.clickhouse.decisions.archived_turns import ArchivedTurn, PartRow, archived_turns
from schemas.records import refused_run
from schemas.session_events import END_REASONS, TokensEmitted, TurnEnded, TurnQueued, TurnStarted, Usage
from schemas.turn_fold import SessionFold

__all__: list[str] = []

CHUNKS = st.lists(st.text("abc é", min_size=1, max_size=3), max_size=6)


@st.composite
def histories(draw: st.DrawFn, turn: str) -> tuple[list[PartRow], FoldedLike]:
    """A turn's attempts: the rows that are kept of them, and what the log's one reading makes of the same events."""
    fold, rows = SessionFold(keep_text=True), []
    offset = iter(range(10_000))
    fold.apply(TurnQueued(turn=turn, prompt_id=f"p-{turn}", input="?"), next(offset))
    attempts = draw(st.integers(1, 4))
    said = 0
    for attempt in range(1, attempts + 1):
        goes_on = attempt > 1 and draw(st.booleans())
        first = said if goes_on else 0
        chunks = draw(CHUNKS)
        run = f"r{attempt}"
        fold.apply(TurnStarted(turn=turn, attempt=attempt, run=run, from_seq=first), next(offset))
        if chunks:
            fold.apply(
                TokensEmitted(turn=turn, attempt=attempt, run=run, seq=first, chunks=tuple(chunks)), next(offset)
            )
        said = first + len(chunks)
        rows.append((attempt, run, first, chunks))
        if draw(st.booleans()):  # a second call that never counted
            rows.append((attempt, f"{run}-lost", 0, draw(CHUNKS)))
    reason = draw(st.sampled_from(END_REASONS))
    fold.apply(TurnEnded(turn=turn, attempt=attempts, run=f"r{attempts}", reason=reason), next(offset))  # type: ignore[arg-type]
    folded = fold.turns[turn]
    stood = {run.run for run in folded.void_runs if run.stands}
    kept = []
    for attempt, run, first, chunks in rows:
        outcome = reason if run == f"r{attempts}" else "continued" if run in stood else "void"
        kept += draw(parts(turn, attempt, run, first=first, chunks=chunks, outcome=outcome))
    return kept, (folded.text, folded.next_seq, reason)


FoldedLike = tuple[str, int, str]


@st.composite
def parts(
    draw: st.DrawFn, turn: str, attempt: int, run: str, *, first: int, chunks: list[str], outcome: str
) -> list[PartRow]:
    """An attempt's rows, cut anywhere."""
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(chunks) - 1)), max_size=2))) if len(chunks) > 1 else []
    pieces = [chunks[start:end] for start, end in zip([0, *cuts], [*cuts, len(chunks)], strict=True)]
    found, seq = [], first
    for number, piece in enumerate(pieces):
        last = number == len(pieces) - 1
        found.append(
            PartRow(
                turn=turn,
                attempt=attempt,
                run=run,
                part=number,
                last=last,
                prompt_id=f"p-{turn}",
                seq=seq,
                chunks=len(piece),
                text="".join(piece),
                reason=outcome if last else "",
                error_code="",
                provider="someone" if last else "",
                model="a-model" if last else "",
                usage=Usage(),
                cost_nano_usd=0,
                accepted_at=datetime(2026, 1, int(turn[1:]) + 1, tzinfo=UTC) if last else None,
            )
        )
        seq += len(piece)
    strays = draw(st.sets(st.integers(len(found) - 1, len(found) + 1), max_size=2))
    return found + [
        found[-1]._replace(part=part, last=False, text="nobody counts this", chunks=1, reason="", accepted_at=None)
        for part in strays
    ]


def said_by(turn: ArchivedTurn) -> FoldedLike:
    return turn.text, turn.next_seq, turn.reason


@given(st.data(), st.integers(1, 3), st.randoms(use_true_random=False))
def test_rows_say_what_the_log_said(data: st.DataObject, count: int, order: object) -> None:
    """In any order of the rows, for several turns at once, oldest first."""
    told = [data.draw(histories(f"t{number}")) for number in range(count)]
    rows = [row for kept, _ in told for row in kept]
    order.shuffle(rows)  # type: ignore[attr-defined]

    turns = archived_turns(rows)
    assert [turn.turn for turn in turns] == [f"t{number}" for number in range(count)]
    assert [said_by(turn) for turn in turns] == [folded for _, folded in told]


@given(st.data(), st.lists(st.integers(0, 9), max_size=2, unique=True))
def test_sendings_that_were_refused_say_nothing(data: st.DataObject, sendings: list[int]) -> None:
    """The turn is what answered the prompt in the end; of one that was never taken in there is none."""
    rows, folded = data.draw(histories("t1"))
    refused = [
        rows[-1]._replace(
            attempt=0, run=refused_run(sending), part=0, last=True, seq=0, chunks=0, text="", reason="rejected"
        )
        for sending in sendings
    ]

    assert [said_by(turn) for turn in archived_turns([*rows, *refused])] == [folded]
    assert archived_turns(refused) == ()


@given(st.data())
def test_half_an_answer_is_none(data: st.DataObject) -> None:
    """Without one of the rows that its text comes from, a turn is left out or says the same."""
    rows, folded = data.draw(histories("t1"))
    missing = data.draw(st.integers(0, len(rows) - 1))
    turns = archived_turns([row for number, row in enumerate(rows) if number != missing])

    assert [said_by(turn) for turn in turns] in ([], [folded])


@given(st.data())
def test_turn_that_goes_on_is_left_out(data: st.DataObject) -> None:
    """Until its end is there."""
    rows, _ = data.draw(histories("t1"))

    assert archived_turns(row for row in rows if row.reason not in END_REASONS) == ()
