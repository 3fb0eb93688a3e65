"""An attempt's record for analytics, sent in parts while the answer streams, so that memory stays flat.

The parts are named by (turn, attempt, run, part): sent again by whoever closes the turn after a crash, they are the
same rows. An attempt that goes on from another's text records its own chunks only, numbered from where it began.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from processors.writing.log_appender import LogAppender
from schemas.codec import encode
from schemas.identifiers import SessionKey
from schemas.journal import JournalEntry
from schemas.records import RECORD_PART_TEXT_BYTES_MAX, AttemptOutcome, TurnRecord
from schemas.topics import record_partition

__all__ = ["AttemptRecorder"]

PART_JSON_BYTES_MAX: Final = 196_608
"""Texts and gaps of a part as JSON: escapes and tiny chunks outgrow the text itself."""
CHUNK_OVERHEAD_BYTES: Final = 16  # separators, and the chunk's gap


class AttemptRecorder:
    """Collects one attempt's stream and sends its record."""

    def __init__(
        self,
        appender: LogAppender,
        key: SessionKey,
        entry: JournalEntry,
        *,
        attempt: int,
        run: str,
        from_seq: int = 0,
        before: AttemptRecorder | None = None,
    ) -> None:
        """`before`: the recorder of the attempt that this one goes on from, where this worker has it."""
        self.appender = appender
        self.key = key
        self.identity = TurnRecord(
            user=entry.user,
            tenant=entry.prompt.tenant if entry.prompt else "",
            session=entry.session,
            turn=entry.turn,
            attempt=attempt,
            run=run,
            prompt_id=entry.prompt_id,
        )
        self.parts_sent = 0
        self.from_seq = from_seq
        self.seq = from_seq
        self.texts: list[str] = []
        self.gaps_us: list[int] = []
        self.text_bytes = 0
        self.json_bytes = 0
        self.chars = 0
        self.hash = hashlib.sha256()
        self.before_chars = before.whole_chars if before else 0
        self.whole_hash: hashlib._Hash = before.whole_hash.copy() if before else self.hash
        """Of the whole visible text: what this attempt goes on from, and its own."""

    @property
    def whole_chars(self) -> int:
        """Characters of the whole visible text."""
        return self.before_chars + self.chars

    async def add(self, texts: list[str], gaps_us: list[int]) -> None:
        """Take in chunks; a part that is full is sent and acknowledged before this returns."""
        for text, gap_us in zip(texts, gaps_us, strict=True):
            raw = text.encode(errors="replace")
            json_bytes = len(msgspec.json.encode(text)) + CHUNK_OVERHEAD_BYTES
            if self.texts and self.json_bytes + json_bytes > PART_JSON_BYTES_MAX:
                await self.send(None)
            self.hash.update(raw)
            if self.whole_hash is not self.hash:
                self.whole_hash.update(raw)
            self.text_bytes += len(raw)
            self.json_bytes += json_bytes
            self.chars += len(text)
            self.texts.append(text)
            self.gaps_us.append(gap_us)
            if self.text_bytes > RECORD_PART_TEXT_BYTES_MAX:
                await self.send(None)

    async def finish(self, outcome: AttemptOutcome) -> None:
        """Send the last part. Raises AppendFailed. The text's hash, length and chunks are filled in here."""
        if self.texts and self.json_bytes + len(msgspec.json.encode(outcome.metadata)) > PART_JSON_BYTES_MAX:
            await self.send(None)
        await self.send(
            msgspec.structs.replace(
                outcome,
                text_sha256=self.hash.hexdigest(),
                text_chars=self.chars,
                chunks=self.seq + len(self.texts) - self.from_seq,
            )
        )

    async def send(self, outcome: AttemptOutcome | None) -> None:
        record = msgspec.structs.replace(
            self.identity,
            part=self.parts_sent,
            seq=self.seq,
            texts=tuple(self.texts),
            gaps_us=tuple(self.gaps_us),
            outcome=outcome,
        )
        self.parts_sent += 1
        self.seq += len(self.texts)
        self.texts, self.gaps_us, self.text_bytes, self.json_bytes = [], [], 0, 0
        topic = self.appender.names.records
        await self.appender.append(topic, record_partition(self.key), encode(record), key=self.key.encode())
