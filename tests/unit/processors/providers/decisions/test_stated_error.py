"""What is read of an error, in the shapes that providers give it."""

from __future__ import annotations

import pytest

from processors.providers.decisions.stated_error import StatedError, read_error, safe_code


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"error": {"message": "m", "type": "server_error", "code": None}}, StatedError("server_error", 500)),
        ({"error": {"message": "m", "code": 429}}, StatedError("429", 429)),
        ({"error": {"message": "m", "code": "503", "type": "overloaded"}}, StatedError("overloaded", 503)),
        ({"error": {"code": "rate_limit_exceeded"}}, StatedError("rate_limit_exceeded", 429)),
        ({"error": {"message": "m", "code": "odd_thing"}}, StatedError("odd_thing")),
        ({"error": {"message": "m", "code": "a sentence about the prompt"}}, StatedError()),
        ({"error": "it broke"}, StatedError()),
        ("it broke", StatedError()),
        (True, StatedError()),
        ({"errors": [{"code": 1001}, {"code": 500}]}, StatedError("1001")),
        ({"error": "rate_limited", "message": "m", "status_code": 429}, StatedError("429", 429)),
        ({"code": "billing_not_active", "type": "invalid_request_error"}, StatedError("billing_not_active", 400)),
        (
            [{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": [{"retryDelay": "3s"}]}}],
            StatedError("RESOURCE_EXHAUSTED", 429, retry_after_s=3.0),
        ),
        ({"error": {"code": 429, "metadata": {"retry_after": 7}}}, StatedError("429", 429, retry_after_s=7.0)),
        ({"error": {"code": 429, "retry_after": "99999999"}}, StatedError("429", 429, retry_after_s=86_400.0)),
        ({"error": {"code": 429, "retry_after": -1}}, StatedError("429", 429)),
        ({"error": {"code": 429, "message": "Please try again in 7m12.5s."}}, StatedError("429", 429, 432.5)),
        ({"error": {"code": 429, "message": "Please retry after 30 seconds."}}, StatedError("429", 429, 30.0)),
        ({"error": {"code": 429, "message": "Please try again in 120ms."}}, StatedError("429", 429, 0.12)),
        (
            {"error": {"code": 429, "message": '{"error":{"details":[{"retryDelay": "9s"}]}}'}},
            StatedError("429", 429, 9.0),
        ),
        ({"code": 429, "metadata": {"headers": {"Retry-After": "11"}}}, StatedError("429", 429, 11.0)),
        ({"code": "ThrottlingException", "message": "m"}, StatedError("ThrottlingException", 429, concerns="pace")),
        ({"type": "None", "code": "429"}, StatedError("429", 429)),
    ],
)
def test_shapes(value: object, expected: StatedError) -> None:
    """Code, status and time are kept wherever they stand; the words never."""
    assert read_error(value) == expected


@pytest.mark.parametrize("value", [None, False, 0, "", {}, [], {"error": {}}, [{}], {"message": "", "code": None}])
def test_what_is_no_error(value: object) -> None:
    """Where nothing is said there is none."""
    assert read_error(value) is None


@pytest.mark.parametrize(
    ("error", "concerns"),
    [
        ({"code": "context_length_exceeded"}, "context"),
        ({"message": "This model's maximum context length is 1024 tokens."}, "context"),
        ({"message": "Request too large on tokens per minute (TPM): Limit 6000", "code": "x"}, "pace"),
        ({"message": "Loading model"}, "loading"),
        ({"message": "m", "code": "unsupported_parameter", "param": "max_tokens"}, "max_tokens"),
        ({"message": "'max_tokens' is not supported. Use 'max_completion_tokens' instead."}, "max_tokens"),
        ({"message": "max_tokens must be at most 8192"}, ""),
        ({"message": "m", "code": "unsupported_parameter", "param": "temperature"}, "field"),
        ({"message": "Unsupported value: 'temperature' does not support 0.7 with this model."}, "field"),
        ({"message": "Unrecognized request argument supplied: max_tokens"}, "max_tokens"),
        ({"detail": [{"type": "extra_forbidden", "loc": ["body", "max_tokens"], "msg": "m"}]}, "max_tokens"),
        ({"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "m"}]}, "stream_options"),
        (
            {
                "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "max_completion_tokens"]}]},
                "code": None,
            },
            "max_tokens",
        ),
        ({"message": "tokens in request more than max tokens allowed"}, "context"),
        ({"message": "max_tokens is too large: 32768. This model has at most 4096."}, ""),
        ({"message": "prompt is too long: 210000 tokens > 200000 maximum"}, "context"),
        ({"message": "The input token count (9) exceeds the maximum number of tokens allowed (8)."}, "context"),
        ({"message": "Range of input length should be [1, 30720]"}, "context"),
        ({"message": "Please reduce the length of the messages or completion."}, "context"),
        ({"message": "`inputs` tokens + `max_new_tokens` must be <= 4096"}, "context"),
        ({"message": "Provider returned error", "metadata": {"raw": "maximum context length is 9"}}, "context"),
        ({"message": "Too many tokens, please wait before trying again."}, "pace"),
        ({"message": "Requests rate limit exceeded"}, "pace"),
        ({"message": "API key not valid. Please pass a valid API key."}, "denied"),
        ({"message": "Your credit balance is too low."}, "denied"),
        ({"message": "Model Not Exist"}, "denied"),
        ({"message": "The model `x` has been decommissioned and is no longer supported."}, "denied"),
        ({"message": "User location is not supported for the API use."}, "denied"),
        ({"message": "x requires moderation. Your input was flagged."}, "filter"),
        ({"message": "m", "code": "data_inspection_failed"}, "filter"),
    ],
)
def test_what_it_is_about(error: object, concerns: str) -> None:
    """A few words tell it."""
    stated = read_error(error)

    assert stated is not None
    assert stated.concerns == concerns


def test_codes_that_are_safe_to_show() -> None:
    """Short words of plain letters only."""
    assert safe_code("model_not_found") == "model_not_found"
    assert safe_code(404) == "404"
    assert safe_code("x" * 65) == ""
    assert safe_code(None) == ""
