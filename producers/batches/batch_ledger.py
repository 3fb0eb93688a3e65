"""What was sent of a batch, kept beside the line's own files, so that another command can watch or cancel it.

Theory. A line of the ledger is written *before* its prompt is published, and another after the acknowledgement: so
whatever may be on the log is in the ledger, whenever the sender dies. Texts are not in it. A batch is cancelled by a
flag: the sender writes a line's mark and then looks for the flag, the canceller puts the flag up and then reads the
marks, so a line is either not sent, or known to the canceller. Whether a sender is at work is told by a lock that its
death releases.

    HOME/batches/DIGEST.jsonl      a header per run, then the marks, appended
    HOME/batches/DIGEST.lock       locked while a sender runs
    HOME/batches/DIGEST.cancelled  the flag
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self, TypeAlias

import msgspec

from infra.private_files import OWNER_ONLY, make_private, private_opener
from producers.batches.batch_results import cut_unfinished_line
from schemas.prompts import CompareMode, PromptSubmitted

__all__ = [
    "BatchHeader",
    "BatchLedger",
    "BatchPlace",
    "BatchUnknown",
    "LedgerView",
    "LineMark",
    "SenderAtWork",
    "find_batch",
    "known_batches",
]

DIGEST_CHARS: Final = 24
LOCK_TRIES: Final = 20
LOCK_PAUSE_S: Final = 0.05

LineKey: TypeAlias = tuple[str, str, str]


class BatchUnknown(Exception):
    """No batch of this name or file was sent from here."""


class SenderAtWork(Exception):
    """Another command is sending this batch."""


class BatchHeader(msgspec.Struct, frozen=True, omit_defaults=True, tag="batch", kw_only=True):
    """A run of `tokenwire send --file` begins."""

    name: str
    file: str
    results: str
    lines: int
    at_us: int


class LineMark(msgspec.Struct, frozen=True, omit_defaults=True, tag="line", kw_only=True):
    """A line is about to be published (`acknowledged`: the broker has it)."""

    line: int
    user: str
    session: str
    prompt_id: str
    retry_of: str = ""
    """The line's own prompt id, where this is another prompt in its place."""
    model: str = ""
    models: tuple[str, ...] = ()
    compare: CompareMode = "all"
    merge_model: str = ""
    acknowledged: bool = False
    at_us: int = 0

    @property
    def key(self) -> LineKey:
        """What names the prompt."""
        return self.user, self.session, self.prompt_id

    @property
    def line_key(self) -> LineKey:
        """What names the line, whichever prompt stands for it."""
        return self.user, self.session, self.retry_of or self.prompt_id

    @property
    def prompt(self) -> PromptSubmitted:
        """The prompt without its text: enough to follow and to cancel it."""
        return PromptSubmitted(
            user=self.user,
            session=self.session,
            prompt_id=self.prompt_id,
            model=self.model,
            models=self.models,
            compare=self.compare,
            merge_model=self.merge_model,
        )


LedgerEntry: TypeAlias = BatchHeader | LineMark
ENTRIES: Final[msgspec.json.Decoder[LedgerEntry]] = msgspec.json.Decoder(LedgerEntry)


@dataclass(frozen=True, slots=True)
class BatchPlace:
    """Where a batch's files are."""

    folder: Path
    digest: str

    @classmethod
    def of(cls, home: Path, name: str) -> Self:
        """The place of the batch of this name."""
        digest = base64.b32encode(hashlib.sha256(name.encode()).digest()).decode().lower()[:DIGEST_CHARS]
        return cls(home / "batches", digest)

    @property
    def entries(self) -> Path:
        """Headers and marks."""
        return self.folder / f"{self.digest}.jsonl"

    @property
    def lock(self) -> Path:
        """Locked while a sender runs."""
        return self.folder / f"{self.digest}.lock"

    @property
    def flag(self) -> Path:
        """There while the batch is cancelled."""
        return self.folder / f"{self.digest}.cancelled"

    @property
    def cancelled(self) -> bool:
        """Whether the flag is up."""
        return self.flag.exists()

    @property
    def sender_at_work(self) -> bool:
        """Whether somebody sends it at this moment."""
        if not self.lock.exists():
            return False
        with self.lock.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def cancel(self) -> None:
        """Keep a sender from sending more."""
        self.flag.touch(mode=OWNER_ONLY)


class BatchLedger:
    """The sender's side. Use as a context manager: it holds the lock."""

    def __init__(self, place: BatchPlace, header: BatchHeader) -> None:
        self.place = place
        self._header = header
        self._file: IO[bytes] | None = None
        self._lock: IO[bytes] | None = None

    def __enter__(self) -> Self:
        """Take the batch up, cancelled or not. Raises SenderAtWork, OSError."""
        make_private(self.place.folder)
        self._lock = open(self.place.lock, "ab", opener=private_opener)
        try:
            self._take_lock(self._lock)
            if self.place.entries.exists():
                cut_unfinished_line(self.place.entries)
            self.place.flag.unlink(missing_ok=True)
            self._file = open(self.place.entries, "ab", buffering=0, opener=private_opener)
            self._append(self._header)
        except BaseException:  # Ctrl-C too: a lock that stays taken keeps the next run out
            self._lock.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in (self._file, self._lock):
            if file is not None:
                file.close()
        self._file = self._lock = None

    @property
    def cancelled(self) -> bool:
        """Whether no further line is to be sent."""
        return self.place.cancelled

    def begin(self, line: int, prompt: PromptSubmitted, *, retry_of: str = "") -> bool:
        """Mark a line that is about to be published; False: the batch was cancelled, leave it."""
        self._append(mark_of(line, prompt, retry_of))
        return not self.cancelled

    def acknowledge(self, line: int, prompt: PromptSubmitted, *, retry_of: str = "") -> None:
        """Mark a line that the broker has."""
        self._append(msgspec.structs.replace(mark_of(line, prompt, retry_of), acknowledged=True))

    def _append(self, entry: LedgerEntry) -> None:
        if self._file is None:
            raise ValueError("the ledger is not open")
        self._file.write(msgspec.json.encode(entry) + b"\n")

    def _take_lock(self, file: IO[bytes]) -> None:
        for _ in range(LOCK_TRIES):  # whoever only looks whether a sender runs holds it for an instant
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(LOCK_PAUSE_S)
            else:
                return
        raise SenderAtWork(
            f"{self._header.name} is being sent by another command; watch it with `tokenwire batch watch`"
        )


@dataclass(slots=True)
class LedgerView:
    """The reader's side: everything marked so far. `refresh` reads what was added."""

    place: BatchPlace
    header: BatchHeader | None = None
    """The newest run's."""
    marks: dict[LineKey, LineMark] = field(default_factory=dict)
    """By the line's key: of a line that was asked anew, the newest prompt's."""
    _offset: int = 0

    def refresh(self) -> None:
        """Read whole lines that were added. Raises OSError."""
        with self.place.entries.open("rb") as file:
            file.seek(self._offset)
            for raw in file:
                if not raw.endswith(b"\n"):
                    break  # being written, or what a kill left
                self._offset += len(raw)
                self._take(raw)

    def _take(self, raw: bytes) -> None:
        try:
            entry = ENTRIES.decode(raw)
        except msgspec.MsgspecError:
            return  # of a newer build
        match entry:
            case BatchHeader():
                self.header = entry
            case LineMark():
                self.marks[entry.line_key] = entry


def mark_of(line: int, prompt: PromptSubmitted, retry_of: str = "") -> LineMark:
    return LineMark(
        line=line,
        user=prompt.user,
        session=prompt.session,
        prompt_id=prompt.prompt_id,
        retry_of=retry_of,
        model=prompt.model,
        models=prompt.models,
        compare=prompt.compare,
        merge_model=prompt.merge_model,
        at_us=time.time_ns() // 1_000,
    )


def known_batches(home: Path) -> Iterator[LedgerView]:
    """Every batch that was sent from this home."""
    for path in sorted((home / "batches").glob("*.jsonl")):
        view = LedgerView(BatchPlace(path.parent, path.stem))
        view.refresh()
        if view.header is not None:
            yield view


def find_batch(home: Path, named: str) -> LedgerView:
    """The batch of this name or file. Raises BatchUnknown, which says what there is."""
    file = str(Path(named).resolve())
    for name in (named, file):
        place = BatchPlace.of(home, name)
        if place.entries.exists():
            view = LedgerView(place)
            view.refresh()
            return view
    sent = [view for view in known_batches(home) if view.header is not None and view.header.file == file]
    if len(sent) == 1:
        return sent[0]
    if sent:
        names = ", ".join(view.header.name for view in sent if view.header is not None)
        raise BatchUnknown(f"{named} was sent under several names: {names}; say which")
    raise BatchUnknown(f"no batch {named!r} was sent from {home}; `tokenwire batch list` shows those that were")
