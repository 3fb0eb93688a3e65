"""What an attempt costs: tokens, a model and a moment in, whole nano-dollars and the price list's name out.

Prices come from the list inside the `genai-prices` wheel, which knows from when to when a price held; it is
consulted offline and never updates itself. A cost is stored with the list's version, so a later list cannot change
what was written. Input that a provider puts into its cache has its own price where the list has one. Models that no
list knows cost 0 under the version `unpriced`, which reports can tell from free.

The simulated provider has a made-up price, so that demonstrations show a cost: SIMULATED_PRICE, in nano-dollars a
token: 1 dollar per million input tokens, 0.10 for cached ones, 4 for output.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

import genai_prices

from schemas.session_events import Usage

__all__ = ["SIMULATED_VERSION", "UNPRICED_VERSION", "Price", "cost_of"]

NANO: Final = Decimal(10**9)
LIST_VERSION: Final = f"genai-prices-{genai_prices.__version__}"
SIMULATED_VERSION: Final = "simulated-1"
UNPRICED_VERSION: Final = "unpriced"
SIMULATED_MODEL_PREFIX: Final = "simulated"


@dataclass(frozen=True, slots=True)
class Price:
    """A cost, and the price list that it was computed with."""

    cost_nano_usd: int
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPrices:
    """Nano-dollars a token."""

    input_nano_usd: int
    cached_nano_usd: int
    output_nano_usd: int


SIMULATED_PRICE: Final = TokenPrices(input_nano_usd=1_000, cached_nano_usd=100, output_nano_usd=4_000)
UNPRICED: Final = Price(0, UNPRICED_VERSION)


def cost_of(usage: Usage, model: str, at_us: int, *, provider_url: str = "", price_ref: str = "") -> Price:
    """The cost of one attempt made at `at_us` (microseconds since 1970).

    With `price_ref` (`provider:model`, as the list names them) the price is that one, whatever the model is called
    where it runs. Else with `provider_url` it is that of this provider, and a provider that is not on the list is
    unpriced; without either the model's name decides.
    """
    provider, _, listed = price_ref.partition(":")
    model = listed or model
    if model.startswith(SIMULATED_MODEL_PREFIX):
        return Price(simulated_cost(usage), SIMULATED_VERSION)
    cached_tokens = min(usage.cached_tokens, usage.input_tokens)
    try:
        found = genai_prices.calc_price(
            genai_prices.Usage(
                input_tokens=usage.input_tokens,
                cache_read_tokens=cached_tokens,
                cache_write_tokens=min(usage.cache_write_tokens, usage.input_tokens - cached_tokens),
                output_tokens=usage.output_tokens,
            ),
            model_ref=model,
            **({"provider_id": provider} if listed else {"provider_api_url": provider_url or None}),
            genai_request_timestamp=datetime.fromtimestamp(at_us / 1_000_000, UTC),
        )
    except LookupError:
        return UNPRICED
    return Price(int((found.total_price * NANO).to_integral_value(ROUND_HALF_EVEN)), LIST_VERSION)


def simulated_cost(usage: Usage) -> int:
    cached_tokens = min(usage.cached_tokens, usage.input_tokens)
    return (
        (usage.input_tokens - cached_tokens) * SIMULATED_PRICE.input_nano_usd
        + cached_tokens * SIMULATED_PRICE.cached_nano_usd
        + usage.output_tokens * SIMULATED_PRICE.output_nano_usd
    )
