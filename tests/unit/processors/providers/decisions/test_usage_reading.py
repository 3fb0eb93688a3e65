"""Usage objects as providers document and send them, and what they come to."""

from __future__ import annotations

from decimal import Decimal

import pytest

from processors.attempts.decisions.pricing import cost_of
from processors.providers.decisions.chat_chunks import Decoded, UsageChunk, read_chunk
from processors.providers.decisions.usage_reading import read_usage
from schemas.session_events import Usage

NOVEMBER_2026_US = 1_795_000_000_000_000


@pytest.mark.parametrize(
    ("price_ref", "usage", "expected", "cost_usd"),
    [
        pytest.param(
            "x-ai:grok-4-0709",
            {
                "prompt_tokens": 32,
                "completion_tokens": 9,
                "total_tokens": 342,
                "prompt_tokens_details": {"cached_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 301},
            },
            Usage(input_tokens=32, output_tokens=310, reasoning_tokens=301),
            "0.004746",
            id="thoughts beside the completion",
        ),
        pytest.param(
            "google:gemini-2.5-flash",
            {"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623},
            Usage(input_tokens=20, output_tokens=603),
            "0.0015135",
            id="thoughts in the total only",
        ),
        pytest.param(
            "moonshotai:kimi-k2-0905-preview",
            {"prompt_tokens": 1336, "completion_tokens": 31, "total_tokens": 1367, "cached_tokens": 1280},
            Usage(input_tokens=1336, output_tokens=31, cached_tokens=1280),
            "0.0003031",
            id="cached tokens without details",
        ),
        pytest.param(
            "deepseek:deepseek-chat",
            {
                "prompt_tokens": 1000,
                "completion_tokens": 10,
                "total_tokens": 1010,
                "prompt_cache_hit_tokens": 900,
                "prompt_cache_miss_tokens": 100,
            },
            Usage(input_tokens=1000, output_tokens=10, cached_tokens=900),
            "0.000101",
            id="DeepSeek's hits and misses",
        ),
        pytest.param(
            "anthropic:claude-sonnet-4-5",
            {
                "input_tokens": 300,
                "cache_read_input_tokens": 1000,
                "cache_creation_input_tokens": 200,
                "output_tokens": 50,
            },
            Usage(input_tokens=1500, output_tokens=50, cached_tokens=1000, cache_write_tokens=200),
            "0.0027",
            id="cache outside the prompt",
        ),
        pytest.param(
            "anthropic:claude-sonnet-4-5",
            {
                "input_tokens": 3000,
                "cache_read_input_tokens": 1000,
                "cache_creation_input_tokens": 200,
                "output_tokens": 50,
            },
            Usage(input_tokens=4200, output_tokens=50, cached_tokens=1000, cache_write_tokens=200),
            "0.0108",
            id="cache beside a larger prompt, in Anthropic's names",
        ),
        pytest.param(
            "anthropic:claude-sonnet-4-5",
            {
                "prompt_tokens": 4200,
                "completion_tokens": 50,
                "total_tokens": 4250,
                "cache_read_input_tokens": 1000,
                "cache_creation_input_tokens": 200,
            },
            Usage(input_tokens=4200, output_tokens=50, cached_tokens=1000, cache_write_tokens=200),
            "0.0108",
            id="cache within the prompt, as LiteLLM has it",
        ),
        pytest.param(
            "anthropic:claude-sonnet-4-5",
            {
                "prompt_tokens": 1300,
                "completion_tokens": 50,
                "total_tokens": 1550,
                "prompt_tokens_details": {"cached_tokens": 1000, "cache_creation_tokens": 200},
            },
            Usage(input_tokens=1500, output_tokens=50, cached_tokens=1000, cache_write_tokens=200),
            "0.0027",
            id="cache writes in the total only",
        ),
        pytest.param(
            "openai:gpt-4o",
            {
                "prompt_tokens": 100,
                "completion_tokens": 60,
                "total_tokens": 160,
                "prompt_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 10},
                "completion_tokens_details": {"reasoning_tokens": 50},
                "cost": 0.00073,
            },
            Usage(
                input_tokens=100,
                output_tokens=60,
                cached_tokens=40,
                reasoning_tokens=50,
                cache_write_tokens=10,
                stated_cost_nano_usd=730_000,
            ),
            "0.0008",
            id="OpenRouter's",
        ),
        pytest.param(
            "groq:llama-3.3-70b-versatile",
            {
                "queue_time": 0.037,
                "prompt_tokens": 18,
                "prompt_time": 0.0006,
                "completion_tokens": 556,
                "completion_time": 0.46,
                "total_tokens": 574,
                "total_time": 0.46,
            },
            Usage(input_tokens=18, output_tokens=556),
            "0.00044986",
            id="Groq's",
        ),
        pytest.param(
            "openai:gpt-4o",
            {"prompt_tokens": "11", "completion_tokens": 7.0, "total_tokens": [18]},
            Usage(input_tokens=11, output_tokens=7),
            "0.0000975",
            id="counts as text and with a point",
        ),
        pytest.param(
            "openai:gpt-4o",
            {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 10},
            Usage(input_tokens=11, output_tokens=7),
            "0.0000975",
            id="a total that is too small",
        ),
        pytest.param(
            "openai:gpt-4o",
            {"prompt_tokens": 11, "total_tokens": 18},
            Usage(input_tokens=11, output_tokens=7),
            "0.0000975",
            id="no completion",
        ),
    ],
)
def test_counts_and_cost(price_ref: str, usage: dict[str, object], expected: Usage, cost_usd: str) -> None:
    """Tokens in one meaning, and the cost to the billionth of a dollar."""
    assert read_usage(usage) == expected
    price = cost_of(expected, "m", NOVEMBER_2026_US, price_ref=price_ref)
    assert Decimal(price.cost_nano_usd) / 10**9 == Decimal(cost_usd)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        [],
        "11",
        {},
        {"prompt_tokens_details": {"cached_tokens": 0}},
        {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None},
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        {"prompt_tokens": 11},
        {"completion_tokens": 7},
        {"prompt_tokens": -1, "completion_tokens": 1e300},
    ],
)
def test_what_is_no_usage(usage: object) -> None:
    """Nothing, half of it, and only zeros."""
    assert read_usage(usage) is None


@pytest.mark.parametrize(
    ("stated", "nano_usd"),
    [
        ({"cost": 0.00073}, 730_000),
        ({"cost": "0.00073"}, 730_000),
        ({"cost": {"total_cost": 0.006, "request_cost": 0.005}}, 6_000_000),
        ({"cost_in_usd_ticks": 37_756_000}, 3_775_600),
        ({"cost": 0}, 0),
        ({"estimated_cost": 0.0000123}, 12_300),
        ({"total_cost": "0.0000123"}, 12_300),
        ({"cost": None}, None),
        ({"cost": "free"}, None),
        ({"cost": 1e300}, None),
    ],
)
def test_stated_cost(stated: dict[str, object], nano_usd: int | None) -> None:
    """It is kept as the provider says it."""
    usage = read_usage({"prompt_tokens": 1, "completion_tokens": 1} | stated)

    assert usage is not None
    assert usage.stated_cost_nano_usd == nano_usd


@pytest.mark.parametrize(
    "chunk",
    [
        {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
        {"choices": [{"delta": {}, "finish_reason": "stop", "usage": {"prompt_tokens": 1, "completion_tokens": 2}}]},
        {"choices": [], "usage": None, "x_groq": {"usage": {"prompt_tokens": 1, "completion_tokens": 2}}},
    ],
)
def test_places(chunk: dict[str, object]) -> None:
    """It stands beside the choices, inside one, or in a provider's own field."""
    decoded = read_chunk(chunk)

    assert isinstance(decoded, Decoded)
    assert UsageChunk(Usage(input_tokens=1, output_tokens=2)) in decoded.items
