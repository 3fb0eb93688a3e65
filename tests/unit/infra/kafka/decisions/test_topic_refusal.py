"""Which words of a cluster are waited out, and which end the waiting."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from infra.kafka.decisions.topic_refusal import PATIENCE_S, RefusalSpell, remedy, spell_of

__all__: list[str] = []

STAYS = ["TOPIC_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED", "POLICY_VIOLATION", "INVALID_PARTITIONS"]
PASSES = [
    "REQUEST_TIMED_OUT",
    "NOT_CONTROLLER",
    "THROTTLING_QUOTA_EXCEEDED",
    "_TIMED_OUT",
    "_TRANSPORT",
]
CODES = st.integers(-200, 130)
TIMES = st.floats(0, 1e6)


def said(*words: tuple[str, float]) -> RefusalSpell:
    """The spell after these words at these times."""
    spell = None
    for word, at_s in words:
        spell = spell_of(spell, getattr(KafkaError, word), at_s)
    assert spell is not None
    return spell


@pytest.mark.parametrize("word", STAYS)
def test_words_that_stay(word: str) -> None:
    """They are told at once, with what to do."""
    assert remedy(said((word, 0.0)))


@pytest.mark.parametrize("word", PASSES)
def test_words_that_pass(word: str) -> None:
    """However long they are repeated."""
    assert remedy(said(*((word, 30.0 * number) for number in range(100)))) is None


def test_too_few_brokers() -> None:
    """Some may be on their way; after a minute without a success nobody believes that any more."""
    assert remedy(said(("INVALID_REPLICATION_FACTOR", 0.0), ("INVALID_REPLICATION_FACTOR", 59.0))) is None
    for_long = said(*(("INVALID_REPLICATION_FACTOR", float(second)) for second in range(0, 61, 10)))
    assert "TOKENWIRE_KAFKA_REPLICATION" in (remedy(for_long) or "")


def test_word_of_long_ago() -> None:
    """It is no part of today's spell."""
    assert remedy(said(("INVALID_REPLICATION_FACTOR", 0.0), ("INVALID_REPLICATION_FACTOR", PATIENCE_S + 1))) is None


@given(st.lists(st.tuples(CODES, TIMES), min_size=1))
def test_no_spell_is_longer_than_its_words(words: list[tuple[int, float]]) -> None:
    """It begins at a word of its own code, ends at the newest, and only a broker's word is ever more than weather."""
    spell = None
    for code, at_s in sorted(words, key=lambda word: word[1]):
        spell = spell_of(spell, code, at_s)
        assert spell.code == code
        assert spell.last_s == at_s
        assert (code, spell.since_s) in words
        assert remedy(spell) is None or code > 0
