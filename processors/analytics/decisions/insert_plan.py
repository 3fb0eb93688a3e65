"""What one insert takes: a range of one partition's offsets, less what is already there, under one token.

Exactness rests on three facts. (1) The plan is committed, with the offset left at `first`, before the insert: a
restart finds the same `first`, `last` and `skips`, reads the same records and so builds the same rows and token.
(2) ClickHouse ignores an insert whose token it knows, so an insert that was done, or is still being done by a frozen
process, counts once. (3) A record that an earlier insert brought (its writer sends a record again when it can't learn
whether the first was taken) is found by its identity before the plan is made, and skipped; the skips are part of the
plan, because a second look after the insert would find every row.

The token also covers the identities of the rows: offsets alone would repeat when a topic is created anew, and a new
row would vanish under an old token. Kafka keeps at most 4,096 bytes of metadata per commit, so a plan with too many
skips is made shorter until it fits; what is left is the next plan. Plain text, so that the committed plan can be read
with Kafka's own tools.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from processors.analytics.decisions.analytics_rows import RowIdentity

__all__ = [
    "PLAN_BYTES_MAX",
    "NotAPlan",
    "Plan",
    "PlannedRecord",
    "decode_plan",
    "encode_plan",
    "kept_records",
    "make_plan",
    "token_of",
]

PLAN_BYTES_MAX: Final = 4_000  # the broker's offset.metadata.max.bytes is 4,096 by default
PLAN_VERSION: Final = "plan1"
TOKEN_CHARS: Final = 40


@dataclass(frozen=True, slots=True)
class PlannedRecord:
    """A record of the range as the plan sees it; no identity = it does not decode and becomes no row."""

    offset: int
    identity: RowIdentity | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What one insert brings. `skips` are offsets within [first, last] that become no row of it."""

    first: int
    last: int
    skips: frozenset[int]
    token: str


@dataclass(frozen=True, slots=True)
class NotAPlan:
    """The committed metadata holds no plan of this version."""

    reason: str


def make_plan(
    records: Sequence[PlannedRecord],
    present: Collection[RowIdentity],
    *,
    place: str,
    first: int,
    bytes_max: int = PLAN_BYTES_MAX,
) -> Plan:
    """Plan an insert of the longest head of `records` (in offset order, at least one) whose plan fits.

    `place` names topic and partition; `first` is the committed offset, at or before the first record's.
    """
    if not records:
        raise ValueError("a plan needs at least one record")
    skips = skipped_offsets(records, present)
    low, high = 1, len(records)
    while low < high:  # a longer head never has a shorter encoding, as its skips only grow
        middle = (low + high + 1) // 2
        if len(encode_plan(plan_of(records[:middle], skips, place=place, first=first))) <= bytes_max:
            low = middle
        else:
            high = middle - 1
    return plan_of(records[:low], skips, place=place, first=first)


def kept_records(plan: Plan, records: Iterable[PlannedRecord]) -> list[PlannedRecord]:
    """The records of the plan's range that become rows."""
    return [
        record
        for record in records
        if plan.first <= record.offset <= plan.last and record.offset not in plan.skips and record.identity is not None
    ]


def token_of(place: str, first: int, last: int, kept: Iterable[PlannedRecord]) -> str:
    """The deduplication token: of the place, the range, and every row's offset and identity."""
    state = hashlib.sha256(f"{PLAN_VERSION} {place} {first} {last}".encode())
    for record in kept:
        state.update(repr((record.offset, record.identity)).encode())
    return state.hexdigest()[:TOKEN_CHARS]


def encode_plan(plan: Plan) -> str:
    """The plan as ASCII text for a commit's metadata: version, first, last, token, skipped ranges from `first` on."""
    return f"{PLAN_VERSION} {plan.first} {plan.last} {plan.token} {encode_skips(plan.skips, plan.first)}"


def decode_plan(metadata: str) -> Plan | NotAPlan:
    """Read a plan back from a commit's metadata."""
    if not metadata:
        return NotAPlan("empty")
    fields = metadata.split(" ")
    if fields[0] != PLAN_VERSION or len(fields) != 5:
        return NotAPlan("of another version")
    try:
        first, last = int(fields[1]), int(fields[2])
        skips = decode_skips(fields[4], first)
    except ValueError:
        return NotAPlan("damaged")
    if last < first or any(not first <= offset <= last for offset in skips):
        return NotAPlan("damaged")
    return Plan(first, last, skips, fields[3])


def plan_of(records: Sequence[PlannedRecord], skips: frozenset[int], *, place: str, first: int) -> Plan:
    last = records[-1].offset
    draft = Plan(first, last, frozenset(offset for offset in skips if offset <= last), "0" * TOKEN_CHARS)
    token = token_of(place, first, last, kept_records(draft, records))
    return Plan(first, last, draft.skips, token)


def skipped_offsets(records: Sequence[PlannedRecord], present: Collection[RowIdentity]) -> frozenset[int]:
    """Records that do not decode, that are there already, or that stand a second time in the range."""
    seen: set[RowIdentity] = set(present)
    skips = set()
    for record in records:
        if record.identity is None or record.identity in seen:
            skips.add(record.offset)
        else:
            seen.add(record.identity)
    return frozenset(skips)


def encode_skips(skips: frozenset[int], first: int) -> str:
    """Ranges relative to `first`: 0-3,7 ; a dash alone for none."""
    pieces: list[str] = []
    ordered = sorted(skips)
    start = 0
    for index, offset in enumerate(ordered):
        if index + 1 < len(ordered) and ordered[index + 1] == offset + 1:
            continue
        low, high = ordered[start] - first, offset - first
        pieces.append(str(low) if low == high else f"{low}-{high}")
        start = index + 1
    return ",".join(pieces) or "-"


def decode_skips(text: str, first: int) -> frozenset[int]:
    if text == "-":
        return frozenset()
    offsets: set[int] = set()
    for piece in text.split(","):
        low, _, high = piece.partition("-")
        if int(high or low) - int(low) > 1_000_000:
            raise ValueError("a range beyond any plan")
        offsets.update(range(first + int(low), first + int(high or low) + 1))
    return frozenset(offsets)
