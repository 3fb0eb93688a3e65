"""A prompt too long for one frame, cut into parts.

What is cut is the JSON text of the `prompt` message, so whatever makes a prompt long (input, messages) travels the same
way. Every part names the bytes of the whole, so that too large is said at the first one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from schemas.client_messages import Part, Prompt
from schemas.codec import encode

__all__ = ["parts_of"]

NUMBER_BYTES: Final = 24
"""More than the digits of a part's numbers."""
CHARACTER_BYTES: Final = 4
"""The most that a character of JSON text takes in UTF-8, quoted once more: control characters are escaped already."""


def parts_of(prompt: Prompt, frame_bytes_max: int) -> Iterator[Prompt | Part]:
    """What to send for a prompt, each within a frame: itself, or its parts."""
    encoded = encode(prompt)
    if len(encoded) <= frame_bytes_max:
        yield prompt
        return
    empty = Part(prompt_id=prompt.prompt_id, session=prompt.session, index=0, bytes=0, text="")
    step = max(1, (frame_bytes_max - len(encode(empty)) - NUMBER_BYTES) // CHARACTER_BYTES)
    text = encoded.decode()
    for index, start in enumerate(range(0, len(text), step)):
        yield Part(
            prompt_id=prompt.prompt_id,
            session=prompt.session,
            index=index,
            bytes=len(encoded),
            text=text[start : start + step],
        )
