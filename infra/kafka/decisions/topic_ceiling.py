"""How many sessions' topics a cluster may hold, and when to count them again.

A broker does not refuse topics: it fills its memory and files with them, and dies of too many (13,200 killed one with
the default heap, and it did not come up again; 5,000 it carries). So whoever makes topics counts them. The cluster is
asked for all of their names, which takes it some work; between two counts one's own are added. Others may make some
meanwhile: the ceiling may be passed by what all others make in RECOUNT_S.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

__all__ = ["FULL_RETRY_S", "NEAR_SHARE", "RECOUNT_S", "ROOM", "TopicCount", "is_count_due"]

RECOUNT_S: Final = 30.0
FULL_RECOUNT_S: Final = 5.0
"""While there is no room: topics may have been deleted."""
FULL_RETRY_S: Final = 60.0
"""When to ask again for a topic that was not made."""
NEAR_SHARE: Final = 0.8
"""From this share of the ceiling on the operator is warned."""
ROOM: Final = (
    "To make room, raise TOKENWIRE_SESSION_TOPICS_MAX with the brokers' memory (TOKENWIRE_KAFKA_HEAP_MB raises both of "
    "embedded ones), delete topics of sessions that are over, or use TOKENWIRE_TOPIC_LAYOUT=shared, which needs none; "
    "docs/deployment.md says how."
)
"""What the operator can do."""


@dataclass(frozen=True, slots=True)
class TopicCount:
    """How many there are, and when they were counted (monotonic)."""

    topics: int
    counted_s: float

    def made(self, topics: int) -> TopicCount:
        """So many more are there."""
        return replace(self, topics=self.topics + topics)

    def room(self, ceiling: int) -> int:
        """How many may be made; none where there are more than may be already."""
        return max(0, ceiling - self.topics)

    def is_near(self, ceiling: int) -> bool:
        """Whether it is time to warn."""
        return self.topics >= NEAR_SHARE * ceiling


def is_count_due(count: TopicCount | None, wanted: int, ceiling: int, now_s: float) -> bool:
    """Whether to count before so many are made."""
    if count is None:
        return True
    age_s = now_s - count.counted_s
    return age_s >= (RECOUNT_S if count.room(ceiling) >= wanted else FULL_RECOUNT_S)
