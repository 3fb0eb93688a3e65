"""What a user may use: the limits of a tier, and who has which tier. The same values in the gateway and the worker.

A limit that a tier does not name does not hold. Minutes roll, in whole seconds: what was counted in a second leaves
60 seconds after the end of that second, so that no window of 60 seconds ever holds more than the limit. Days and months
are UTC's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, get_args

__all__ = [
    "LIMIT_NAMES",
    "OPEN",
    "SHIPPED_TIERS",
    "LimitName",
    "Standing",
    "Tier",
    "Tiers",
    "Unpriced",
]

LimitName: TypeAlias = Literal[
    "requests_per_minute",
    "input_tokens_per_minute",
    "output_tokens_per_minute",
    "bucket_tokens",
    "tokens_per_day",
    "tokens_per_turn",
    "tokens_per_stream",
    "tokens_per_session",
    "concurrent_turns",
    "nano_usd_per_month",
    "tokens_per_second",
    "queue_prompts",
    "prompt_bytes",
]
"""What can be limited. `tokens_per_turn`: a turn with all its attempts; `tokens_per_stream`: one attempt;
`bucket_tokens`: what a full bucket holds, of input and output."""
LIMIT_NAMES: Final[tuple[LimitName, ...]] = get_args(LimitName)

Unpriced: TypeAlias = Literal["refuse", "allow"]
"""What becomes of a prompt for a model without a price, where money is limited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """A set of limits."""

    name: str
    limits: Mapping[LimitName, int] = field(default_factory=dict)
    bucket_tokens_per_s: int = 0
    """How fast the bucket fills again; above 0 where `bucket_tokens` is limited."""
    shadow: frozenset[LimitName] = frozenset()
    """Limits that are decided and recorded, and stop nobody."""
    models: tuple[str, ...] = ()
    """Models that may be asked; empty = all there are."""
    unpriced: Unpriced = "refuse"


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a user."""

    tier: str
    tenant: str = ""


OPEN: Final = Tier(name="open")
SHIPPED_TIERS: Final[Mapping[str, Tier]] = MappingProxyType(
    {
        "free": Tier(
            name="free",
            limits={"requests_per_minute": 10, "tokens_per_day": 100_000, "bucket_tokens": 5_000},
            bucket_tokens_per_s=10,
        ),
        "premium": Tier(name="premium", limits={"bucket_tokens": 50_000}, bucket_tokens_per_s=100),
        "open": OPEN,
    }
)
"""Tiers that need no table; a table of the same name takes the place of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiers:
    """All tiers, and who has which."""

    tiers: Mapping[str, Tier] = field(default_factory=lambda: SHIPPED_TIERS)
    default: str | None = OPEN.name
    """The tier of whom neither a token nor the users file knows; None: such a user is a stranger and is refused."""
    users: Mapping[str, Standing] = field(default_factory=dict)
    """The users file."""

    def standing_of(self, user: str, claimed: Standing | None = None) -> Standing | None:
        """What a user is: by the claims of a verified token, else by the users file, else by the default; None: a
        stranger.

        A claimed tier that does not exist counts as none. A producer's word is no claim: leave `claimed` out for it.
        """
        if claimed is not None and claimed.tier in self.tiers:
            return claimed
        listed = self.users.get(user)
        if listed is not None:
            return listed
        if self.default is None:
            return None
        return Standing(self.default, claimed.tenant if claimed is not None else "")

    def tier_of(self, standing: Standing) -> Tier | None:
        """The limits that hold for it now; None where its tier is gone."""
        return self.tiers.get(standing.tier)
