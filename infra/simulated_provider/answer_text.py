"""What the simulated model says: a pure function of the conversation, a seed and a length.

The text is drawn from a generator seeded with a digest of every message, so the second turn of a conversation
answers differently when its history is missing, cut or reordered; a first sentence names what was asked before,
for people. Directives (`behaviour`) are taken out of user messages before anything is derived from them.
Pieces are cut as a tokenizer would: leading spaces, long words in parts, runs of punctuation together.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, TypeAlias

from infra.simulated_provider.behaviour import split_directive
from schemas.prompts import ChatMessage

__all__ = ["AnyMessage", "Conversation", "answer_for", "conversation_digest", "conversation_of", "last_user_text"]

AnyMessage: TypeAlias = ChatMessage | Mapping[str, str]
Conversation: TypeAlias = tuple[tuple[str, str], ...]
"""(role, text) of every message, directives taken out."""

NATURAL_TOKENS_MIN: Final = 125
NATURAL_TOKENS_SPAN: Final = 85
SENTENCE_TOKENS_MAX: Final = 40  # below this only single sentences are added, so no list or code block is cut short
CACHED_ANSWERS_MAX: Final = 256
TOPIC_WORDS_MAX: Final = 6
TOPIC_CHARS_READ_MAX: Final = 4_096

PIECE: Final = re.compile(r" ?[^\W\d_]{1,8}| ?\d{1,3}|\n+ *| {2,}| ?[^\w\s]{1,3}|.", re.DOTALL)
WORD: Final = re.compile(r"[^\W\d_]{4,24}")
COMMON_WORDS: Final = frozenset(
    re.findall(
        r"\w+",
        "about after again also answer been before because being could does dont each explain from give have here "
        "into just like long make many more most much only other over please said same should show some such tell "
        "than that their them then there these they thing this those through very want were what when where which "
        "while will with word words would write your",
    )
)
FALLBACK_TOPICS: Final = ("streams", "logs")

OPENINGS: Final = (
    "Good question about {a}.",
    "Let us look at {a} from the reader's side first.",
    "The short answer: {a} works because {b} comes first.",
    "There is more to {a} than meets the eye — here is the gist.",
    "Happy to walk through {a} step by step.",
)
SENTENCES: Final = (
    "In practice {a} and {b} pull in opposite directions, so a good design names the limit and keeps to it.",
    "Most people meet {a} long before they notice {b}.",
    "What makes {a} reliable is that every step is written down before the next one begins.",
    "A small example says more about {a} than a long definition.",
    "When {b} grows, {a} should grow more slowly; that is the whole trick.",
    "It helps to measure {a} first and to argue about {b} afterwards.",
    "You can think of {a} as a queue with a memory: nothing is lost, and nothing is said twice.",
    "The naïve way treats {a} as an afterthought, and pays for it later.",
    "If {a} fails, the reader should still see where {b} had got to.",
    "None of this is magic; it is bookkeeping, done at the right moment.",
    "The cost of {a} stays flat as long as {b} has a bound.",
    "Ask what happens to {a} when the lights go out, and the rest follows.",
    "Two readers of {a} never disagree, because both read the same log.",
    "That is also why {b} feels instant even when {a} is busy.",
)
HEADINGS: Final = ("## Why {a} matters", "## {A} in three steps", "## A closer look at {b}", "## What to keep in mind")
BULLETS: Final = (
    "**{A}** comes first: decide what must never be lost.",
    "Keep {b} small, and give it a limit with a name.",
    "Write it down, *then* do it.",
    "Measure {a} where the reader stands, not where the writer does.",
    "Prefer one clear path over three clever ones.",
    "Look at {b} again when {a} has settled.",
    "Try {b} with the network unplugged → it should come back by itself.",
    "Leave a note for whoever reads this next.",
)
CODE_BLOCKS: Final = (
    "```python\ndef next_{c}(log, position):\n    for record in log.read(position):\n        yield record.text\n```",
    '```python\n{c} = open_log("{c}")\nasync for record in {c}:\n    print(record.text, end="")\n```',
    "```sql\nSELECT model, count() AS turns\nFROM {c}\nGROUP BY model\nORDER BY turns DESC\n```",
)


def answer_for(messages: Sequence[AnyMessage], *, seed: int = 0, tokens: int | None = None) -> tuple[str, ...]:
    """The tokens that a client must get for these messages. `tokens` None: the length that suits the prompt.

    Directives in the messages are ignored: pass the seed and the number of tokens that they ask for.
    """
    return answer_of(conversation_of(messages), seed, tokens)


def conversation_of(messages: Sequence[AnyMessage]) -> Conversation:
    """The messages as the simulated model sees them."""
    return tuple(plain_message(message) for message in messages)


def last_user_text(conversation: Conversation) -> str:
    """The text of the newest user message, without its directive; empty if there is none."""
    return next((text for role, text in reversed(conversation) if role == "user"), "")


def conversation_digest(conversation: Conversation) -> str:
    """A hash of every role and text in order; length-prefixed, so no two conversations share it by accident."""
    state = hashlib.sha256()
    for part in (part for message in conversation for part in message):
        raw = part.encode("utf-8", "surrogatepass")
        state.update(len(raw).to_bytes(8, "big") + raw)
    return state.hexdigest()


@lru_cache(maxsize=CACHED_ANSWERS_MAX)
def answer_of(conversation: Conversation, seed: int, tokens: int | None) -> tuple[str, ...]:
    draw = random.Random(f"{conversation_digest(conversation)}:{seed}")
    target = NATURAL_TOKENS_MIN + draw.randrange(NATURAL_TOKENS_SPAN) if tokens is None else tokens
    writer = Writer(topics_of(last_user_text(conversation)), draw)
    pieces = PIECE.findall(writer.opening(earlier_questions(conversation)))
    while len(pieces) < target:
        pieces.extend(PIECE.findall(writer.next_part(target - len(pieces) - SENTENCE_TOKENS_MAX)))
    return tuple(pieces) if tokens is None else exactly(pieces, tokens)


def exactly(pieces: list[str], tokens: int) -> tuple[str, ...]:
    """The first `tokens` pieces, closed with a full stop where a word would be left hanging."""
    cut = pieces[:tokens]
    if 1 < tokens < len(pieces) and cut[-1].strip().isalnum():
        cut[-1] = "."
    return tuple(cut)


class Writer:
    """Writes about some topics without end and without saying the same thing twice in a row."""

    def __init__(self, topics: tuple[str, ...], draw: random.Random) -> None:
        self._topics = topics
        self._draw = draw
        self._decks: dict[tuple[str, ...], list[str]] = {}
        self._in_paragraph = True

    def opening(self, earlier: list[str]) -> str:
        line = self.line(OPENINGS)
        if not earlier:
            return line
        newest = " and ".join(topics_of(earlier[-1])[:2])
        return f"You asked about {newest} before, and this is question {len(earlier) + 1}. {line}"

    def next_part(self, room: int) -> str:
        """A block of at most `room` tokens, or else one more sentence."""
        block = self.block() if room > 0 else ""
        if block and len(PIECE.findall(block)) <= room:
            self._in_paragraph = False
            return "\n\n" + block
        glue = " " if self._in_paragraph else "\n\n"
        self._in_paragraph = True
        return glue + self.line(SENTENCES)

    def block(self) -> str:
        kind = self._draw.random()
        if kind < 0.5:
            return " ".join(self.line(SENTENCES) for _ in range(self._draw.randint(2, 4)))
        if kind < 0.85:
            mark = "{}. " if kind > 0.7 else "- "
            items = [mark.format(number) + self.line(BULLETS) for number in range(1, self._draw.randint(4, 5))]
            return self.line(HEADINGS) + "\n\n" + "\n".join(items)
        return "For instance:\n\n" + self.line(CODE_BLOCKS)

    def line(self, templates: tuple[str, ...]) -> str:
        """The next template of a shuffled deck, which is shuffled again when it is used up."""
        deck = self._decks.setdefault(templates, [])
        if not deck:
            deck.extend(self._draw.sample(templates, len(templates)))
        return self.filled(deck.pop())

    def filled(self, template: str) -> str:
        first = self._draw.randrange(len(self._topics))
        a, b = self._topics[first], self._topics[(first + 1) % len(self._topics)]
        for mark, word in (("{a}", a), ("{A}", a[0].upper() + a[1:]), ("{b}", b), ("{c}", self._topics[0].lower())):
            template = template.replace(mark, word)
        return template


def topics_of(text: str) -> tuple[str, ...]:
    words: dict[str, str] = {}
    for word in WORD.findall(text[:TOPIC_CHARS_READ_MAX]):
        words.setdefault(word.lower(), word)
    topics = [word for low, word in words.items() if low not in COMMON_WORDS][:TOPIC_WORDS_MAX]
    return tuple(topics) + FALLBACK_TOPICS[: max(0, 2 - len(topics))]


def earlier_questions(conversation: Conversation) -> list[str]:
    return [text for role, text in conversation if role == "user"][:-1]


def plain_message(message: AnyMessage) -> tuple[str, str]:
    if isinstance(message, ChatMessage):
        return plain_text(message.role, message.content)
    return plain_text(message["role"], message["content"])


def plain_text(role: str, content: str) -> tuple[str, str]:
    return role, split_directive(content)[1] if role == "user" else content
