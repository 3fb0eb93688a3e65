"""What the records of a session's log mean to one of its prompts: the pieces of its answer, or of its answers.

Theory. The fold says which records count; this looks at them from one prompt, which has one turn, or one per model it
was sent to. Each piece is labelled with the index of its model. It is over when every turn has ended and, where one
answer is chosen or made of all (`best`, `merge`), the log has said which; a comparison of which no answer is whole has
nothing to be chosen from and is over with its last turn. Pure: records in, pieces out; memory is that of the texts.

A prompt may be refused for now and sent again. Whoever sent it follows that sending: refusals of earlier ones are
nothing to it, and its own is the end. Who only watches is told of each refusal and goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

from producers.errors import AnswerLost
from schemas.codec import decode_session_event
from schemas.errors import SchemaError
from schemas.prompts import CompareMode, PromptSubmitted, models_of, turns_of
from schemas.session_events import (
    ComparisonEnded,
    EndReason,
    PromptRefused,
    SessionEvent,
    TokensEmitted,
    TurnEnded,
    TurnError,
    TurnHedged,
    TurnQueued,
    TurnStarted,
    TurnWaiting,
    Usage,
    WaitsFor,
)
from schemas.turn_fold import SessionFold, Verdict, text_hash

__all__ = [
    "AnswerEnded",
    "AnswerPiece",
    "AnswerQueued",
    "AnswerStarted",
    "AnswerText",
    "AnswersCompared",
    "FollowedAnswer",
]

CHOOSING: Final = ("best", "merge")
"""The modes in which something is said of the answers after all of them have ended."""
CUT_CHARS: Final = 1_024
"""Of a prompt that is turned away, the log keeps this much."""


@dataclass(frozen=True, slots=True)
class AnswerQueued:
    """The prompt waits: `position` turns are before it, in its session or (`at_provider`) in a provider's line.

    Once it has started, it may still wait for what `waits_for` says.
    """

    position: int
    eta_s: float | None = None
    at_provider: bool = False
    index: int = 0
    waits_for: WaitsFor = "place"


@dataclass(frozen=True, slots=True)
class AnswerStarted:
    """An attempt begins. Text of earlier attempts is void, unless it `continues` it."""

    attempt: int
    model: str
    cause: str
    continues: bool = False
    index: int = 0


@dataclass(frozen=True, slots=True)
class AnswerText:
    """The answer goes on."""

    text: str
    index: int = 0


@dataclass(frozen=True, slots=True)
class AnswerEnded:
    """The last piece of an answer: how it ended, and the whole text."""

    turn: str
    reason: EndReason
    text: str = ""
    usage: Usage = field(default_factory=Usage)
    cost_nano_usd: int = 0
    error: TurnError | None = None
    index: int = 0
    for_now: bool = False
    """The prompt, with all of its models, was refused for now: it may be sent again with its id."""


@dataclass(frozen=True, slots=True)
class AnswersCompared:
    """What a comparison came to: the answer that goes into the conversation, if any was whole."""

    mode: CompareMode
    index: int | None
    scores: dict[int, float] = field(default_factory=dict)
    """With `best`, the score of each whole answer by its index."""


AnswerPiece: TypeAlias = AnswerQueued | AnswerStarted | AnswerText | AnswerEnded | AnswersCompared


class FollowedAnswer:
    """The fold of one session, looked at from one of its prompts.

    `known`: the prompt is the one that was published, word for word; False: only its ids are known. `sent`: the offset
    of its record; None: somebody else sends it.
    """

    def __init__(self, prompt: PromptSubmitted, *, known: bool = True, sent: int | None = None) -> None:
        self._prompt = prompt
        self._known = known
        self._sent = sent
        self._fold = SessionFold()
        turns = turns_of(prompt)
        self.turn = turns[0]
        self.seen = False
        """Whether a turn of it has been opened in what was read."""
        self.refused = False
        """Whether it got no turn of its own."""
        self._indexes: dict[str, int] = {turn: index for index, turn in enumerate(turns)}
        self._chunks: list[list[str]] = [[] for _ in turns]
        self._reasons: dict[int, EndReason] = {}
        self._compared = False

    @property
    def over(self) -> bool:
        """Whether nothing more will be said."""
        if self.refused:
            return True
        asked = range(len(self._prompt.models) or 1)  # without the one that merges: it may have nothing to do
        if any(index not in self._reasons for index in asked):
            return False
        chosen_from = any(self._reasons[index] == "complete" for index in asked)
        return self._compared or self._prompt.compare not in CHOOSING or not chosen_from

    def piece_of(self, raw: bytes, offset: int) -> AnswerPiece | None:
        """What a record of the session's log means to this prompt; None = nothing. Raises AnswerLost."""
        try:
            event = decode_session_event(raw)
        except SchemaError:
            return None  # written by a newer build: nothing that this one could show
        verdict = self._fold.apply(event, offset)
        if isinstance(event, PromptRefused):
            return self._refused(event) if verdict is Verdict.EFFECTIVE else None
        if isinstance(event, ComparisonEnded):
            return self._comparison(event) if verdict is Verdict.EFFECTIVE else None
        index = self._indexes.get(event.turn)
        if index is None:
            return None
        if verdict is Verdict.HOLE:
            raise AnswerLost("a part of the answer is missing from the session's log")
        return self._effective(event, index) if verdict is Verdict.EFFECTIVE else None

    def _effective(self, event: SessionEvent, index: int) -> AnswerPiece | None:
        match event:
            case TurnQueued():
                self.seen, self.refused = True, False
                if self._known and not same_prompt(event, self._prompt):
                    return self._rejected("id_reused", "this prompt_id was used for another prompt; take a new one")
                return AnswerQueued(event.position, event.eta_s, index=index)
            case TurnWaiting():
                return AnswerQueued(
                    event.position, event.eta_s, at_provider=True, index=index, waits_for=event.waits_for
                )
            case TurnStarted():
                if not event.from_seq:  # else the text so far stands, and goes on
                    self._chunks[index].clear()
                return AnswerStarted(event.attempt, event.model, event.cause, bool(event.from_seq), index)
            case TokensEmitted():
                self._chunks[index].extend(event.chunks)
                return AnswerText("".join(event.chunks), index)
            case TurnEnded():
                return self._ended(event, index)
            case TurnHedged() | ComparisonEnded() | PromptRefused():  # no words of this answer
                return None

    def _ended(self, event: TurnEnded, index: int) -> AnswerEnded:
        text = "".join(self._chunks[index])
        if event.text_sha256 and event.text_sha256 != text_hash(text):
            raise AnswerLost("the answer read is not the answer given; read it again")
        self._reasons[index] = event.reason
        return AnswerEnded(
            turn=event.turn,
            reason=event.reason,
            text=text,
            usage=event.usage,
            cost_nano_usd=event.cost_nano_usd,
            error=event.error,
            index=index,
        )

    def _comparison(self, event: ComparisonEnded) -> AnswersCompared | None:
        if event.prompt_id != self._prompt.prompt_id:
            return None
        self._compared = True
        scores = {self._indexes[turn]: score for turn, score in event.scores.items() if turn in self._indexes}
        return AnswersCompared(event.mode, self._indexes.get(event.turn), scores)

    def _refused(self, event: PromptRefused) -> AnswerEnded | None:
        """An open turn is ours whatever befell another prompt that tried to use its id."""
        if event.prompt_id != self._prompt.prompt_id:
            return None
        if event.turns:
            return self._refused_for_now(event)
        return None if self.seen else self._rejected(event.code, event.message)

    def _refused_for_now(self, event: PromptRefused) -> AnswerEnded | None:
        if self._sent is not None and event.try_offset < self._sent:
            return None
        self.refused = self._sent is not None
        error = TurnError(
            code=event.code, message=event.message, temporary=event.temporary, retry_after_s=event.retry_after_s
        )
        return AnswerEnded(self.turn, "rejected", error=error, for_now=True)

    def _rejected(self, code: str, message: str) -> AnswerEnded:
        self.refused = True
        return AnswerEnded(self.turn, "rejected", error=TurnError(code=code, message=message))


def same_prompt(queued: TurnQueued, prompt: PromptSubmitted) -> bool:
    """Whether a turn answers this prompt. One that was turned away is on the log with its beginning alone."""
    asked = models_of(prompt)
    if (queued.models, queued.model) != (asked if prompt.models else (), asked[queued.index]):
        return False
    cut = queued.messages is None and queued.input == prompt.input[:CUT_CHARS]
    return cut or (queued.input, queued.messages) == (prompt.input, prompt.messages)
