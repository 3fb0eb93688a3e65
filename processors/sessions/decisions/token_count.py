"""How many tokens a text has, for streams whose provider did not say.

Counted with OpenAI's own encodings, which come inside the `bpe-openai` wheel, so nothing is downloaded. For models
of other makers it is an estimate, and every usage made here says so (`estimated`). Of a text above
COUNTED_CHARS_MAX only the beginning is counted and the rest taken in proportion: counting runs on the event loop,
and 128,000 tokens would hold it up for 20 ms. The package takes 0.8 s to import and an encoding 0.2 s to build,
150 MB together, so it is loaded when it is first needed: a worker calls `load_encoding` in a thread at its start.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

from schemas.prompts import ChatMessage
from schemas.session_events import Usage

__all__ = ["count_tokens", "estimated_usage", "load_encoding"]

COUNTED_CHARS_MAX: Final = 32_768
MESSAGE_OVERHEAD_TOKENS: Final = 4  # role and separators around every message of OpenAI's chat format
ANSWER_PRIMER_TOKENS: Final = 3

NEWEST_ENCODING: Final = "o200k_base"
OLDER_ENCODING: Final = "cl100k_base"
OLDER_MODELS: Final = ("gpt-4-", "gpt-3.5", "gpt-35", "text-embedding-")


def count_tokens(text: str, model: str = "") -> int:
    """Tokens of a text."""
    if not text:
        return 0
    counted = text[:COUNTED_CHARS_MAX]
    tokens = len(encoding_of(encoding_name(model)).encode_ordinary(counted))
    return tokens if len(counted) == len(text) else round(tokens * len(text) / len(counted))


def estimated_usage(messages: Iterable[ChatMessage], answer: str, model: str = "") -> Usage:
    """What a call used, by our own count: all of its messages, and as much of the answer as there is."""
    input_tokens = sum(MESSAGE_OVERHEAD_TOKENS + count_tokens(message.content, model) for message in messages)
    return Usage(
        input_tokens=ANSWER_PRIMER_TOKENS + input_tokens, output_tokens=count_tokens(answer, model), estimated=True
    )


def load_encoding(model: str = "") -> None:
    """Build the model's encoding now, so that the first count does not wait for it. Safe in a thread."""
    encoding_of(encoding_name(model))


def encoding_name(model: str) -> str:
    return OLDER_ENCODING if model == "gpt-4" or model.startswith(OLDER_MODELS) else NEWEST_ENCODING


@lru_cache(maxsize=2)
def encoding_of(name: str) -> Any:  # the package ships no types
    import bpe_openai  # slow and large: see above

    return bpe_openai.get_encoding(name)
