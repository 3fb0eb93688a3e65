"""What providers' headers say is left, in each of their spellings."""

from __future__ import annotations

import pytest

from processors.providers.decisions.rate_headers import LimitSeen, RateHeaders, read_rate_headers, reset_in_s

__all__: list[str] = []

NOW_S = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1m30.5s", 90.5),
        ("2m59.56s", 179.56),
        ("250ms", 0.25),
        ("1h2m3s", 3_723),
        ("1d", 86_400),
        ("120µs", 0.00012),
        ("7.66s", 7.66),
        ("12", 12),
        ("0", 0),
        ("0.5", 0.5),
        ("1700000030", 30),
        ("1700000030000", 30),
        ("1600000000", 0),
        ("2023-11-14T22:13:50Z", 30),
        ("2023-11-14T22:13:50", 30),
        ("2023-11-14T23:13:50+01:00", 30),
        ("2023-11-14T22:13:00Z", 0),
        ("", None),
        ("soon", None),
        ("-3", None),
        ("nan", None),
        ("inf", None),
        ("1m30", None),
        ("s", None),
        ("1" * 65, None),
        ("0001-01-01T00:00:00+23:59", 0),
        ("2023-13-14T22:13:00Z", None),
    ],
)
def test_moment_of_the_reset(text: str, seconds: float | None) -> None:
    """Durations, seconds, moments and dates are understood, and nonsense is nothing."""
    assert reset_in_s(text, NOW_S) == (None if seconds is None else pytest.approx(seconds, abs=1e-6))


def test_openai_and_groq() -> None:
    """Requests and tokens."""
    headers = {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-remaining-tokens": "149984",
        "x-ratelimit-reset-tokens": "6m0s",
    }

    assert read_rate_headers(headers, NOW_S) == RateHeaders(LimitSeen(59, 1, 60), LimitSeen(149_984, 360))


def test_anthropic() -> None:
    """Its own names; the tokens that come in where it says no more of them."""
    headers = {
        "anthropic-ratelimit-requests-remaining": "49",
        "anthropic-ratelimit-requests-reset": "2023-11-14T22:13:21Z",
        "anthropic-ratelimit-input-tokens-remaining": "20000",
        "anthropic-ratelimit-input-tokens-reset": "2023-11-14T22:13:30Z",
    }

    assert read_rate_headers(headers, NOW_S) == RateHeaders(LimitSeen(49, 1), LimitSeen(20_000, 10))
    both = headers | {
        "anthropic-ratelimit-tokens-limit": "30000",
        "anthropic-ratelimit-tokens-remaining": "100",
        "anthropic-ratelimit-tokens-reset": "2023-11-14T22:13:25Z",
    }
    assert read_rate_headers(both, NOW_S) == RateHeaders(LimitSeen(49, 1), LimitSeen(100, 5, 30_000))


def test_openrouter_and_together() -> None:
    """One limit, of requests."""
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1700000060000"}

    assert read_rate_headers(headers, NOW_S) == RateHeaders(requests=LimitSeen(0, 60))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/event-stream"},
        {"x-ratelimit-remaining-requests": "3"},
        {"x-ratelimit-reset-requests": "1s"},
        {"x-ratelimit-remaining-requests": "many", "x-ratelimit-reset-requests": "1s"},
        {"x-ratelimit-remaining-requests": "-1", "x-ratelimit-reset-requests": "1s"},
        {"x-ratelimit-remaining-tokens": "3", "x-ratelimit-reset-tokens": "tomorrow"},
    ],
)
def test_headers_that_say_nothing(headers: dict[str, str]) -> None:
    """Half a word is none."""
    assert read_rate_headers(headers, NOW_S) is None
