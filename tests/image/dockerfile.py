"""Reads a Dockerfile: its stages and their steps, of the kinds that ours uses. Anything else is refused.

One reading serves two: the static tests of `infra/deploy`, and `make test-image`, which runs the steps.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

__all__ = [
    "Copy",
    "DockerfileNotUnderstood",
    "Environment",
    "Run",
    "Stage",
    "Step",
    "User",
    "WorkFolder",
    "read_stages",
]

INSTRUCTION: Final = re.compile(r"([A-Z]+)\s+(.*)", re.DOTALL)
FROM: Final = re.compile(r"(\S+)(?:\s+AS\s+(\S+))?")


class DockerfileNotUnderstood(Exception):
    """An instruction, or a form of one, that is not in the list above."""


@dataclass(frozen=True, slots=True)
class Run:
    """A line for the shell."""

    line: str


@dataclass(frozen=True, slots=True)
class Copy:
    """Files of the context, or of an earlier stage, into this one."""

    sources: tuple[str, ...]
    target: str
    stage: str | None


@dataclass(frozen=True, slots=True)
class Environment:
    """Variables for the steps that follow and for the processes; a value may hold $NAME."""

    values: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class User:
    """Who runs what follows."""

    name: str


@dataclass(frozen=True, slots=True)
class WorkFolder:
    """Where what follows runs."""

    path: str


Step = Run | Copy | Environment | User | WorkFolder


@dataclass(slots=True)
class Stage:
    """What one FROM begins."""

    base: str
    name: str | None
    steps: list[Step] = field(default_factory=list)
    entry_point: tuple[str, ...] = ()
    command: tuple[str, ...] = ()


def read_stages(file: Path) -> list[Stage]:
    """The stages in order; the last one is the image. Raises DockerfileNotUnderstood."""
    stages: list[Stage] = []
    for keyword, rest in instructions(file.read_text()):
        if keyword == "FROM":
            found = FROM.fullmatch(rest)
            if found is None:
                raise DockerfileNotUnderstood(f"FROM {rest}")
            stages.append(Stage(found[1], found[2]))
        elif not stages:
            raise DockerfileNotUnderstood(f"{keyword} before any FROM")
        elif keyword == "ENTRYPOINT":
            stages[-1].entry_point = words_of(rest)
        elif keyword == "CMD":
            stages[-1].command = words_of(rest)
        else:
            stages[-1].steps.append(step_of(keyword, rest))
    return stages


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Keyword and rest, continued lines joined; comments may stand between them."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in re.sub(r"\\\n\s*", "", lines).splitlines():
        if line.strip():
            found = INSTRUCTION.fullmatch(line.strip())
            if found is None:
                raise DockerfileNotUnderstood(line)
            yield found[1], found[2]


def step_of(keyword: str, rest: str) -> Step:
    match keyword:
        case "RUN" if not rest.startswith(("--", "[", "<<")):
            return Run(rest)
        case "COPY":
            return copy_of(rest)
        case "ENV":
            pairs = [word.partition("=") for word in shlex.split(rest)]
            if all(equals for _, equals, _ in pairs):
                return Environment(tuple((name, value) for name, _, value in pairs))
        case "USER":
            return User(rest)
        case "WORKDIR":
            return WorkFolder(rest)
        case _:
            pass
    raise DockerfileNotUnderstood(f"{keyword} {rest}")


def copy_of(rest: str) -> Copy:
    words = shlex.split(rest)
    stage = words.pop(0).removeprefix("--from=") if words[0].startswith("--from=") else None
    if len(words) < 2 or any(word.startswith(("--", "[")) or set(word) & set("*?$") for word in words):
        raise DockerfileNotUnderstood(f"COPY {rest}")
    return Copy(tuple(words[:-1]), words[-1], stage)


def words_of(rest: str) -> tuple[str, ...]:
    """The exec form alone: a shell in between would keep signals to itself."""
    try:
        return tuple(json.loads(rest))
    except ValueError:
        raise DockerfileNotUnderstood(f"not the exec form: {rest}") from None
