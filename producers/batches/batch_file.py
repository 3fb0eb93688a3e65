"""A batch of prompts in a file: one JSON object a line, read and checked whole before the first one is sent.

A line is the documented prompt, of which everything but `input` (or `messages`) may be left out. Ids left out are
made from the batch's name, the line's bytes and how often they came before: running the file again, or with lines
added, names the same prompts again, and what was answered already is neither asked nor paid for a second time.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from schemas.errors import InvalidField
from schemas.prompt_limits import PromptLimits, check_prompt
from schemas.prompts import Priority, PromptSubmitted

__all__ = ["BadLines", "BatchLine", "read_batch"]

ID_CHARS: Final = 24
LINE_BYTES_MAX: Final = 2_097_152
FAULTS_SHOWN_MAX: Final = 10
FIELDS: Final = frozenset({"type", *PromptSubmitted.__struct_fields__})


class BadLines(Exception):
    """Lines of the file are no prompts; nothing was sent. `faults`: line number and what is wrong with it."""

    def __init__(self, path: Path, faults: list[tuple[int, str]]) -> None:
        shown = [f"line {number}: {problem}" for number, problem in faults[:FAULTS_SHOWN_MAX]]
        more = len(faults) - len(shown)
        super().__init__("\n  ".join([f"{path}: nothing was sent", *shown, *([f"and {more} more"] if more else [])]))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class BatchLine:
    """A prompt and the number of its line, from 1."""

    number: int
    prompt: PromptSubmitted
    retry_of: str = ""
    """The line's own prompt id, where another prompt is sent in its place."""

    @property
    def key(self) -> tuple[str, str, str]:
        """What names the line: its prompt's own id."""
        return self.prompt.user, self.prompt.session, self.retry_of or self.prompt.prompt_id


def read_batch(
    path: Path, *, user: str, name: str, limits: PromptLimits, priority: Priority = "batch"
) -> list[BatchLine]:
    """Every prompt of the file; empty lines are passed over. Raises BadLines with all faults, OSError.

    `user` is whom lines without one belong to, `priority` that of lines without one; `name` tells apart batches that
    hold equal lines.
    """
    lines: list[BatchLine] = []
    faults: list[tuple[int, str]] = []
    seen: Counter[bytes] = Counter()
    for number, raw in numbered_lines(path):
        digest = digest_of(name, raw, seen[raw])
        seen[raw] += 1
        try:
            prompt = prompt_of_line(raw, user=user, digest=digest, priority=priority)
            check_prompt(prompt, limits)
        except (msgspec.MsgspecError, InvalidField, RecursionError) as error:
            faults.append((number, str(error)))
        else:
            lines.append(BatchLine(number, prompt))
    faults.extend(repeated_ids(lines))
    if faults:
        raise BadLines(path, sorted(faults))
    return lines


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        number = 0
        while raw := file.readline(LINE_BYTES_MAX):
            number += 1
            rest = raw
            while len(rest) == LINE_BYTES_MAX and not rest.endswith(b"\n"):
                rest = file.readline(LINE_BYTES_MAX)
            if raw.strip():
                yield number, raw.strip()


def prompt_of_line(raw: bytes, *, user: str, digest: str, priority: Priority) -> PromptSubmitted:
    if len(raw) >= LINE_BYTES_MAX:
        raise InvalidField("the line", f"has {LINE_BYTES_MAX} bytes or more", "shorten the prompt")
    fields: dict[str, Any] = msgspec.json.decode(raw, type=dict[str, Any])
    unknown = sorted(fields.keys() - FIELDS)
    if unknown:
        raise InvalidField(unknown[0], "is not a field of a prompt", f"use {', '.join(sorted(FIELDS))}")
    defaults = {"user": user, "session": f"batch-{digest}", "prompt_id": f"line-{digest}", "priority": priority}
    return msgspec.convert({**defaults, **fields}, PromptSubmitted)


def repeated_ids(lines: list[BatchLine]) -> Iterator[tuple[int, str]]:
    """A prompt_id given twice in a session means the same prompt: only one of them would be answered."""
    first: dict[tuple[str, str, str], int] = {}
    for line in lines:
        key = (line.prompt.user, line.prompt.session, line.prompt.prompt_id)
        if key in first:
            yield line.number, f"prompt_id was used in line {first[key]} already; give each line its own"
        first.setdefault(key, line.number)


def digest_of(name: str, raw: bytes, seen_before: int) -> str:
    state = hashlib.sha256(f"{len(name)}:{name}:{seen_before}:".encode() + raw)
    return base64.b32encode(state.digest()).decode().lower()[:ID_CHARS]
