"""Reading `tokenwire.deadletters`, newest first, and finding one by its offset.

The topic has one partition and keeps letters for 30 days; a letter's offset there is its name. Reading goes backwards
in windows of WINDOW_LETTERS, so that the newest letters of a full topic cost no more than those of an empty one.

    DeadLetterError
    ├── LettersUnavailable    the topic is not there, or no broker answers
    └── NoSuchLetter          nothing lies at that offset (any more)
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from infra.kafka.log_client import LogBounds, LogClient, LogError, UnknownLog
from infra.settings import Settings
from schemas.codec import decode_dead_letter
from schemas.dead_letters import DeadLetter
from schemas.errors import SchemaError

__all__ = ["DeadLetterBox", "DeadLetterError", "FoundLetter", "LetterFilter", "LettersUnavailable", "NoSuchLetter"]

WINDOW_LETTERS: Final = 64
PARTITION: Final = 0


class DeadLetterError(Exception):
    """A dead letter could not be read."""


class LettersUnavailable(DeadLetterError):
    """The topic is not there, or no broker answers."""


class NoSuchLetter(DeadLetterError):
    """Nothing lies at that offset."""


@dataclass(frozen=True, slots=True)
class FoundLetter:
    """A letter and its offset on the topic."""

    offset: int
    letter: DeadLetter

    @property
    def user(self) -> str:
        """Whose it was: as the worker knew it, else the record's key. Empty: nobody can tell."""
        return self.letter.user or (self.letter.key or b"").decode(errors="replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFilter:
    """Which letters are wanted; empty and 0 leave a condition out."""

    reason: str = ""
    user: str = ""
    since_ms: int = 0

    def takes(self, found: FoundLetter) -> bool:
        """Whether a letter has what is asked for. Its time is seen to by where reading stops."""
        return self.reason in ("", found.letter.reason) and self.user in ("", found.user)


class DeadLetterBox:
    """Reads letters over one connection. Start it, or use `async with`."""

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.topic_names.dead_letters
        self._log = LogClient(settings, role="deadletters")

    async def __aenter__(self) -> DeadLetterBox:
        """Connect. Raises LettersUnavailable."""
        try:
            await self._log.start()
        except LogError as error:
            raise LettersUnavailable(f"{error}; start one (`tokenwire up` does), or set TOKENWIRE_KAFKA") from error
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._log.stop()

    async def newest(self, wanted: LetterFilter) -> AsyncIterator[FoundLetter]:
        """The wanted letters, newest first; what is no letter is passed over. Raises LettersUnavailable."""
        bounds = await self._bounds()
        try:
            oldest = bounds.start
            if wanted.since_ms:
                oldest = max(oldest, await self._log.offset_at(self._topic, PARTITION, wanted.since_ms))
            end = bounds.end
            while end > oldest:
                begin = max(oldest, end - WINDOW_LETTERS)
                for found in reversed(await self._window(begin, end)):
                    if wanted.takes(found):
                        yield found
                end = begin
        except LogError as error:
            raise LettersUnavailable(f"the dead letters cannot be read now: {error}") from error

    async def letter_at(self, offset: int) -> FoundLetter:
        """The letter of this offset. Raises NoSuchLetter, LettersUnavailable."""
        bounds = await self._bounds()
        if bounds.start <= offset < bounds.end:
            try:
                for found in await self._window(offset, offset + 1):
                    return found
            except LogError as error:
                raise LettersUnavailable(f"the dead letters cannot be read now: {error}") from error
        held = f"it holds {bounds.start} to {bounds.end - 1}" if bounds.end > bounds.start else "it is empty"
        raise NoSuchLetter(f"no dead letter at offset {offset} of {self._topic}: {held}")

    async def _bounds(self) -> LogBounds:
        try:
            return await self._log.bounds(self._topic, PARTITION)
        except UnknownLog as error:
            raise LettersUnavailable(f"there is no topic {self._topic}; `tokenwire migrate` makes it") from error
        except LogError as error:
            raise LettersUnavailable(f"the dead letters cannot be read now: {error}") from error

    async def _window(self, begin: int, end: int) -> list[FoundLetter]:
        found: list[FoundLetter] = []
        async for records in self._log.read(self._topic, PARTITION, begin, end):
            for record in records:
                try:
                    found.append(FoundLetter(record.offset, decode_dead_letter(record.value or b"")))
                except SchemaError:
                    continue  # somebody else wrote it: no letter of ours
        return found
