"""An answer that is being asked for: read it piece by piece, or wait for the whole of it.

    answer = line.ask("Why is the sky blue?")
    async for text in answer:
        ...
    print(answer.model, answer.usage, answer.cost_nano_usd)

The task that reads the socket feeds it, so any number of answers may be read at once, and the line beside them. Text
that nobody reads is kept up to the line's `inbox_bytes_max`; then the socket is not read any further.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self, TypeAlias

from gateway.client.decisions.answer_fold import AnswerFold, AnswerState
from gateway.client.errors import AnswerFailed
from schemas.client_messages import Prompt
from schemas.gateway_messages import ServerMessage
from schemas.session_events import Usage

__all__ = ["Answer", "AnswerLine", "Hole", "LineMessage"]


@dataclass(frozen=True, slots=True)
class Hole:
    """Messages of this session are missing and could not be had again."""

    session: str


LineMessage: TypeAlias = ServerMessage | Hole


class AnswerLine(Protocol):
    """What an answer needs of its line."""

    answers: dict[str, Answer]

    @property
    def fault(self) -> Exception | None:
        """Why it has ended; None while it has not."""

    def submit(self, asked: Prompt) -> None:
        """Send a prompt until it is answered. Raises LineClosed, AnswerFailed."""

    def cancel(self, session: str, prompt_id: str) -> None:
        """End the prompt's turn."""


class Answer:
    """Made by `Line.ask`. The prompt is sent when reading begins.

    Iterate for the text as it comes (where an attempt begins anew, from its beginning), or `await` it for the whole.
    Both raise AnswerFailed for one that does not end whole, with what there is of it still in `text`, and LineClosed.
    Leaving early lets the turn go on; with `cancel_on_exit`, leaving the loop or the `async with` cancels it.
    """

    def __init__(self, line: AnswerLine, prompt: Prompt, *, cancel_on_exit: bool, unread_chars_max: int) -> None:
        self.line = line
        self.prompt = prompt
        self._cancel_on_exit = cancel_on_exit
        self._unread_chars_max = unread_chars_max
        self.fold = AnswerFold(prompt.session, prompt.prompt_id)
        self.unread: list[str] = []
        self.unread_chars = 0
        self.changed = asyncio.Event()
        self.is_read = False

    @property
    def session(self) -> str:
        """The session it belongs to; ask in it again to go on."""
        return self.prompt.session

    @property
    def prompt_id(self) -> str:
        """The prompt's id, to `cancel` it by."""
        return self.prompt.prompt_id

    @property
    def state(self) -> AnswerState:
        """How far it is: new, asked, accepted, queued, running, then refused or why it ended (complete, …)."""
        return self.fold.state

    @property
    def text(self) -> str:
        """The text that stands."""
        return self.fold.text

    @property
    def model(self) -> str:
        """Who answers; empty while that is not known."""
        return self.fold.model

    @property
    def usage(self) -> Usage:
        """Tokens that it took; zeros until it has ended."""
        return self.fold.usage

    @property
    def cost_nano_usd(self) -> int:
        """What it cost, in billionths of a US dollar; 0 until it has ended."""
        return self.fold.cost_nano_usd

    def cancel(self) -> None:
        """End its turn, whether it runs, waits or has not arrived yet; reading it ends with what there is."""
        if self.state != "new" and not self.fold.is_over:
            self.line.cancel(self.session, self.prompt_id)

    # ---- Reading

    def __aiter__(self) -> AsyncGenerator[str, None]:
        return self.pieces()

    def __await__(self) -> Generator[None, None, Self]:
        return self.whole().__await__()

    async def whole(self) -> Self:
        """Read to the end. Raises AnswerFailed, LineClosed. Cancellation: as leaving the loop."""
        async for _ in self.pieces():
            pass
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    async def pieces(self) -> AsyncGenerator[str, None]:
        """The text as it comes. Raises AnswerFailed, LineClosed.

        Cancellation: the turn goes on, unless `cancel_on_exit` was asked for.
        """
        self.begin()
        try:
            while True:
                while self.unread:
                    yield self.next_piece()
                if self.fold.is_over:
                    break
                if self.line.fault is not None:
                    raise self.line.fault
                self.changed.clear()
                await self.changed.wait()
        finally:
            self.leave()
        failure = self.fold.failure
        if failure is not None:
            raise AnswerFailed(failure.code, failure.message, failure.retry_after_s)

    def begin(self) -> None:
        if self.is_read:
            raise AnswerFailed("read_already", "this answer is being read, or was; ask again for another one")
        self.is_read = True
        self.line.answers[self.prompt_id] = self
        try:
            self.line.submit(self.prompt)
        except BaseException:  # whatever refused the prompt, no answer will come to be handed on
            del self.line.answers[self.prompt_id]
            raise
        self.fold.state = "asked"

    def next_piece(self) -> str:
        piece = "".join(self.unread)
        self.unread.clear()
        self.unread_chars = 0
        self.changed.set()
        return piece

    def leave(self) -> None:
        """Nobody reads it any more."""
        if self.line.answers.get(self.prompt_id) is self:
            del self.line.answers[self.prompt_id]
            if self._cancel_on_exit and self.line.fault is None:
                self.cancel()
        self.unread.clear()
        self.unread_chars = 0
        self.changed.set()

    # ---- What the line tells

    async def take(self, message: LineMessage) -> bool:
        """A message of its session; whether it is this answer's alone. Waits while too much of the text is unread.

        Cancellation: it is taken.
        """
        if isinstance(message, Hole):
            self.fold.hole()
            return False
        piece = self.fold.take(message)
        if piece:
            self.unread.append(piece)
            self.unread_chars += len(piece)
        self.changed.set()
        while self.unread_chars > self._unread_chars_max and self.line.fault is None:
            self.changed.clear()
            await self.changed.wait()
        return self.fold.owns(message)

    def wake(self) -> None:
        """The line has ended."""
        self.changed.set()
