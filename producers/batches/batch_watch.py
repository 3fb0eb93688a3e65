"""Following a batch that another command sends, or sent: how far each line is, until all that were sent have ended.

The ledger says what was sent, the results file what has ended already, and the sessions' logs the rest: only lines
that are open are read there, READERS_MAX at a time. Nothing is written, so watching can be left and taken up again.
A watch is over when no sender is at work and every line that was sent has ended. A line that was marked but never
acknowledged and of which the log knows nothing UNSEEN_S after its sender's death was not sent. One that was refused for
now is sent again by its sender, and has ended where that is gone for UNSEEN_S.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from infra.decisions.backoff import Backoff
from infra.kafka.session_topics import SessionTopics
from infra.settings import Settings
from producers.answers.answer_reader import AnswerReader
from producers.answers.followed_answer import AnswerEnded, AnswerPiece, AnswerQueued, AnswerStarted, AnswerText
from producers.batches.batch_ledger import LedgerView, LineKey, LineMark
from producers.errors import AnswerLost, AnswerTimedOut, AnswerUnavailable
from schemas.session_events import Usage

__all__ = ["BatchWatch", "LineState", "WatchedLine"]

READERS_MAX: Final = 16
LOOK_EVERY_S: Final = 0.5
UNSEEN_S: Final = 30.0
FOLLOW_S: Final = 86_400.0
WATCH_BACKOFF: Final = Backoff(1.0)

LineState: TypeAlias = Literal["sent", "waiting", "running", "ended", "not_sent", "lost"]
"""`sent`: no worker has taken it in yet; `lost`: its log has expired and nothing tells how it ended."""


@dataclass(slots=True)
class WatchedLine:
    """How far a line is."""

    mark: LineMark
    state: LineState = "sent"
    reason: str = ""
    """How it ended; of several models, how the last one did, unless one was not whole."""
    position: int = 0
    eta_s: float | None = None
    output_tokens: int = 0
    cost_nano_usd: int = 0
    turns_running: set[int] = field(default_factory=set)
    refused: bool = False
    """For now: it is to be sent again."""

    @property
    def open(self) -> bool:
        """Whether more is to come."""
        return self.state in ("sent", "waiting", "running")


class FinishedLine(msgspec.Struct, frozen=True):
    """What is wanted of a line of the results file."""

    user: str
    session: str
    prompt_id: str
    retry_of: str = ""
    reason: str | None = None
    usage: Usage = Usage()
    cost_nano_usd: int = 0


class BatchWatch:
    """Follows a batch; `lines` says how far it is, and `on_change` is called whenever that changes."""

    def __init__(self, view: LedgerView, on_change: Callable[[], None] = lambda: None) -> None:
        self.view = view
        self.lines: dict[LineKey, WatchedLine] = {}
        self._on_change = on_change
        self._results_offset = 0
        self._found: asyncio.Queue[WatchedLine] = asyncio.Queue()  # bounded by the batch itself
        self._followed: set[LineKey] = set()

    def look(self) -> None:
        """Read what ledger and results say by now. Raises OSError."""
        self.view.refresh()
        for mark in self.view.marks.values():
            line = self.lines.get(mark.line_key)
            if line is None or line.mark.key != mark.key:  # new, or asked anew
                line = self.lines[mark.line_key] = WatchedLine(mark)
            line.mark = mark
        for finished in self._finished():
            known = self.lines.get((finished.user, finished.session, finished.retry_of or finished.prompt_id))
            if known is None or known.mark.prompt_id != finished.prompt_id:
                continue
            if known.state != "ended" and finished.reason is not None:
                known.state, known.reason = "ended", finished.reason
                known.output_tokens, known.cost_nano_usd = finished.usage.output_tokens, finished.cost_nano_usd

    def cancel(self) -> None:
        """Keep the batch's sender from sending more. Raises OSError."""
        self.view.place.cancel()

    @property
    def open_lines(self) -> list[WatchedLine]:
        """Those of which more is to come."""
        return [line for line in self.lines.values() if line.open]

    async def run(self, settings: Settings) -> None:
        """Follow until everything that was sent has ended. Raises AnswerUnavailable.

        Cancellation: nothing is lost; another watch begins where this one stood.
        """
        self.look()
        async with AsyncExitStack() as stack:
            topics = SessionTopics(settings)
            await topics.start()
            stack.push_async_callback(topics.stop)
            async with asyncio.TaskGroup() as group:
                readers = READERS_MAX if self.view.place.sender_at_work else min(READERS_MAX, len(self.open_lines))
                followers = [
                    group.create_task(self._follow_found(AnswerReader(settings, topics), settings))
                    for _ in range(readers)
                ]
                try:
                    await self._until_over()
                finally:
                    for follower in followers:
                        follower.cancel()

    async def _until_over(self) -> None:
        while True:
            at_work = self.view.place.sender_at_work  # before looking: what it wrote until it ended is then seen
            self.look()
            for line in self.open_lines:
                if line.mark.key not in self._followed:
                    self._followed.add(line.mark.key)
                    self._found.put_nowait(line)
            self._on_change()
            if not at_work and not self.open_lines:
                return
            await asyncio.sleep(LOOK_EVERY_S)

    async def _follow_found(self, reader: AnswerReader, settings: Settings) -> None:
        await reader.start()
        try:
            while True:
                line = await self._found.get()
                while line.open:
                    await self._follow(line, reader, settings)
        finally:
            await reader.stop()

    async def _follow(self, line: WatchedLine, reader: AnswerReader, settings: Settings) -> None:
        """Follow one line to its end, or to where nothing more can be learned of it."""
        prompt = line.mark.prompt
        try:
            start = await reader.locate(prompt.user, prompt.session, from_start=True)
            async with asyncio.timeout(self._unseen_s(line, settings)) as patience:
                async for piece in reader.follow(prompt, start, deadline_s=FOLLOW_S, known=False):
                    if not line.open:  # the results file was quicker
                        return
                    note(line, piece)
                    patience.reschedule(asyncio.get_running_loop().time() + UNSEEN_S if line.refused else None)
                    self._on_change()
            if line.open:
                line.state = "ended"
        except AnswerLost:
            line.state = "lost"
        except AnswerUnavailable:
            await asyncio.sleep(WATCH_BACKOFF.pause_s())
        except (AnswerTimedOut, TimeoutError):
            if line.open and not self.view.place.sender_at_work:
                if line.refused:
                    line.state, line.reason = "ended", "rejected"
                    return
                line.state = "lost" if line.mark.acknowledged else "not_sent"

    def _unseen_s(self, line: WatchedLine, settings: Settings) -> float:
        """How long to wait for a first word of a line: a prompt that was accepted waits for its worker."""
        return settings.session_retention_h * 3_600.0 if line.mark.acknowledged else UNSEEN_S

    def _finished(self) -> Iterable[FinishedLine]:
        header = self.view.header
        path = Path(header.results) if header is not None else None
        if path is None or not path.exists():
            return
        decoder = msgspec.json.Decoder(FinishedLine)
        with path.open("rb") as file:
            file.seek(self._results_offset)
            for raw in file:
                if not raw.endswith(b"\n"):
                    return
                self._results_offset += len(raw)
                try:
                    yield decoder.decode(raw)
                except msgspec.MsgspecError:
                    continue


def note(line: WatchedLine, piece: AnswerPiece) -> None:
    """What a piece says of how far a line is."""
    line.refused = isinstance(piece, AnswerEnded) and piece.for_now
    match piece:
        case AnswerEnded() if line.refused:
            line.state, line.position, line.eta_s = "sent", 0, None
        case AnswerQueued(position, eta_s):
            if not line.turns_running:
                line.state, line.position, line.eta_s = "waiting", position, eta_s
        case AnswerStarted(index=index) | AnswerText(index=index):
            line.turns_running.add(index)
            line.state, line.position, line.eta_s = "running", 0, None
        case AnswerEnded(index=index):
            line.turns_running.discard(index)
            line.reason = piece.reason if line.reason in ("", "complete") else line.reason
            line.output_tokens += piece.usage.output_tokens
            line.cost_nano_usd += piece.cost_nano_usd
        case _:
            pass
