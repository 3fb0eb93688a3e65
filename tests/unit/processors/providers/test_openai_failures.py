"""How statuses and headers become failures.

Covers: processors.providers.openai_package.
"""

from __future__ import annotations

import httpx2
import openai
import pytest

from processors.providers.decisions.stated_error import StatedError
from processors.providers.decisions.stream_watchdog import StreamDeadlines
from processors.providers.openai_failures import (
    cut,
    failure_before_answer,
    failure_in_band,
    failure_of_status,
    garbled_line,
    retry_after_s,
    timed_out,
)
from processors.providers.provider import (
    CONTEXT_EXCEEDED,
    ProviderDenied,
    ProviderError,
    ProviderFailed,
    ProviderOverloaded,
    ProviderRefused,
    ProviderUnfit,
    ProviderUnreachable,
)

NOW_S = 1_000_000_000.0  # Sun, 09 Sep 2001 01:46:40 GMT


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0"}, 0),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after": "Sun, 09 Sep 2001 01:47:10 GMT"}, 30),
        ({"retry-after": "Sun, 09 Sep 2001 01:46:00 GMT"}, 0),
        ({"retry-after": "1m30.5s"}, 90.5),
        ({"retry-after": "1000000007"}, 7),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "999999999"}, 86_400),
    ],
)
def test_time_to_come_back(headers: dict[str, str], seconds: float | None) -> None:
    """Milliseconds, seconds and dates are understood, nonsense is nothing, and there is a longest time."""
    assert retry_after_s(headers, NOW_S) == seconds


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "", ProviderRefused),
        (413, "", ProviderRefused),
        (422, "", ProviderRefused),
        (401, "invalid_api_key", ProviderDenied),
        (402, "", ProviderDenied),
        (403, "", ProviderDenied),
        (404, "model_not_found", ProviderDenied),
        (405, "", ProviderDenied),
        (407, "", ProviderDenied),
        (410, "", ProviderDenied),
        (415, "", ProviderDenied),
        (424, "", ProviderFailed),
        (425, "", ProviderFailed),
        (499, "", ProviderFailed),
        (400, "billing_not_active", ProviderDenied),
        (999, "", ProviderFailed),
        (408, "", ProviderFailed),
        (409, "", ProviderFailed),
        (429, "rate_limit_exceeded", ProviderOverloaded),
        (498, "capacity_exceeded", ProviderOverloaded),
        (429, "insufficient_quota", ProviderDenied),
        (500, "", ProviderFailed),
        (529, "", ProviderFailed),
    ],
)
def test_statuses(status: int, code: str, kind: type[ProviderError]) -> None:
    """What the operator has to mend is told apart from what is wrong with the prompt, and from what passes."""
    failure = failure_of_status(status, code, None)

    assert type(failure) is kind
    assert failure.provider_code == code


def test_errors_in_the_stream() -> None:
    """With a status they are as that status, without one the provider has failed."""
    assert isinstance(failure_in_band(StatedError("x", 429)), ProviderOverloaded)
    assert isinstance(failure_in_band(StatedError("x", None)), ProviderFailed)
    assert failure_in_band(StatedError("x", 429), headers={"retry-after": "7"}).retry_after_s == 7
    assert isinstance(failure_in_band(StatedError("x", None, concerns="pace")), ProviderOverloaded)
    assert isinstance(failure_in_band(StatedError("x", None, concerns="denied")), ProviderDenied)
    assert failure_in_band(StatedError("x", None, concerns="context")).provider_code == CONTEXT_EXCEEDED


@pytest.mark.parametrize(
    ("status", "body", "kind", "code", "after_s"),
    [
        (413, {"message": "Limit 6000 tokens per minute (TPM)", "code": "x"}, ProviderOverloaded, "x", None),
        (400, {"message": "too many tokens per minute"}, ProviderOverloaded, "", None),
        (413, {"message": "The body is too large."}, ProviderRefused, "", None),
        (400, {"code": "context_length_exceeded"}, ProviderRefused, "context_length_exceeded", None),
        (
            429,
            [{"error": {"status": "RESOURCE_EXHAUSTED", "details": [{"retryDelay": "3s"}]}}],
            ProviderOverloaded,
            "RESOURCE_EXHAUSTED",
            3.0,
        ),
        (422, {"message": "prompt is too long"}, ProviderRefused, "context_length_exceeded", None),
        (500, {"message": "exceeds the available context size"}, ProviderRefused, "context_length_exceeded", None),
        (400, {"code": "ThrottlingException"}, ProviderOverloaded, "ThrottlingException", None),
        (400, {"code": "x", "message": "API key not valid."}, ProviderDenied, "x", None),
        (400, {"code": 502, "message": "Provider returned error"}, ProviderFailed, "502", None),
        (422, {"code": "x", "message": "Unknown field: stream_options"}, ProviderUnfit, "x", None),
        (403, {"code": "x", "message": "Your input was flagged by moderation."}, ProviderRefused, "x", None),
        (429, {"code": "x", "message": "Check your plan and billing."}, ProviderOverloaded, "x", None),
        (400, "max_tokens", ProviderRefused, "", None),
        (500, None, ProviderFailed, "", None),
    ],
)
def test_refusals(status: int, body: object, kind: type[ProviderError], code: str, after_s: float | None) -> None:
    """What concerns the target is told apart from what concerns the prompt; code and time survive any shape."""
    response = httpx2.Response(status, request=httpx2.Request("POST", "http://p/v1"))
    error = openai.APIStatusError("the prompt itself", response=response, body=body)
    failure = failure_before_answer(error, StreamDeadlines())

    assert type(failure) is kind
    assert (failure.provider_code, failure.retry_after_s) == (code, after_s)
    assert "itself" not in str(failure)


def test_messages_hold_no_foreign_words() -> None:
    """Only the kind of a foreign error is shown, never its text."""
    secret = OSError("the prompt itself")
    failures = [failure_before_answer(secret, StreamDeadlines()), cut(secret), cut(None)]

    assert isinstance(failures[0], ProviderUnreachable)
    assert all("prompt" not in str(failure) for failure in failures)


def test_other_failures_say_what_happened() -> None:
    """Deadlines are named with their length, garbled lines by their kind."""
    assert str(timed_out("connect", StreamDeadlines(connect_s=3))) == "the provider missed the deadline connect of 3 s"
    assert "limit" in str(garbled_line("oversized_line"))
    assert "no part" in str(garbled_line("foreign_line"))
