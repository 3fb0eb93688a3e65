"""What it means that a broker does not create, delete or tell of a topic: it passes, or it stays.

What passes by itself is waited for: no answer, a controller that is being chosen, a quota on changes that fills
again. A refusal stays until somebody acts: whoever waits for the topic is told, instead of waiting for ever. Some words
may mean either: where brokers are down, or just coming up, there are too few of them for a topic's replicas. Those,
and words that this list has never heard of, pass until they have been repeated for PATIENCE_S without a success.

The numbers are the error codes of Kafka's protocol; librdkafka's own, which are negative, tell of its connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["PATIENCE_S", "RefusalSpell", "remedy", "spell_of"]

PATIENCE_S: Final = 60.0
PASSING: Final = frozenset({7, 8, 13, 14, 15, 16, 41, 56, 89})
"""Time-out, broker or network away, coordinator or controller away or busy, a disk that fails, changes throttled."""
RIGHTS: Final = "Give this user the rights that docs/deployment.md lists."
FEWER_TOPICS: Final = (
    "Where the cluster limits topics or partitions, TOKENWIRE_TOPIC_LAYOUT=shared needs none for a session; else its "
    "policy has to allow them."
)
AT_ONCE: Final[Mapping[int, str]] = {
    29: RIGHTS,
    31: RIGHTS,
    37: FEWER_TOPICS,
    40: "Its brokers do not accept the topic's configuration; a cluster of another kind may.",
    44: FEWER_TOPICS,
}
"""Topic or cluster authorization failed, invalid partitions, invalid config, policy violation."""
AFTER_PATIENCE: Final[Mapping[int, str]] = {
    38: "Fewer brokers are there than replicas are asked for; TOKENWIRE_KAFKA_REPLICATION says how many.",
}
UNHEARD_OF: Final = "Whoever runs the cluster has to look at it."


@dataclass(frozen=True, slots=True)
class RefusalSpell:
    """How long the same refusal has been repeated, by a monotonic clock."""

    code: int
    since_s: float
    last_s: float


def spell_of(before: RefusalSpell | None, code: int, now_s: float) -> RefusalSpell:
    """The spell that a refusal belongs to: that of the same word said within PATIENCE_S, or a new one."""
    goes_on = before is not None and before.code == code and now_s - before.last_s <= PATIENCE_S
    return RefusalSpell(code, before.since_s if goes_on and before is not None else now_s, now_s)


def remedy(spell: RefusalSpell) -> str | None:
    """What somebody has to do about it; None: it may pass by itself."""
    if spell.code <= 0 or spell.code in PASSING:
        return None
    if spell.code in AT_ONCE:
        return AT_ONCE[spell.code]
    if spell.last_s - spell.since_s < PATIENCE_S:
        return None
    return AFTER_PATIENCE.get(spell.code, UNHEARD_OF)
