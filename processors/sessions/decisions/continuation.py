"""Whether an attempt goes on from the text that a failed one left, or begins the answer again.

Going on keeps what was read and paid for: the request ends with an assistant message that holds the text so far, and
the first new chunk has the next number. It needs a target that continues such a message (ability `prefix`: any other
would answer it, or begin again), text that is worth going on from (what was cut for going round in circles leads the
next model back into the circle), and text that is still in memory. In every other case the answer restarts, which is
always right and only costs more: so each doubt is a restart, and none an error.

Invariants: what goes on begins at exactly the number of chunks said; the tokens left are what the answer may have less
what was said, never below ANSWER_TOKENS_MIN, so an answer that fails in its last words can still end. The prompt's
length is unchanged by it: what the prefix adds to the input, the answer no longer needs.

Why not always restart: a long answer would be paid twice and vanish before its reader's eyes. Why not trim the prefix
to a token border: models take any text, and a reader has seen all of it. Cost: a look at a few numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

__all__ = ["ANSWER_TOKENS_MIN", "PREFIX_CHARS_MAX", "GoOn", "Restart", "StartDecision", "TextSoFar", "decide_start"]

PREFIX_CHARS_MAX: Final = 262_144
"""A longer answer is not gone on from: the text would have to be held in memory and sent again."""
ANSWER_TOKENS_MIN: Final = 16
"""What an attempt that goes on may say at least."""


@dataclass(frozen=True, slots=True)
class TextSoFar:
    """The visible text of a turn whose attempt failed."""

    text: str
    """Empty where nothing was said, and where it was too long to be kept."""
    chunks: int
    """How many chunks of it are on the log, earlier attempts' that stand included."""
    tokens: int
    babbled: bool = False
    """It was cut for going round in circles, or for being noise."""


@dataclass(frozen=True, slots=True)
class GoOn:
    """Go on from the text: the first chunk has number `from_seq`."""

    from_seq: int
    answer_tokens: int


@dataclass(frozen=True, slots=True)
class Restart:
    """Begin the answer again."""

    reason: Literal["nothing_said", "babbled", "too_long", "not_able"]


StartDecision: TypeAlias = GoOn | Restart


def decide_start(said: TextSoFar, *, able: bool, answer_tokens: int) -> StartDecision:
    """How the next attempt starts. `able`: its target continues a message; `answer_tokens`: of the whole answer."""
    if not said.chunks:
        return Restart("nothing_said")
    if said.babbled:
        return Restart("babbled")
    if not said.text or len(said.text) > PREFIX_CHARS_MAX:
        return Restart("too_long")
    if not able:
        return Restart("not_able")
    return GoOn(said.chunks, max(ANSWER_TOKENS_MIN, answer_tokens - said.tokens))
