"""The topics of a line without a prefix of its own, by name: what most tests have to do with."""

from __future__ import annotations

from typing import Final

from schemas.topics import TopicNames

__all__ = [
    "ACCESS",
    "ACTIVITY",
    "DEAD_LETTERS",
    "NAMES",
    "PROMPTS",
    "RECORDS",
    "SHARED_SESSIONS",
    "TICKETS",
    "TURNS",
    "fixed_topics",
    "session_place",
    "session_topic",
]

NAMES: Final = TopicNames()
PROMPTS: Final = NAMES.prompts
TURNS: Final = NAMES.turns
ACTIVITY: Final = NAMES.activity
RECORDS: Final = NAMES.records
ACCESS: Final = NAMES.access
TICKETS: Final = NAMES.tickets
DEAD_LETTERS: Final = NAMES.dead_letters
SHARED_SESSIONS: Final = NAMES.shared_sessions
fixed_topics = NAMES.fixed_topics
session_topic = NAMES.session_topic
session_place = NAMES.session_place
