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
        self._appender = appender
        self._key = key
        self._identity = TurnRecord(
            user=entry.user,
            tenant=entry.prompt.tenant if entry.prompt else "",
            session=entry.session,
            turn=entry.turn,
            attempt=attempt,
            run=run,
            prompt_id=entry.prompt_id,
        )
        self._text_bytes_max = limits.text_bytes_max
        self._json_bytes_max = limits.chunks_bytes_max(entry.prompt.metadata if entry.prompt else {})
        self._parts = 0
        """Cut so far; the number of the one that grows."""
        self._full: deque[TurnRecord] = deque()
        """Cut and not acknowledged yet, in order."""
        self._from_seq = from_seq
        self._seq = from_seq
        self._texts: list[str] = []
        self._gaps_us: list[int] = []
        self._text_bytes = 0
        self._json_bytes = 0
        self._chars = 0
        self._hash = hashlib.sha256()
        self._before_chars = before.whole_chars if before else 0
        self.whole_hash: hashlib._Hash = before.whole_hash.copy() if before else self._hash
        """Of the whole visible text: what this attempt goes on from, and its own."""

    @property
    def whole_chars(self) -> int:
        """Characters of the whole visible text."""
        return self._before_chars + self._chars

    def add(self, texts: Sequence[str], gaps_us: Sequence[int]) -> None:
        """Take in the next chunks that are on the session's log. `send_full` sends what that fills."""
        for text, gap_us in zip(texts, gaps_us, strict=True):
            raw = text.encode(errors="replace")
            json_bytes = len(msgspec.json.encode(text)) + CHUNK_OVERHEAD_BYTES
            if self._texts and self._json_bytes + json_bytes > self._json_bytes_max:
                self._full.append(self.cut(None))
            self._hash.update(raw)
            if self.whole_hash is not self._hash:
                self.whole_hash.update(raw)
            self._text_bytes += len(raw)
            self._json_bytes += json_bytes
            self._chars += len(text)
            self._texts.append(text)
            self._gaps_us.append(gap_us)
            if self._text_bytes > self._text_bytes_max:
                self._full.append(self.cut(None))

    async def send_full(self) -> None:
        """Send the parts that are full. Raises AppendFailed.

        Cancellation: a part may have been sent and is sent again by the next call, which changes nothing.
        """
        while self._full:
            await self.send(self._full[0])
            self._full.popleft()

    async def finish(self, outcome: AttemptOutcome) -> None:
        """Send what is left, the outcome with the last part. Raises AppendFailed.

        The text's hash, length and chunks are filled in here.
        """
        await self.send_full()
        whole = msgspec.structs.replace(
            outcome,
            text_sha256=self._hash.hexdigest(),
            text_chars=self._chars,
            chunks=self._seq + len(self._texts) - self._from_seq,
        )
        await self.send(self.cut(whole))

    def cut(self, outcome: AttemptOutcome | None) -> TurnRecord:
        record = msgspec.structs.replace(
            self._identity,
            part=self._parts,
            seq=self._seq,
            texts=tuple(self._texts),
            gaps_us=tuple(self._gaps_us),
            outcome=outcome,
        )
        self._parts += 1
        self._seq += len(self._texts)
        self._texts, self._gaps_us, self._text_bytes, self._json_bytes = [], [], 0, 0
        return record

    async def send(self, record: TurnRecord) -> None:
        topic = self._appender.names.records
        await self._appender.append(topic, record_partition(self._key), encode(record), key=self._key.encode())
