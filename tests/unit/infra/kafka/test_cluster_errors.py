"""The tree of what a cluster does not do at a moment."""

from __future__ import annotations

import re
from typing import Final

import pytest

from infra.kafka import cluster_errors
from infra.kafka.cluster_errors import ClusterUnavailable
from infra.kafka.log_client import LogUnavailable, OffsetOutOfRange, UnknownLog
from infra.kafka.session_topics import SessionTopicRefused, SessionTopicsFull, SessionTopicsUnavailable
from processors.attempts.token_publisher import RunVoided
from processors.sessions.session_writer import LogReplaced
from processors.writing.log_appender import AppendFailed, AppendRefused, LogGone

__all__: list[str] = []

PASSING: Final = (
    *(LogUnavailable, UnknownLog, OffsetOutOfRange, LogReplaced),
    *(SessionTopicsUnavailable, AppendFailed, LogGone),
)


@pytest.mark.parametrize("error", PASSING)
def test_what_may_be_done_again(error: type[Exception]) -> None:
    """It is of the tree, and drawn in it."""
    assert issubclass(error, ClusterUnavailable)
    assert re.search(rf"── {error.__name__} ", cluster_errors.__doc__ or "")


@pytest.mark.parametrize("error", [SessionTopicRefused, SessionTopicsFull, AppendRefused, RunVoided])
def test_what_stays(error: type[Exception]) -> None:
    """A refusal, and another worker's attempt, are not of the tree: the same would end the same way."""
    assert not issubclass(error, ClusterUnavailable)
