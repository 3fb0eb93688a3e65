"""What of a dead letter can be sent again, and under which prompt id.

The turn of a dead letter has ended: its prompt id is answered, with an error, and stays so. So a retry has a new id,
and one that follows from the old one: `order-7` becomes `order-7.retry-1`, and `order-7.retry-1` (which failed too)
`order-7.retry-2`. Retrying the same letter twice thus names the same prompt twice, which is answered and paid for
once, for as long as the worker remembers it (a day). Whoever wants to pay again says the number. Pure: no I/O.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Final

import msgspec

from schemas.codec import decode_prompt_command
from schemas.dead_letters import DeadLetter
from schemas.errors import SchemaError
from schemas.identifiers import IDENTIFIER_CHARS_MAX
from schemas.prompts import PromptSubmitted

__all__ = ["NotRetriable", "next_id", "retried_id", "retried_prompt"]

RETRIED: Final = re.compile(r"(?P<id>.+)\.retry-(?P<number>[1-9][0-9]{0,5})\Z")
DIGEST_CHARS: Final = 16


class NotRetriable(Exception):
    """The letter holds nothing that could be sent again; the message says why, without quoting it."""


def retried_prompt(letter: DeadLetter, number: int | None = None) -> PromptSubmitted:
    """The prompt to send in place of the letter's own. Raises NotRetriable.

    `number`: of the retry; None = one more than the letter's own.
    """
    if letter.value is None:
        raise NotRetriable("the record had no value")
    if len(letter.value) < letter.value_bytes:
        raise NotRetriable(f"its {letter.value_bytes} bytes were cut to {len(letter.value)} in the letter")
    try:
        command = decode_prompt_command(letter.value)
    except SchemaError as error:
        raise NotRetriable(f"its bytes are no prompt: {error}") from error
    if not isinstance(command, PromptSubmitted):
        raise NotRetriable(f"it is a {command.__struct_config__.tag}, and only prompts can be sent again")
    return msgspec.structs.replace(command, prompt_id=retried_id(command.prompt_id, number), submitted_at_us=0)


def retried_id(prompt_id: str, number: int | None = None) -> str:
    """The id of a retry: the original's, and the retry's number."""
    before = RETRIED.match(prompt_id)
    original, earlier = (before["id"], int(before["number"])) if before else (prompt_id, 0)
    return numbered_id(original, earlier + 1 if number is None else number)


def next_id(prompt_id: str, failed_id: str) -> str:
    """The id of the retry after the one that failed; `failed_id` is `prompt_id` itself before the first one.

    Unlike `retried_id` it never leaves the ids that begin with `prompt_id`, whatever that looks like.
    """
    before = RETRIED.match(failed_id) if failed_id != prompt_id else None
    return numbered_id(prompt_id, int(before["number"]) + 1 if before else 1)


def numbered_id(original: str, number: int) -> str:
    ending = f".retry-{number}"
    room = IDENTIFIER_CHARS_MAX - len(ending)
    if len(original) > room:
        digest = base64.b32encode(hashlib.sha256(original.encode()).digest()).decode().lower()[:DIGEST_CHARS]
        original = f"{original[: room - DIGEST_CHARS - 1]}-{digest}"
    return original + ending
