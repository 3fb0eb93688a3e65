"""What tokens cost. Nothing here uses the network."""

from __future__ import annotations

import socket

import pytest

from processors.attempts.decisions.pricing import UNPRICED_VERSION, Price, cost_of
from schemas.session_events import Usage

MARCH_2026_US = 1_772_500_000_000_000
USAGE = Usage(input_tokens=1_000, output_tokens=500, cached_tokens=200)


def test_listed_model() -> None:
    """Input, cached input and output have their own prices; the version names the list."""
    price = cost_of(USAGE, "gpt-4o", MARCH_2026_US)

    assert price.cost_nano_usd == 800 * 2_500 + 200 * 1_250 + 500 * 10_000
    assert price.version.startswith("genai-prices-")


def test_simulated_model() -> None:
    """The made-up list price, so that a demonstration shows a cost."""
    assert cost_of(USAGE, "simulated-large", 0) == Price(800 * 1_000 + 200 * 100 + 500 * 4_000, "simulated-1")


@pytest.mark.parametrize("model", ["no-such-model", "gpt-99", ""])
def test_unknown_model(model: str) -> None:
    """It costs nothing under a version that says that nobody knows."""
    assert cost_of(USAGE, model, MARCH_2026_US) == Price(0, UNPRICED_VERSION)


def test_known_model_at_an_unknown_provider() -> None:
    """The price of a name is not the price of whoever else serves it."""
    assert cost_of(USAGE, "gpt-4o", MARCH_2026_US, provider_url="http://127.0.0.1:1/v1") == Price(0, UNPRICED_VERSION)
    assert cost_of(USAGE, "gpt-4o", MARCH_2026_US, provider_url="https://api.openai.com/v1").cost_nano_usd > 0


def test_more_cached_than_input() -> None:
    """A provider's odd report is priced as if all input had been cached."""
    odd = Usage(input_tokens=100, cached_tokens=200)

    assert cost_of(odd, "gpt-4o", MARCH_2026_US).cost_nano_usd == 100 * 1_250
    assert cost_of(odd, "simulated", MARCH_2026_US).cost_nano_usd == 100 * 100


def test_prices_stay_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list never updates itself: pricing opens no socket."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("pricing opened a socket")

    monkeypatch.setattr(socket.socket, "connect", refuse)

    assert cost_of(USAGE, "claude-sonnet-4-5", MARCH_2026_US).cost_nano_usd > 0


def test_price_that_the_target_names() -> None:
    """It goes before the model's own name and its provider's address; one that is not on the list is unpriced."""
    listed = cost_of(USAGE, "llama-3.3-70b-versatile", MARCH_2026_US, provider_url="https://api.groq.com/openai/v1")
    named = cost_of(
        USAGE, "mine", MARCH_2026_US, provider_url="http://127.0.0.1:1/v1", price_ref="groq:llama-3.3-70b-versatile"
    )

    assert named == listed
    assert named.cost_nano_usd > 0
    assert cost_of(USAGE, "gpt-4o", MARCH_2026_US, price_ref="nobody:gpt-4o") == Price(0, UNPRICED_VERSION)
