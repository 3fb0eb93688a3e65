"""Is a statement one that only reads? Decided on the engine's own canonical text of it.

Three walls, each sufficient for most of what is refused:
1. The engine's user has no grant outside `tokenwire` and a few system tables: file(), url(), s3(), remote() and the
   like fail with ACCESS_DENIED (`engine_files`).
2. A reader's session has readonly = 2, which it can't leave, and limits with bounds: INSERT, CREATE, DROP, ALTER,
   SYSTEM and `SETTINGS readonly = 0` fail.
3. This policy, for what the engine embedded in a process lets through all the same: the scalar function file(), the
   table functions Python() (objects of this process), executable() and sqlite() (which makes its file before the
   first wall refuses it), INTO OUTFILE, KILL, SET, USE, temporary tables, and further statements after a semicolon.

The canonical text comes from the engine's `formatQuerySingleLine`, which accepts exactly one statement, drops
comments, writes every string in single quotes with backslash escapes and quotes identifiers with backquotes only
where they need it. So a small scanner can tell words from strings with certainty, and what was judged is what runs.
A forbidden name is refused wherever it stands, as a function can also be named without a call (APPLY file).
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import Final

__all__ = ["READONLY_CODE", "Allowed", "Refused", "Verdict", "format_of", "judge"]

READONLY_CODE: Final = 164
"""ClickHouse's number for a statement refused to a reader."""

READING_VERBS: Final = frozenset({"SELECT", "WITH", "SHOW", "DESCRIBE", "EXISTS", "EXPLAIN"})
EXPLAINED_VERBS: Final = frozenset({"INSERT", "CREATE", "ALTER", "DROP", "SYSTEM", "ANALYZE"})
FORBIDDEN_NAMES: Final = frozenset({"file", "python", "executable", "executablepool", "sqlite"})
FORBIDDEN_PAIRS: Final = frozenset({("INTO", "OUTFILE"), ("PARALLEL", "WITH"), ("EXECUTE", "AS")})
TOKEN: Final = re.compile(
    r"""
    (?P<string>'(?:[^'\\]|\\.)*')
    | `(?P<quoted>(?:[^`\\]|\\.)*)`
    | (?P<word>[^\W\d]\w*)
    | (?P<other>\d\w*|\s+|.)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Allowed:
    """The statement reads. `streams`: it is a plain query, whose rows can be taken block by block."""

    streams: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """The statement may not run here, and why."""

    reason: str


Verdict = Allowed | Refused


def judge(canonical: str) -> Verdict:
    """Judge the canonical text of one statement."""
    words: list[str] = []
    for match in TOKEN.finditer(canonical):
        if match["other"] in ("'", "`", ";"):
            return Refused("Only one complete statement is allowed.")
        word = match["word"] or match["quoted"]
        if word is None:
            continue
        if word.lower() in FORBIDDEN_NAMES:
            return Refused(f"{word} is not available here: this endpoint reads the analytics database only.")
        words.append(word)
    return judge_words([word.upper() for word in words])


def format_of(canonical: str, default: str) -> str:
    """The output format: of the statement's own FORMAT clause, else the default."""
    words = [match["word"] or match["string"] or match["quoted"] for match in TOKEN.finditer(canonical)]
    spoken = [word for word in words if word]
    for position in range(len(spoken) - 2, -1, -1):
        if spoken[position] == "FORMAT":
            return spoken[position + 1]
    return default


def judge_words(words: list[str]) -> Verdict:
    if not words or words[0] not in READING_VERBS:
        return Refused("Only reading is allowed here: SELECT, WITH, SHOW, DESCRIBE, EXISTS, EXPLAIN.")
    for pair in itertools.pairwise(words):
        if pair in FORBIDDEN_PAIRS:
            return Refused(f"{' '.join(pair)} is not available here.")
    if words[0] == "EXPLAIN" and EXPLAINED_VERBS.intersection(words[1:3]):
        return Refused("Only queries can be explained here.")
    return Allowed(streams=words[0] in ("SELECT", "WITH"))
