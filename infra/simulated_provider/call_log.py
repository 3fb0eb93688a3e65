"""Which calls the simulated provider has had: what tests ask when they claim that an answer was paid for once.

Holds hashes of prompts, never their text, and the newest CALLS_REMEMBERED_MAX calls only.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict, deque
from typing import Final, Literal, TypeAlias

import msgspec

from infra.simulated_provider.answer_text import Conversation, conversation_digest, last_user_text

__all__ = ["Call", "CallLog", "CallState", "prompt_sha256"]

CALLS_REMEMBERED_MAX: Final = 20_000
PROMPTS_REMEMBERED_MAX: Final = 20_000

CallState: TypeAlias = Literal["running", "finished", "faulted", "aborted"]
"""`finished`: answered to the end; `faulted`: ended by the fault that was asked for; `aborted`: the client left."""


class Call(msgspec.Struct, kw_only=True):
    """One request for an answer."""

    prompt_sha256: str
    """Of the newest user message, without its directive."""
    conversation_sha256: str
    """Of every message in order: shows whether the history was sent."""
    messages: int
    model: str
    stream: bool
    started_at: float
    """Seconds since 1970."""
    ended_at: float | None = None
    state: CallState = "running"
    status: int = 200
    tokens_sent: int = 0
    prefix_chars: int = 0
    """Length of the answer's beginning that was sent along, to be gone on with."""
    fault: str = ""


class CallLog:
    """The newest calls, and how often each prompt was sent (for faults that only the first calls get)."""

    def __init__(self) -> None:
        self.calls: deque[Call] = deque(maxlen=CALLS_REMEMBERED_MAX)
        self.counts: OrderedDict[bytes, int] = OrderedDict()

    def opened(self, conversation: Conversation, *, model: str, stream: bool, at_s: float) -> Call:
        """Note a call that begins now."""
        call = Call(
            prompt_sha256=prompt_sha256(last_user_text(conversation)),
            conversation_sha256=conversation_digest(conversation),
            messages=len(conversation),
            model=model,
            stream=stream,
            started_at=at_s,
        )
        self.calls.append(call)
        return call

    def count(self, raw_prompt: str) -> int:
        """How often this prompt, directive included, has been sent, this time included."""
        key = hashlib.sha256(raw_prompt.encode("utf-8", "surrogatepass")).digest()
        number = self.counts.pop(key, 0) + 1
        self.counts[key] = number
        if len(self.counts) > PROMPTS_REMEMBERED_MAX:
            self.counts.popitem(last=False)
        return number

    def for_prompt(self, text: str) -> list[Call]:
        """The remembered calls whose newest user message was this text (without its directive)."""
        digest = prompt_sha256(text)
        return [call for call in self.calls if call.prompt_sha256 == digest]


def prompt_sha256(text: str) -> str:
    """The hash under which a prompt, without its directive, is found in the list of calls."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
