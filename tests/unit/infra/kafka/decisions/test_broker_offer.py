"""What a broker lacks is told in full, and nothing else is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from infra.kafka.decisions.broker_offer import NEEDED, lacking

__all__: list[str] = []

VERSIONS = st.tuples(st.integers(0, 20), st.integers(0, 20)).filter(lambda pair: pair[0] <= pair[1])
OFFERS = st.dictionaries(st.sampled_from([0, 1, 3, 18, 19]), VERSIONS)


@given(OFFERS)
def test_one_sentence_for_each_thing_lacking(offered: dict[int, tuple[int, int]]) -> None:
    """It names the request, our version, and what there is."""
    sentences = lacking(offered)

    for needed in NEEDED:
        there = offered.get(needed.api_key)
        told = [sentence for sentence in sentences if f"request {needed.name};" in sentence]
        if there is not None and there[0] <= needed.version <= there[1]:
            assert told == []
        else:
            assert len(told) == 1
            assert f"version {needed.version} is needed" in told[0]
            assert ("no version" if there is None else f"versions {there[0]} to {there[1]}") in told[0]
    assert len(sentences) <= len(NEEDED)


def test_what_kafka_offers() -> None:
    """3.3 and 4.2 as they tell it."""
    assert lacking({1: (0, 13), 3: (0, 12), 19: (0, 7)}) == []
    assert lacking({1: (4, 18), 3: (0, 13), 19: (2, 7)}) == []
