"""Positions of followed partitions, and when one is left out or counts as gone."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.fetching.decisions.resume_cursor import GapReason
from gateway.fetching.followed_partitions import UNKNOWN_AGAIN_S, FollowedPartitions
from infra.kafka.fetch_request import FetchedPartition
from infra.kafka.log_client import LogRecord
from infra.kafka.lost_range import BLANK, LEFT_OUT
from infra.kafka.record_batches import empty_batch
from schemas.identifiers import check_session_id, check_user_id, session_key_of
from tests.fakes.topic_names import NAMES, session_place

KEY = session_key_of(check_user_id("alice"), check_session_id("s1"))
PLACE = session_place(KEY, "dedicated")
NAME = (PLACE.topic, PLACE.partition)


class Silent:
    """Hears nothing in these tests."""

    def deliver(self, records: Sequence[LogRecord]) -> None:
        raise AssertionError(records)

    def lost(self, reason: GapReason) -> None:
        raise AssertionError(reason)

    def expects_records(self) -> bool:
        return True


def followed() -> FollowedPartitions:
    partitions = FollowedPartitions(NAMES.is_dense)
    assert partitions.follow(PLACE, KEY, 7, Silent())
    return partitions


def fail(partitions: FollowedPartitions, now_s: float, *, is_unknown: bool = True) -> float:
    return partitions.fail(NAME, now_s=now_s, pause_s=0.5, is_unknown=is_unknown)


def test_refused_partition_is_left_out_for_a_while() -> None:
    """Or until another broker leads it."""
    partitions = followed()
    fail(partitions, 10.0, is_unknown=False)

    assert partitions.wanted([NAME], 10.4) == {}
    assert partitions.wanted([NAME], 10.5) == {NAME: 7}
    fail(partitions, 11.0, is_unknown=False)
    partitions.retry_now(NAME)
    assert partitions.wanted([NAME], 11.0) == {NAME: 7}


def test_topic_is_unknown_for_as_long_as_nothing_else_is_said_of_it() -> None:
    """Another error ends it, and so does a long silence: a broker that starts has not heard of it yet."""
    partitions = followed()

    assert [fail(partitions, now_s) for now_s in (10.0, 12.0, 14.0)] == [0.0, 2.0, 4.0]
    assert fail(partitions, 15.0, is_unknown=False) == 0.0
    assert fail(partitions, 16.0) == 0.0
    assert fail(partitions, 16.0 + UNKNOWN_AGAIN_S + 1) == 0.0


def test_partition_that_nobody_follows_does_not_fail() -> None:
    """What is said of it comes too late."""
    partitions = followed()
    partitions.unfollow(PLACE, KEY)

    assert fail(partitions, 100.0) == 0.0
    partitions.retry_now(NAME)
    assert len(partitions) == 0


def test_one_of_many_that_an_answer_had_no_room_for_is_not_lost() -> None:
    """It is asked for at once again; an answer that had room for it counts, and only such ones in a row."""
    partitions = followed()
    crowded, roomy = (FetchedPartition(NAME, 0, 0, b"", 9, has_room=has_room) for has_room in (False, True))
    given_up = []
    for answer in [crowded] * 100 + [roomy] * BLANK.tries_max:
        fault = partitions.take(answer, 7)
        assert fault is not None
        given_up.append(partitions.give_up(NAME, fault, now_s=10.0, pause_s=0.5))
        if fault is LEFT_OUT:
            assert partitions.wanted([NAME], 10.0) == {NAME: 7}

    assert given_up == [False] * (100 + BLANK.tries_max - 1) + [True]


def test_answer_that_ends_before_the_position() -> None:
    """One from before a partition moved on: it says nothing of what lies at the position now."""
    partitions = followed()
    answer = FetchedPartition(NAME, 0, 0, empty_batch(3, 6), end=9)

    assert partitions.take(answer, 3) is None
    assert partitions.take(answer, 7) is not None
