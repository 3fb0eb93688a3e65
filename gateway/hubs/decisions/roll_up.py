"""What a session said in a while, in as few messages as say it: deltas of one attempt joined.

Groups of messages, each one frame. Within a group the deltas of each attempt are one delta, also where several turns
spoke in turns; whatever is not a delta keeps its place, with everything said before it in front of it. A client takes
a frame as a whole, so only the last of what stands between two such messages bears a cursor, and that one covers all
of it: a cursor still stands for everything before it and nothing else.

Invariants: chunk by chunk the same as the messages given, per turn in the same order; `begins` of the first and `ends`
of the last are those of the group; no frame has more than `bytes_max` bytes, save where one message alone has more.
Cost: one decoding per delta, one encoding per attempt and group, for all readers that stand at one place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from gateway.hubs.decisions.session_messages import HubMessage
from gateway.hubs.decisions.shared_frames import SharedFrame
from schemas.codec import encode
from schemas.gateway_messages import Delta

__all__ = ["ROLLED_BYTES_MAX", "groups", "rolled_group", "rolled_up"]

ROLLED_BYTES_MAX: Final = 24_576
DELTA: Final = b'{"type":"delta"'
BRACKETS: Final = 2
DECODER: Final = msgspec.json.Decoder(Delta)


def rolled_up(messages: Iterable[HubMessage], bytes_max: int = ROLLED_BYTES_MAX) -> Iterator[SharedFrame]:
    """The messages as frames, in order, each made when it is asked for."""
    return map(rolled_group, groups(messages, bytes_max))


def groups(messages: Iterable[HubMessage], bytes_max: int) -> Iterator[list[HubMessage]]:
    """The messages in order, as many together as one frame may hold."""
    group: list[HubMessage] = []
    size = BRACKETS
    for message in messages:
        if group and size + len(message.payload) + 1 > bytes_max:
            yield group
            group, size = [], BRACKETS
        group.append(message)
        size += len(message.payload) + 1
    if group:
        yield group


def rolled_group(group: Sequence[HubMessage]) -> SharedFrame:
    """One frame that says what the messages say."""
    payloads: list[bytes] = []
    open_deltas: dict[tuple[str, int], list[Delta]] = {}
    cursor = ""
    for message in group:
        if message.payload.startswith(DELTA):
            delta = DECODER.decode(message.payload)
            key = (delta.turn, delta.attempt)
            parts = open_deltas.get(key)
            if parts is None:
                open_deltas[key] = [delta]
            else:
                parts.append(delta)
            cursor = message.cursor
        else:
            payloads.extend(joined_deltas(open_deltas, cursor))
            open_deltas.clear()
            payloads.append(message.payload)
    payloads.extend(joined_deltas(open_deltas, cursor))
    last = group[-1]
    return SharedFrame(b",".join(payloads), len(payloads), last.cursor, group[0].begins, last.ends)


def joined_deltas(open_deltas: dict[tuple[str, int], list[Delta]], cursor: str) -> Iterator[bytes]:
    for place, parts in enumerate(open_deltas.values(), 1):
        first = parts[0]
        yield encode(
            Delta(
                session=first.session,
                turn=first.turn,
                attempt=first.attempt,
                seq=first.seq,
                n=sum(part.n for part in parts),
                text="".join([part.text for part in parts]),
                c=cursor if place == len(open_deltas) else "",
            )
        )
