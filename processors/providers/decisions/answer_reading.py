"""An answer's events, one after the other, read into what counts of them: what no event alone can say.

Halves of a surrogate pair that came in two events are one character; a half that stays alone is U+FFFD. Text after a
finish reason is text: some providers send a reason with every chunk. Of several reasons the one that `replaces` says
counts. A whole message after deltas is what was said already.

With `[DONE]` the answer is whole if there was a reason (`reason`), with any other end only if nothing came after it
(`is_finished`). A reason that came with text (`is_doubtful`) may be one of many: what follows it is waited for as long
as for any token.
"""

from __future__ import annotations

import re
from typing import Final

from processors.providers.decisions.chat_chunks import Decoded, FinishChunk, ProviderChunk, TextChunk
from processors.providers.decisions.finish_reasons import FinishMeaning, meaning_of, replaces

__all__ = ["AnswerReading", "SurrogateJoiner"]

SURROGATE: Final = re.compile("[\ud800-\udfff]")
REPLACEMENT: Final = "\ufffd"


class SurrogateJoiner:
    """Texts as they come in, texts without halves of characters out."""

    __slots__ = ("_half",)

    def __init__(self) -> None:
        self._half = ""
        """The first half of a pair whose second one may come."""

    def join(self, text: str) -> str:
        """The text, with the half from before it, and without one that is its last."""
        if not self._half and (text.isascii() or not SURROGATE.search(text)):
            return text
        text, self._half = self._half + text, ""
        if "\ud800" <= text[-1:] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

    def rest(self) -> str:
        """What the end of the text leaves of a half."""
        half, self._half = self._half, ""
        return REPLACEMENT if half else ""


class AnswerReading:
    """One answer as far as it has been read."""

    __slots__ = ("_has_deltas", "_has_text", "_joiner", "_text_since", "acts", "is_doubtful", "is_finished", "reason")

    def __init__(self) -> None:
        self._joiner = SurrogateJoiner()
        self.reason = ""
        """The finish reason that counts, if there was one."""
        self.is_finished = False
        """Nothing but repetitions came after a finish reason."""
        self.is_doubtful = False
        """The reason came beside a sign of life, or one came after an earlier one."""
        self._text_since = False
        self._has_text = False
        self._has_deltas = False
        """Text has come piece by piece."""
        self.acts = False
        """The model has called a tool."""

    @property
    def is_wordless(self) -> bool:
        """Whether the model has ended its answer and neither said nor done anything."""
        return not self._has_text and not self.acts and meaning_of(self.reason) is FinishMeaning.WHOLE

    def take(self, decoded: Decoded) -> list[ProviderChunk]:
        """What counts of an event."""
        items: list[ProviderChunk] = []
        self.acts = self.acts or decoded.acts
        if decoded.alive:
            self.is_doubtful = self.is_doubtful or self.reason != ""
            self.is_finished = False
        for item in decoded.items:
            if isinstance(item, TextChunk):
                items += self.text(item, in_message=decoded.in_message)
            elif not isinstance(item, FinishChunk) or self.finish(item, beside_life=decoded.alive):
                items.append(item)
        return items

    def text(self, item: TextChunk, *, in_message: bool) -> tuple[TextChunk, ...]:
        if in_message and self._has_deltas:
            return ()
        self._text_since = self._has_text = True
        self._has_deltas = not in_message
        text = self._joiner.join(item.text)
        if text is item.text:
            return (item,)
        return (TextChunk(text),) if text else ()

    def finish(self, item: FinishChunk, *, beside_life: bool) -> bool:
        """Note a finish reason; whether it counts."""
        counts = not self.reason or replaces(item.reason, self.reason, text_between=self._text_since)
        self.is_finished, self._text_since = True, False
        self.is_doubtful = self.is_doubtful or beside_life
        if counts:
            self.reason = item.reason
        return counts

    def rest(self) -> list[ProviderChunk]:
        """What the end of the answer leaves to be given."""
        text = self._joiner.rest()
        return [TextChunk(text)] if text else []
