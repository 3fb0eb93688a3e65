"""What was said in a session so far, for the model's eyes.

Rebuilt from the session's log and kept for the sessions in use, within a number of bytes; what falls out is read
again. A turn counts once it has text to show; a turn that was sent with its whole `messages` replaces all before it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from processors.decisions.history_cut import CutHistory, cut_history
from processors.decisions.token_count import count_tokens
from processors.session_writer import SessionWriter
from schemas.prompts import ChatMessage, PromptSubmitted
from schemas.turn_fold import FoldedTurn

__all__ = ["Conversation", "Conversations"]

MESSAGE_BYTES = 120
"""What a message costs in memory besides its text."""
CONVERSATION_BYTES = 400


@dataclass(slots=True)
class Conversation:
    """The messages of a session, oldest first, as the writer of its log knows them."""

    writer: SessionWriter
    messages: list[ChatMessage] = field(default_factory=list)
    size_bytes: int = CONVERSATION_BYTES
    tokens: dict[str, int] = field(default_factory=dict)
    """Tokens of each message's text: counted once, and not at every turn anew."""

    def add(self, prompt: PromptSubmitted, answer: str) -> None:
        """Take in a turn that ended with text."""
        if prompt.messages is not None:
            self.messages = []
            self.tokens.clear()
            self.size_bytes = CONVERSATION_BYTES
        self.extend((*asked(prompt), ChatMessage(role="assistant", content=answer)))

    def extend(self, messages: tuple[ChatMessage, ...]) -> None:
        self.messages.extend(messages)
        self.tokens.update((message.content, count_tokens(message.content)) for message in messages)
        self.size_bytes += sum(len(message.content.encode(errors="replace")) + MESSAGE_BYTES for message in messages)

    def count(self, text: str) -> int:
        """Tokens of a text, a message's or any other."""
        known = self.tokens.get(text)
        return count_tokens(text) if known is None else known


class Conversations:
    """The conversations of one worker, least recently used last to stay."""

    def __init__(self, *, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.kept: OrderedDict[bytes, Conversation] = OrderedDict()
        self.size_bytes = 0

    async def prepare(
        self,
        writer: SessionWriter,
        prompt: PromptSubmitted,
        *,
        read_from: int,
        context_tokens: int,
        answer_tokens: int,
    ) -> CutHistory:
        """The messages to send for this prompt, cut to the model's context.

        `read_from`: the offset at which the session's first turn begins; -1 = it has none yet. Raises LogError.
        """
        conversation = await self.find(writer, read_from=read_from)
        before = () if prompt.messages is not None else tuple(conversation.messages)
        return cut_history(
            (*before, *asked(prompt)),
            conversation.count,
            context_tokens=context_tokens,
            answer_tokens=answer_tokens,
        )

    def add(self, writer: SessionWriter, prompt: PromptSubmitted, answer: str) -> None:
        """Take in a turn that ended; nothing is kept of a session that is not in memory."""
        conversation = self.kept.get(writer.key)
        if conversation is None or conversation.writer is not writer or not answer:
            return
        before = conversation.size_bytes
        conversation.add(prompt, answer)
        self.size_bytes += conversation.size_bytes - before
        self.shrink()

    def forget(self, key: bytes) -> None:
        """Read the session again next time."""
        conversation = self.kept.pop(key, None)
        if conversation is not None:
            self.size_bytes -= conversation.size_bytes

    async def find(self, writer: SessionWriter, *, read_from: int) -> Conversation:
        conversation = self.kept.get(writer.key)
        if conversation is not None and conversation.writer is not writer:
            self.forget(writer.key)  # the session was another worker's meanwhile, which may have added to it
            conversation = None
        if conversation is None:
            conversation = Conversation(writer) if read_from < 0 else await self.rebuild(writer, read_from)
            self.forget(writer.key)  # another may have rebuilt it meanwhile
            self.kept[writer.key] = conversation
            self.size_bytes += conversation.size_bytes
            self.shrink()
        if writer.key in self.kept:
            self.kept.move_to_end(writer.key)
        return conversation

    async def rebuild(self, writer: SessionWriter, read_from: int) -> Conversation:
        end = await writer.reader.end(writer.place.topic, writer.place.partition)
        fold = await writer.records_between(read_from, end)
        conversation = Conversation(writer)
        for turn in fold.turns.values():
            if turn.ended is not None and turn.text:
                conversation.add(prompt_of(turn), turn.text)
        return conversation

    def shrink(self) -> None:
        while self.size_bytes > self.bytes_max and self.kept:
            _, dropped = self.kept.popitem(last=False)
            self.size_bytes -= dropped.size_bytes


def asked(prompt: PromptSubmitted) -> tuple[ChatMessage, ...]:
    return prompt.messages or (ChatMessage(role="user", content=prompt.input),)


def prompt_of(turn: FoldedTurn) -> PromptSubmitted:
    return PromptSubmitted(user="", session="", prompt_id="", input=turn.queued.input, messages=turn.queued.messages)
