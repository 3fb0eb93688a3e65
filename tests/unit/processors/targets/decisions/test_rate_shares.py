"""Which part of a target's limits a worker may use."""

from __future__ import annotations

import itertools

from processors.targets.decisions.rate_shares import (
    PART_TOKENS_MIN,
    PartitionShare,
    RateLimits,
    held_share,
    holds_part,
    part_limits,
    parts_of,
    with_share,
)

LARGE = RateLimits(requests_per_minute=600, tokens_per_minute=1_200_000, concurrent_max=50)


def share(*owned: int) -> PartitionShare:
    return PartitionShare(frozenset(owned), 12)


def test_third_of_the_partitions() -> None:
    """A third of everything, concurrency in whole calls."""
    part = with_share(LARGE, share(0, 1, 2, 3), target="groq")

    assert (part.requests_per_minute, part.tokens_per_minute) == (200, 400_000)
    assert part.concurrent_max in (16, 17, 18)


def test_all_partitions() -> None:
    """The whole limit, to the last call."""
    assert with_share(LARGE, share(*range(12)), target="groq") == LARGE


def test_no_limits() -> None:
    """There is nothing to share."""
    assert with_share(RateLimits(), share(3), target="vllm") == RateLimits()


def test_limit_that_cannot_be_cut() -> None:
    """One owner has it whole, the others nothing, other limits of the target included."""
    limits = RateLimits(requests_per_minute=600, tokens_per_minute=PART_TOKENS_MIN, concurrent_max=8)
    (owner,) = parts_of(limits, 12, target="ollama")

    assert with_share(limits, share(owner), target="ollama") == limits
    assert with_share(limits, share((owner + 1) % 12), target="ollama") == RateLimits(
        requests_per_minute=0, tokens_per_minute=0, concurrent_max=0
    )


def test_fraction_of_a_request() -> None:
    """A limit below one is one part as well."""
    assert len(parts_of(RateLimits(requests_per_minute=0.5), 12, target="slow")) == 1


def test_small_limit_among_workers() -> None:
    """Its parts lie evenly among the partitions, whatever the target's name."""
    for target in ("a", "b", "c", "d"):
        holders = parts_of(RateLimits(concurrent_max=3), 12, target=target)
        assert sorted((later - first) % 12 for first, later in itertools.pairwise(holders)) == [4, 4]


def test_two_small_targets() -> None:
    """They need not have the same owner."""
    names = [f"target-{number}" for number in range(40)]

    assert len({parts_of(RateLimits(concurrent_max=1), 12, target=name) for name in names}) > 6


def test_share_of_what_a_key_has_left() -> None:
    """The parts that a worker holds of the limits, also where the settings name no limit."""
    assert held_share(RateLimits(), share(0, 1, 2), target="vllm") == 0.25
    assert held_share(RateLimits(), share(*range(12)), target="vllm") == 1
    one = RateLimits(tokens_per_minute=PART_TOKENS_MIN)
    assert sorted(held_share(one, share(n), target="ollama") for n in range(12)) == [0] * 11 + [1]


def test_who_holds_a_part() -> None:
    """The owners of its partitions; of what is unlimited, everybody."""
    (owner,) = parts_of(RateLimits(concurrent_max=1), 12, target="ollama")

    assert holds_part(RateLimits(concurrent_max=1), share(owner), target="ollama")
    assert not holds_part(RateLimits(concurrent_max=1), share((owner + 1) % 12), target="ollama")
    assert holds_part(RateLimits(), share((owner + 1) % 12), target="ollama")


def test_one_part() -> None:
    """What the owner of one may use."""
    assert part_limits(RateLimits(concurrent_max=1), 12, target="ollama") == RateLimits(concurrent_max=1)
    assert part_limits(RateLimits(concurrent_max=7, requests_per_minute=3), 12, target="x").concurrent_max == 3
