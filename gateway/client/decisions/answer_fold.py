"""One prompt's answer, put together from what a client is told: the text that stands, and how it ended.

Told are messages of the prompt's session that were judged before (`session_follow`): none comes twice, none is left out
in silence. A start, and a switch that goes on from nothing, void the text; a picture replaces it. What is new is a
piece; where the text began anew, or a picture does not go on from it, the piece is the text from its beginning.

An answer is over once: refused, or ended. One that is called complete and is not what was told here (a hole that could
not be mended, a sum that does not fit) is said to have failed, for whoever asked was promised the whole of it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from schemas.gateway_messages import (
    Accepted,
    Attached,
    Delta,
    End,
    Error,
    Queued,
    ServerMessage,
    Snapshot,
    SnapshotTurn,
    Start,
    Switch,
    Waiting,
)
from schemas.session_events import EndReason, TurnError, Usage

__all__ = ["AnswerFold", "AnswerState", "Failure"]

AnswerState: TypeAlias = Literal["new", "asked", "accepted", "queued", "running", "refused"] | EndReason
"""`new`: not sent yet; `refused`: no turn answers it; then why the turn ended."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no whole answer."""

    code: str
    message: str
    retry_after_s: float | None = None


@dataclass(slots=True)
class AnswerFold:
    """An answer so far."""

    session: str
    prompt_id: str
    state: AnswerState = "new"
    text: str = ""
    turn: str = ""
    model: str = ""
    provider: str = ""
    usage: Usage = field(default_factory=Usage)
    cost_nano_usd: int = 0
    failure: Failure | None = None
    is_over: bool = False
    picture: str = ""
    """The text of a picture that has not been told whole."""

    def owns(self, message: ServerMessage) -> bool:
        """Whether a message that was taken is of no interest to anybody else."""
        match message:
            case Accepted() | Queued() | Error():
                return message.prompt_id == self.prompt_id
            case Waiting() | Start() | Switch() | Delta() | End():
                return message.turn == self.turn or (isinstance(message, End) and message.prompt_id == self.prompt_id)
            case _:
                return False

    def take(self, message: ServerMessage) -> str:
        """What the message adds to the text; empty: nothing."""
        match message:
            case Attached():
                self.picture = ""  # the rest of one that was cut off will not come
            case Snapshot():
                return "".join([self.take_picture(turn) for turn in message.turns if self.is_mine(turn.prompt_id)])
            case Accepted() if self.is_mine(message.prompt_id):
                self.turn = message.turns[0] if message.turns else self.turn
                self.state = "accepted" if self.state == "asked" else self.state
            case Queued() if self.is_mine(message.prompt_id):
                self.turn, self.model, self.state = message.turn, message.model, "queued"
            case Error() if self.is_mine(message.prompt_id):
                self.end("refused", Failure(message.code, message.message, message.retry_after_s))
            case End() if message.try_offset >= 0 and self.is_mine(message.prompt_id):
                self.turn = message.turn  # it may come before the acceptance, and with no `queued`
                self.ended(message.reason, message.error)
            case Start() | Switch() | Delta() | End() if message.turn == self.turn and not self.is_over:
                return self.take_of_turn(message)
            case _:
                pass
        return ""

    def hole(self) -> None:
        """Part of what was told in the session could not be had again."""
        if not self.is_over and self.state == "running":
            self.failure = Failure("hole", "a part of the answer is missing and could not be had again")

    def is_mine(self, prompt_id: str) -> bool:
        return prompt_id == self.prompt_id and not self.is_over

    def take_of_turn(self, message: Start | Switch | Delta | End) -> str:
        match message:
            case Delta():
                self.text += message.text
                return message.text
            case End():
                self.usage, self.cost_nano_usd = message.usage, message.cost_nano_usd
                self.ended(message.reason, message.error)
                if message.reason == "complete" and message.text_sha256 not in ("", sha256_of(self.text)):
                    self.failure = self.failure or Failure("hole", "the text is not the one that was answered")
            case Start() | Switch():
                self.state, self.model, self.provider = "running", message.model or self.model, message.provider
                if isinstance(message, Start) or message.from_seq == 0:
                    self.text, self.failure = "", None
        return ""

    def take_picture(self, turn: SnapshotTurn) -> str:
        self.picture += turn.text
        if turn.more:
            return ""
        known, self.text, self.picture = self.text, self.picture, ""
        self.turn, self.model, self.provider = turn.turn, turn.model or self.model, turn.provider
        self.failure = None
        if turn.reason is not None:
            self.usage, self.cost_nano_usd = turn.usage, turn.cost_nano_usd
            self.ended(turn.reason, turn.error)
        else:
            self.state = "running" if turn.attempt else "queued"
        return self.text.removeprefix(known)

    def ended(self, reason: EndReason, error: TurnError | None) -> None:
        if reason == "complete":
            self.end(reason, self.failure)
        elif error is None:
            self.end(reason, Failure(reason, f"the answer ended {reason}"))
        else:
            self.end(reason, Failure(error.code, error.message, error.retry_after_s))

    def end(self, state: AnswerState, failure: Failure | None) -> None:
        self.state, self.failure, self.is_over = state, failure, True


def sha256_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
