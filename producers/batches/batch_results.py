"""The results of a batch: one JSON object a line, appended as answers come, valid after any kill.

A prompt's newest line counts. A line with a `reason` is final; one without (our own failure: no acknowledgement, no
answer in time) is tried again when the batch is run again. What ended otherwise than whole is asked anew only where
that is wanted, under an id that follows from the last one's (`retried_id`): `retry_of` names the line it stands for.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

import msgspec

from schemas.session_events import EndReason, TurnError, Usage

__all__ = ["BatchAnswer", "BatchResult", "FinishedPrompt", "ResultsDamaged", "ResultsFile", "cut_unfinished_line"]

TAIL_BYTES_MAX: Final = 4_194_304
"""More than any line of ours: how far back the end of the last whole line is looked for."""


class ResultsDamaged(Exception):
    """The file holds something that is no result: probably another file's name was given."""


class BatchAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One model's answer to a line that asked several."""

    model: str
    turn: str
    reason: EndReason
    text: str = ""
    usage: Usage = Usage()
    cost_nano_usd: int = 0
    error: TurnError | None = None


class BatchResult(msgspec.Struct, frozen=True, kw_only=True):
    """How one line of the batch ended. Of several models: the answer chosen, and what all of them cost together."""

    line: int
    user: str
    session: str
    prompt_id: str
    turn: str
    retry_of: str | msgspec.UnsetType = msgspec.UNSET
    """The prompt id of the line, where this is the answer to a later prompt in its place."""
    reason: EndReason | None = None
    """None: not known; running the batch again finds out."""
    text: str = ""
    usage: Usage = Usage()
    cost_nano_usd: int = 0
    error: TurnError | None = None
    metadata: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    """The line's own, where it has some."""
    answers: tuple[BatchAnswer, ...] | msgspec.UnsetType = msgspec.UNSET
    """Every model's answer; only where several were asked."""

    @property
    def key(self) -> tuple[str, str, str]:
        """What names the line: its prompt's own id."""
        return self.user, self.session, self.retry_of or self.prompt_id


@dataclass(frozen=True, slots=True)
class FinishedPrompt:
    """The newest prompt of a line that has ended, and how."""

    prompt_id: str
    reason: EndReason

    @property
    def answered(self) -> bool:
        """Whether there is a whole answer."""
        return self.reason == "complete"


class ResultsFile:
    """Appends results; knows which prompts were finished by earlier runs. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.finished: dict[tuple[str, str, str], FinishedPrompt] = {}
        """By the line's key: its newest prompt that has ended."""
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        """Read what is there, cut off a line that a kill left unfinished. Raises ResultsDamaged, OSError."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            cut_unfinished_line(self._path)
            self._read_finished()
        self._file = self._path.open("ab", buffering=0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def append(self, result: BatchResult) -> None:
        """Add a line, in one write."""
        if self._file is None:
            raise ResultsDamaged(f"{self._path} is not open")
        self._file.write(msgspec.json.encode(result) + b"\n")
        self._note(result)

    def _note(self, result: BatchResult) -> None:
        if result.reason is not None:
            self.finished[result.key] = FinishedPrompt(result.prompt_id, result.reason)

    def _read_finished(self) -> None:
        decoder = msgspec.json.Decoder(BatchResult)
        with self._path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                try:
                    result = decoder.decode(raw)
                except msgspec.MsgspecError:
                    raise ResultsDamaged(
                        f"{self._path}, line {number}, is no result of a batch; name another results file"
                    ) from None
                self._note(result)


def cut_unfinished_line(path: Path) -> None:
    """Cut off what a kill left after the last whole line."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - TAIL_BYTES_MAX)
        file.seek(start)
        tail = file.read()
        if tail and not tail.endswith(b"\n"):
            file.truncate(start + tail.rfind(b"\n") + 1)
