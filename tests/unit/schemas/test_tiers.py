from __future__ import annotations

from schemas.tiers import SHIPPED_TIERS, Standing, Tier, Tiers

__all__: list[str] = []

MINE = Tiers(
    tiers={**SHIPPED_TIERS, "mine": Tier(name="mine")}, default=None, users={"alice": Standing("mine", "acme")}
)


def test_token_says_more_than_the_file() -> None:
    """A verified claim, then the users file, then the default; else a stranger."""
    assert MINE.standing_of("alice", Standing("free", "globex")) == Standing("free", "globex")
    assert MINE.standing_of("alice") == Standing("mine", "acme")
    assert MINE.standing_of("bob") is None


def test_tier_that_does_not_exist_is_no_claim() -> None:
    """Of a token that outlived its tier the tenant still counts."""
    assert MINE.standing_of("alice", Standing("gold")) == Standing("mine", "acme")
    assert MINE.standing_of("bob", Standing("gold")) is None
    assert Tiers().standing_of("bob", Standing("gold", "acme")) == Standing("open", "acme")


def test_tier_in_force() -> None:
    """It is looked up anew for each decision, and may be gone."""
    assert MINE.tier_of(Standing("mine")) == Tier(name="mine")
    assert MINE.tier_of(Standing("gone")) is None
