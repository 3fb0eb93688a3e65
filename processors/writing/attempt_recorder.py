"""An attempt's record for analytics, sent in parts while the answer streams, so that memory stays flat.

Whoever closes the turn after a crash sends the record again, rebuilt from the session's log. It is made of the same
rows, because the recorder hears of chunks only once the log has acknowledged them, and because where a part ends
follows from the chunks up to there, whatever comes after them. So a part that was sent before a crash is a beginning of
what the log holds. The last part is the one that carries the outcome. It may be cut anywhere, for it is known as the
outcome, not by its number (`processors/analytics/decisions/analytics_rows.py`).

An attempt that goes on from another's text records its own chunks only, numbered from where it began.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from processors.writing.log_appender import LogAppender
from schemas.codec import encode
from schemas.identifiers import SessionKey
from schemas.journal import JournalEntry
from schemas.records import RECORD_PART_TEXT_BYTES_MAX, AttemptOutcome, TurnRecord
from schemas.topics import record_partition

__all__ = ["AttemptRecorder", "PartLimits"]

CHUNK_OVERHEAD_BYTES: Final = 16  # separators, and the chunk's gap


@dataclass(frozen=True, slots=True, kw_only=True)
class PartLimits:
    """How large a part may grow. Two workers with other limits cut the same answer into other rows."""

    text_bytes_max: int = RECORD_PART_TEXT_BYTES_MAX
    """The chunk that exceeds it is the part's last."""
    json_bytes_max: int = 196_608
    """Texts and gaps as JSON: escapes and tiny chunks outgrow the text itself."""
    metadata_bytes_free: int = 49_152
    """A prompt's metadata as JSON that the last part takes in beside its chunks. More of it leaves every part less."""

    def chunks_bytes_max(self, metadata: dict[str, str]) -> int:
        """What the chunks of a part may take as JSON, whichever part it is."""
        return self.json_bytes_max - max(0, len(msgspec.json.encode(metadata)) - self.metadata_bytes_free)


class AttemptRecorder:
    """Collects one attempt's stream and sends its record. Holds one part that grows, and the full ones until sent."""

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
        limits: PartLimits = PartLimits(),
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
        self.text_bytes_max = limits.text_bytes_max
        self.json_bytes_max = limits.chunks_bytes_max(entry.prompt.metadata if entry.prompt else {})
        self.parts = 0
        """Cut so far; the number of the one that grows."""
        self.full: deque[TurnRecord] = deque()
        """Cut and not acknowledged yet, in order."""
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

    def add(self, texts: Sequence[str], gaps_us: Sequence[int]) -> None:
        """Take in the next chunks that are on the session's log. `send_full` sends what that fills."""
        for text, gap_us in zip(texts, gaps_us, strict=True):
            raw = text.encode(errors="replace")
            json_bytes = len(msgspec.json.encode(text)) + CHUNK_OVERHEAD_BYTES
            if self.texts and self.json_bytes + json_bytes > self.json_bytes_max:
                self.full.append(self.cut(None))
            self.hash.update(raw)
            if self.whole_hash is not self.hash:
                self.whole_hash.update(raw)
            self.text_bytes += len(raw)
            self.json_bytes += json_bytes
            self.chars += len(text)
            self.texts.append(text)
            self.gaps_us.append(gap_us)
            if self.text_bytes > self.text_bytes_max:
                self.full.append(self.cut(None))

    async def send_full(self) -> None:
        """Send the parts that are full. Raises AppendFailed.

        Cancellation: a part may have been sent and is sent again by the next call, which changes nothing.
        """
        while self.full:
            await self.send(self.full[0])
            self.full.popleft()

    async def finish(self, outcome: AttemptOutcome) -> None:
        """Send what is left, the outcome with the last part. Raises AppendFailed.

        The text's hash, length and chunks are filled in here.
        """
        await self.send_full()
        whole = msgspec.structs.replace(
            outcome,
            text_sha256=self.hash.hexdigest(),
            text_chars=self.chars,
            chunks=self.seq + len(self.texts) - self.from_seq,
        )
        await self.send(self.cut(whole))

    def cut(self, outcome: AttemptOutcome | None) -> TurnRecord:
        record = msgspec.structs.replace(
            self.identity,
            part=self.parts,
            seq=self.seq,
            texts=tuple(self.texts),
            gaps_us=tuple(self.gaps_us),
            outcome=outcome,
        )
        self.parts += 1
        self.seq += len(self.texts)
        self.texts, self.gaps_us, self.text_bytes, self.json_bytes = [], [], 0, 0
        return record

    async def send(self, record: TurnRecord) -> None:
        topic = self.appender.names.records
        await self.appender.append(topic, record_partition(self.key), encode(record), key=self.key.encode())
