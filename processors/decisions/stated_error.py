"""What a provider says of an error, in any of the shapes that it is seen in, read into the few facts that count.

    {"error": {"code": …, "message": …}}         in a body, in an event, or inside a choice
    {"error": "…"}, {"errors": […]}              as text, or as several
    [{"error": {…}}]                             in a list
    {"object": "error", "message": …, "code": …} bare
    {"type": "error", "error": {…}}              with its name beside it

Codes that look like codes are kept, the provider's sentences never: they may quote the prompt. What a sentence is about
(`concerns`) is told from a few words in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from processors.decisions.json_values import count_in, number_in, objects_in, says_something

__all__ = ["Concern", "StatedError", "bare_error", "read_error", "safe_code"]

Concern: TypeAlias = Literal["", "context", "loading", "max_tokens", "pace"]
"""The prompt's length, a model on its way into memory, the name of that field, tokens or requests per minute."""

CODE_CHARS_MAX: Final = 64
SAFE_CODE: Final = re.compile(rf"[A-Za-z0-9_.-]{{1,{CODE_CHARS_MAX}}}\Z")
STATUS_CODES: Final = range(400, 600)
STATUS_OF_CODE: Final = {
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "RESOURCE_EXHAUSTED": 429,
    "requests": 429,
    "tokens": 429,
    "insufficient_quota": 429,
    "overloaded_error": 503,
    "UNAVAILABLE": 503,
    "server_error": 500,
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
    "unsupported_parameter": 400,
    "invalid_api_key": 401,
    "model_not_found": 404,
}
WRAPPERS: Final = ("error", "errors")
WRAPPED_MAX: Final = 4
SHOWN_FIRST: Final = ("code", "status", "status_code", "type")
"""Where a status or a code is looked for, in this order."""
WORDS_IN: Final = ("message", "detail", "msg", "error_description")
TEXT_CHARS_LOOKED_AT: Final = 2_000
DETAILS_MAX: Final = 16
RETRY_FIELDS: Final = ("retry_after", "retry_after_s", "retry_after_seconds", "retryAfter", "retryDelay")
RETRY_TEXT: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s\Z")
RETRY_AFTER_S_MAX: Final = 86_400.0

TOO_LONG_CODES: Final = ("context_length_exceeded", "exceed_context_size_error")
FIELD: Final = r"\bmax_(?:completion_)?tokens\b"
CONCERNS: Final[tuple[tuple[Concern, re.Pattern[str]], ...]] = (
    ("max_tokens", re.compile(rf"{FIELD}.{{0,200}}\buse\b.{{0,20}}{FIELD}", re.DOTALL | re.IGNORECASE)),
    ("pace", re.compile(r"\b(?:tokens|requests) per (?:minute|day|second|hour)\b|\b[TR]P[MDS]\b", re.IGNORECASE)),
    ("context", re.compile(r"\bcontext (?:length|size|window)\b|\bmaximum context\b|\bn_ctx\b", re.IGNORECASE)),
    ("loading", re.compile(r"\bloading\b.*\bmodel\b|\bmodel\b.*\b(?:loading|loaded yet)\b", re.IGNORECASE)),
)


@dataclass(frozen=True, slots=True)
class StatedError:
    """The provider failed by its own account. `code` is safe to show, `status` as HTTP would have it."""

    code: str = ""
    status: int | None = None
    retry_after_s: float | None = None
    concerns: Concern = ""


def safe_code(value: object) -> str:
    """A provider's error code, if it looks like one; anything else may hold private text and is left out."""
    text = str(value) if isinstance(value, str | int) else ""
    return text if SAFE_CODE.match(text) else ""


def read_error(value: object) -> StatedError | None:
    """The error that a value tells of, None where it tells of none: `null`, `false`, `""`, `{}` are no errors."""
    if not says_something(value):
        return None
    told = unwrapped(value)
    words = told if isinstance(told, str) else next(iter(texts_in(told)), "") if isinstance(told, dict) else ""
    code, status = code_and_status(told) if isinstance(told, dict) else ("", None)
    return StatedError(code, status, retry_after_s(told), concern(code, told, words[:TEXT_CHARS_LOOKED_AT]))


def bare_error(chunk: dict[str, object]) -> StatedError | None:
    """The error of an object that holds no choices and is one itself."""
    if chunk.get("object") == "error" or chunk.get("type") == "error":
        return read_error(chunk)
    if not any(isinstance(chunk.get(name), str) for name in WORDS_IN):
        return None
    return None if code_and_status(chunk)[1] is None else read_error(chunk)


def unwrapped(value: object) -> object:
    """The innermost value that tells of the error. A word beside a message is a code and hides nothing behind it."""
    for _ in range(WRAPPED_MAX):
        if isinstance(value, list):
            inner = next((item for item in value[:DETAILS_MAX] if says_something(item)), None)
        elif isinstance(value, dict):
            inner = next((value[name] for name in WRAPPERS if says_something(value.get(name))), None)
            if isinstance(inner, str) and any(texts_in(value)):
                inner = None
        else:
            inner = None
        if not isinstance(inner, dict | list | str):
            return value
        value = inner
    return value


def texts_in(told: dict[str, object]) -> Iterator[str]:
    yield from (text for name in WORDS_IN if isinstance(text := told.get(name), str) and text)


def code_and_status(told: dict[str, object]) -> tuple[str, int | None]:
    """The first word that looks like a code, and the first status, which a word may stand for."""
    values = [told[name] for name in SHOWN_FIRST if name in told]
    words = [word for value in values if (word := safe_code(value)) and not word.isdecimal()]
    counts = (count_in(value) for value in values)
    statuses = [*(count for count in counts if count in STATUS_CODES), *(STATUS_OF_CODE.get(word) for word in words)]
    status = next((status for status in statuses if status), None)
    return words[0] if words else f"{status or safe_code(told.get('code'))}", status


def concern(code: str, told: object, words: str) -> Concern:
    param = told.get("param") if isinstance(told, dict) else None
    if code in TOO_LONG_CODES:
        return "context"
    if code in ("unsupported_parameter", "unknown_parameter") and param in ("max_tokens", "max_completion_tokens"):
        return "max_tokens"
    return next((concern for concern, pattern in CONCERNS if pattern.search(words)), "")


def retry_after_s(told: object) -> float | None:
    """When to come back, where the body says so and not the headers: also Google's `retryDelay`."""
    if not isinstance(told, dict):
        return None
    places = [told, *objects_in(told.get("metadata")), *objects_in(told.get("details"))[:DETAILS_MAX]]
    for value in (place.get(name) for place in places for name in RETRY_FIELDS):
        match = RETRY_TEXT.match(value) if isinstance(value, str) else None
        seconds = float(match[1]) if match else number_in(value.get("seconds") if isinstance(value, dict) else value)
        if seconds is not None:
            return min(seconds, RETRY_AFTER_S_MAX)
    return None
