"""The conversation that a worker keeps, and the one that the log tells: always the same."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from processors.sessions.decisions.session_history import Said, history_of, messages_of, said_by, with_said
from schemas.prompts import ChatMessage
from schemas.session_events import (
    ComparisonEnded,
    EndReason,
    SessionEvent,
    TokensEmitted,
    TurnEnded,
    TurnQueued,
    TurnStarted,
)
from schemas.turn_fold import SessionFold, Verdict

__all__: list[str] = []


@dataclass(frozen=True, slots=True)
class Drawn:
    """One turn's fate."""

    prompt: int
    compared: bool
    replaces: bool
    text: str
    forgotten: bool
    reason: EndReason


TURNS = st.lists(
    st.builds(
        Drawn,
        prompt=st.integers(0, 5),
        compared=st.booleans(),
        replaces=st.integers(0, 4).map(lambda number: number == 0),
        text=st.sampled_from(["", "a", "bc"]),
        forgotten=st.integers(0, 3).map(lambda number: number == 0),
        reason=st.sampled_from(["complete", "incomplete", "cancelled", "superseded"]),
    ),
    max_size=8,
)


def queued(number: int, turn: Drawn) -> TurnQueued:
    messages = (ChatMessage("system", "s"), ChatMessage("user", f"q{number}")) if turn.replaces else None
    return TurnQueued(
        turn=f"t{number}",
        prompt_id=f"p{turn.prompt}" if turn.compared else f"single-{number}",
        input="" if turn.replaces else f"q{number}",
        messages=messages,
        models=("a", "b") if turn.compared else (),
    )


def answered(number: int, turn: Drawn) -> list[SessionEvent]:
    name = f"t{number}"
    events: list[SessionEvent] = [TurnStarted(turn=name, attempt=1, run=name)]
    if turn.text:
        events.append(TokensEmitted(turn=name, attempt=1, run=name, seq=0, chunks=tuple(turn.text)))
    ended = TurnEnded(turn=name, attempt=1, run=name, reason=turn.reason, forgotten=turn.forgotten)
    return [*events, ended]


@given(TURNS, st.data())
def test_memory_and_log_agree(turns: list[Drawn], data: st.DataObject) -> None:
    """Turns side by side, in any order of endings, comparisons settled at any time, read anew at any time."""
    fold = SessionFold(keep_text=True)
    kept: list[Said] = []
    waiting = {number: [queued(number, turn), *answered(number, turn)] for number, turn in enumerate(turns)}
    unsettled = {f"p{turn.prompt}" for turn in turns if turn.compared}
    offset = 0
    while waiting or unsettled:
        event: SessionEvent
        step = data.draw(st.integers(0, len(waiting) + len(unsettled) - 1))
        if step < len(unsettled):
            prompt_id = sorted(unsettled)[step]
            unsettled.remove(prompt_id)
            folded = fold.turns.values()
            ended = [turn.queued.turn for turn in folded if turn.queued.prompt_id == prompt_id and turn.ended]
            event = ComparisonEnded(prompt_id=prompt_id, mode="all", turn=data.draw(st.sampled_from(["", *ended])))
        else:
            number = list(waiting)[step - len(unsettled)]
            event = waiting[number].pop(0)
            if not waiting[number]:
                del waiting[number]
        assert fold.apply(event, offset) is Verdict.EFFECTIVE
        offset += 1
        match event:
            case TurnEnded(turn=name):
                turn = fold.turns[name]
                said = None if turn.queued.models else said_by(turn, None)
                kept = kept if said is None else with_said(kept, said)
            case ComparisonEnded():
                kept = history_of(fold)  # which the worker reads anew
            case _:
                pass
        assert kept == history_of(fold)
        if data.draw(st.booleans()):
            kept = history_of(fold)

    assert messages_of(kept) == messages_of(history_of(fold))
    forgotten = {f"q{number}" for number, turn in enumerate(turns) if turn.forgotten or not turn.text}
    assert not forgotten & {message.content for message in messages_of(kept)}
    offsets = [said.first_offset for said in kept]
    assert offsets == sorted(offsets)


@given(st.permutations(range(5)))
def test_order_of_adding_does_not_matter(order: list[int]) -> None:
    """Each turn has its place; added twice it is there once; a whole conversation replaces what was before it."""
    everything = [Said(f"t{n}", n, (ChatMessage("user", f"q{n}"),), n == 2, f"a{n}") for n in range(5)]
    history: list[Said] = []
    for number in [*order, *order]:
        history = with_said(history, everything[number])

    assert [said.turn for said in history if said.first_offset >= 2] == ["t2", "t3", "t4"]
    assert history[0].turn == "t2"
