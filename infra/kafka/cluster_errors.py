"""What a Kafka cluster does not do at this moment, drawn as a tree. None of it is the fault of what was asked:

ClusterUnavailable
├── LogError                    a log cannot be read (`log_client`)
│   ├── LogUnavailable          no broker answered in time
│   ├── UnknownLog              there is no such topic or partition, or not yet
│   ├── OffsetOutOfRange        the log does not hold it any more
│   └── LogReplaced             it was deleted, perhaps created anew (`processors/sessions/session_writer.py`)
├── SessionTopicsUnavailable    a session's topic was not made or found in time (`session_topics`)
└── AppendFailed                records were not taken in time (`processors/writing/log_appender.py`)
    └── LogGone                 their topic was deleted

Whoever can do its work again, since every reader folds, does it again later. A refusal that stays is none of these:
`SessionTopicRefused`, `AppendRefused`.
"""

from __future__ import annotations

__all__ = ["ClusterUnavailable"]


class ClusterUnavailable(Exception):
    """The cluster did not do it; the same work may be done again later."""
