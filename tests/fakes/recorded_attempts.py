"""What analysts see of records: the rows that the analytics writer keeps of them, read as the view `turns` reads them.

Written a second time here, in Python, so that it can be compared with a session's log after every simulated crash;
`tests/integration/test_analytics_writer.py` holds the view itself to the same reading.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from processors.analytics.decisions.analytics_rows import RowIdentity, identity_of
from schemas.records import AttemptOutcome, TurnRecord
from schemas.turn_fold import FoldedRun, text_hash

__all__ = ["RecordedAttempt", "RunName", "recorded_attempts"]

RunName = tuple[str, int, str]
"""Turn, attempt, run."""


@dataclass(slots=True)
class RecordedAttempt:
    """An attempt with an outcome."""

    outcome: AttemptOutcome
    parts: list[TurnRecord] = field(default_factory=list)
    """In order; the one with the outcome is the last."""

    @property
    def text(self) -> str:
        """All that it says."""
        return "".join(text for part in self.parts for text in part.texts)

    def faults(self, run: FoldedRun | None) -> list[str]:
        """Where it differs from the log's reading of this run; None: nothing was called."""
        chunks, gaps_us, from_seq = (run.chunks, run.gaps_us, run.started.from_seq) if run else ([], [], 0)
        faults = []
        if [part.part for part in self.parts] != list(range(len(self.parts))):
            faults.append(f"has parts {[part.part for part in self.parts]}")
        if [text for part in self.parts for text in part.texts] != chunks:
            faults.append(f"has another text: {self.text[:80]!r}, not {''.join(chunks)[:80]!r}")
        if [gap for part in self.parts for gap in part.gaps_us] != gaps_us:
            faults.append("has other gaps")
        seq = from_seq
        for part in self.parts:
            if part.seq != seq:
                faults.append(f"part {part.part} begins at {part.seq}, not {seq}")
            seq += len(part.texts)
        said = "".join(chunks)
        told = (self.outcome.chunks, self.outcome.text_chars, self.outcome.text_sha256)
        if told != (len(chunks), len(said), text_hash(said)):
            faults.append("counts another text")
        return faults


def recorded_attempts(records: Iterable[TurnRecord]) -> dict[RunName, RecordedAttempt]:
    """Attempts that ended on record, from records in the order of their log; what is sent again counts once."""
    rows: dict[RowIdentity, TurnRecord] = {}
    for record in records:
        rows.setdefault(identity_of(record), record)
    found = {
        (row.turn, row.attempt, row.run): RecordedAttempt(row.outcome, [row])
        for row in rows.values()
        if row.outcome is not None
    }
    for row in sorted(rows.values(), key=lambda row: row.part, reverse=True):
        attempt = found.get((row.turn, row.attempt, row.run))
        if attempt is not None and row.outcome is None and row.part < attempt.parts[-1].part:
            attempt.parts.insert(0, row)
    return found
