"""What was said in a session so far, for the model's eyes.

Rebuilt from the session's log and kept for the sessions in use, within a number of bytes; what falls out is read
again. What counts, and in which order, says `decisions/session_history.py`, the same for what is read and what is
added as turns end. Turns of a session run side by side, so one may end while its session is being read: it is read
again then, and not kept where that goes on.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from processors.sessions.decisions.history_cut import CutHistory, cut_history
from processors.sessions.decisions.session_history import Said, history_of, messages_of, with_said
from processors.sessions.decisions.token_count import count_tokens
from processors.sessions.session_writer import SessionWriter
from schemas.prompts import ChatMessage, PromptSubmitted

__all__ = ["Conversation", "Conversations"]

MESSAGE_BYTES = 120
"""What a message costs in memory besides its text."""
CONVERSATION_BYTES = 400
READS_MAX: Final = 3
"""How often a session is read that goes on meanwhile."""


@dataclass(slots=True)
class Conversation:
    """A session's conversation, as the writer of its log knows it."""

    writer: SessionWriter
    history: list[Said] = field(default_factory=list)
    size_bytes: int = CONVERSATION_BYTES
    tokens: dict[str, int] = field(default_factory=dict)
    """Tokens of each message's text: counted once, and not at every turn anew."""

    def __post_init__(self) -> None:
        self.measure()

    def add(self, said: Said) -> None:
        """Take in a turn that ended with text."""
        self.history = with_said(self.history, said)
        self.measure()

    def measure(self) -> None:
        messages = messages_of(self.history)
        self.tokens = {message.content: self.count(message.content) for message in messages}
        texts = sum(len(message.content.encode(errors="replace")) + MESSAGE_BYTES for message in messages)
        self.size_bytes = CONVERSATION_BYTES + texts

    def count(self, text: str) -> int:
        """Tokens of a text, a message's or any other."""
        known = self.tokens.get(text)
        return count_tokens(text) if known is None else known


@dataclass(slots=True)
class Reading:
    """A session that is being read."""

    outdated: bool = False
    """A turn has ended meanwhile, perhaps behind the end that is read to."""


class Conversations:
    """The conversations of one worker, least recently used last to stay."""

    def __init__(self, *, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.kept: OrderedDict[bytes, Conversation] = OrderedDict()
        self.size_bytes = 0
        self._readings: dict[bytes, list[Reading]] = {}

    async def prepare(
        self, writer: SessionWriter, prompt: PromptSubmitted, *, read_from: int, context_tokens: int, answer_tokens: int
    ) -> CutHistory:
        """The messages to send for this prompt, cut to the model's context.

        `read_from`: the offset at which the session's first turn begins; -1 = it has none yet. Raises LogError.
        """
        conversation = await self.find(writer, read_from=read_from)
        before = () if prompt.messages is not None else messages_of(conversation.history)
        return cut_history(
            (*before, *asked(prompt)), conversation.count, context_tokens=context_tokens, answer_tokens=answer_tokens
        )

    def add(self, writer: SessionWriter, turn: str, prompt: PromptSubmitted, answer: str) -> None:
        """Take in a turn that has ended on its log; nothing is kept of a session that is not in memory.

        A comparison's turns are not taken in: which of them counts is known when it is settled.
        """
        self.outdate(writer.key)
        conversation, folded = self.kept.get(writer.key), writer.folded(turn)
        if conversation is None or conversation.writer is not writer or folded is None or prompt.models:
            return
        if not answer or folded.ended is None or folded.ended.forgotten:
            return
        before = conversation.size_bytes
        conversation.add(Said(turn, folded.first_offset, asked(prompt), prompt.messages is not None, answer))
        self.size_bytes += conversation.size_bytes - before
        self.shrink()

    def forget(self, key: bytes) -> None:
        """Read the session again next time."""
        self.outdate(key)
        conversation = self.kept.pop(key, None)
        if conversation is not None:
            self.size_bytes -= conversation.size_bytes

    def outdate(self, key: bytes) -> None:
        for reading in self._readings.get(key, ()):
            reading.outdated = True

    async def find(self, writer: SessionWriter, *, read_from: int) -> Conversation:
        conversation = self.kept.get(writer.key)
        if conversation is not None and conversation.writer is not writer:
            self.forget(writer.key)  # the session was another worker's meanwhile, which may have added to it
            conversation = None
        if conversation is not None:
            self.kept.move_to_end(writer.key)
            return conversation
        if read_from < 0:  # the journal does not know yet where its first turn begins
            read_from = writer.fold.first_ended_offset()
        if read_from >= 0:
            return await self.read(writer, read_from)
        conversation = Conversation(writer)
        self.keep(writer.key, conversation)
        return conversation

    async def read(self, writer: SessionWriter, read_from: int) -> Conversation:
        """Read the conversation, and keep it if it is not outdated by then."""
        for _ in range(READS_MAX):
            reading = Reading()
            self._readings.setdefault(writer.key, []).append(reading)
            try:
                conversation = await self.rebuild(writer, read_from)
            finally:
                self._readings[writer.key].remove(reading)
                if not self._readings[writer.key]:
                    del self._readings[writer.key]
            if not reading.outdated:
                self.keep(writer.key, conversation)
                break
        return conversation

    def keep(self, key: bytes, conversation: Conversation) -> None:
        replaced = self.kept.pop(key, None)  # another may have read it meanwhile
        self.size_bytes += conversation.size_bytes - (replaced.size_bytes if replaced else 0)
        self.kept[key] = conversation
        self.shrink()

    async def rebuild(self, writer: SessionWriter, read_from: int) -> Conversation:
        end = await writer.reader.end(writer.place.topic, writer.place.partition)
        return Conversation(writer, history_of(await writer.records_between(read_from, end)))

    def shrink(self) -> None:
        while self.size_bytes > self.bytes_max and self.kept:
            _, dropped = self.kept.popitem(last=False)
            self.size_bytes -= dropped.size_bytes


def asked(prompt: PromptSubmitted) -> tuple[ChatMessage, ...]:
    return prompt.messages or (ChatMessage(role="user", content=prompt.input),)
