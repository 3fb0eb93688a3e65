"""What a provider says of an error, in any of the shapes that it is seen in, read into the few facts that count.

    {"error": {"code": …, "message": …}}         in a body, in an event, or inside a choice
    {"error": "…"}, {"errors": […]}              as text, or as several
    [{"error": {…}}]                             in a list
    {"object": "error", "message": …, "code": …} bare
    {"type": "error", "error": {…}}              with its name beside it
    {"message": {"detail": [{…}]}}               where a message is due
    {"base_resp": {…}}, {"code": …, "message": …}  in an event without choices

Codes that look like codes are kept, the provider's sentences never: they may quote the prompt. What a sentence is about
(`concerns`) is told from a few words in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from processors.providers.decisions.finish_reasons import plain_word
from processors.providers.decisions.json_values import count_in, number_in, objects_in, says_something

__all__ = ["Concern", "StatedError", "bare_error", "read_error", "safe_code"]

Concern: TypeAlias = Literal[
    "", "context", "denied", "field", "filter", "loading", "max_tokens", "pace", "stream_options"
]
"""The prompt's length; the key, the account or the model; a field of the request, or one of two by its name; what the
prompt says; a model on its way into memory; tokens or requests per minute."""

CODE_CHARS_MAX: Final = 64
SAFE_CODE: Final = re.compile(rf"[A-Za-z0-9_.-]{{1,{CODE_CHARS_MAX}}}\Z")
STATUS_CODES: Final = range(400, 600)
CODES: Final[dict[int, str]] = {
    400: "invalid_request_error bad_request bad_request_error invalid_argument invalid_parameter validation_error",
    401: "invalid_api_key unauthenticated unauthorized authentication_error invalid_authentication_error",
    402: "billing_error payment_required insufficient_balance arrearage billing_hard_limit_reached",
    403: "permission_error permission_denied forbidden access_denied",
    404: "model_not_found not_found not_found_error model_decommissioned",
    413: "request_too_large",
    429: """
        rate_limit_exceeded rate_limit_error rate_limited rate_limit rate_limit_reached requests tokens
        resource_exhausted insufficient_quota too_many_requests too_many_requests_error throttling throttled
        throttling_exception throttling_error throttling_rate_quota throttling_allocation_quota limit_requests
        limit_burst_rate""",
    500: "server_error internal internal_error internal_server_error api_error upstream_error",
    503: """
        overloaded_error overloaded unavailable service_unavailable service_unavailable_error server_overloaded
        service_unavailable_exception engine_overloaded engine_overloaded_error model_overloaded capacity_exceeded""",
    504: "timeout timeout_error deadline_exceeded gateway_timeout",
}
STATUS_OF_CODE: Final = {plain_word(word): status for status, words in CODES.items() for word in words.split()} | {
    plain_word(word): 400 for word in ("context_length_exceeded", "unsupported_parameter", "unsupported_value")
}
NO_WORDS: Final = frozenset({"None", "none", "null"})
FINE_CODES: Final = frozenset({"ok", "success"})
FINE_STATUSES: Final = (0, *range(200, 300))
WRAPPERS: Final = ("error", "errors", "detail")
WRAPPED_MAX: Final = 4
CODE_FIELDS: Final = ("code", "error_code", "status_code", "http_code")
SHOWN_FIRST: Final = (*CODE_FIELDS, "status", "type", "error_type")
"""Where a status or a code is looked for, in this order."""
WORDS_IN: Final = ("message", "detail", "msg", "error_description", "error_msg", "status_msg")
MARKS_IN: Final = ("code", "type", "param")
"""What says in one word, beside the message, what it is about."""
HOLDERS: Final = ("base_resp", "errors")
"""What may hold the error of an event that has no choices."""
TEXT_CHARS_LOOKED_AT: Final = 2_000
DETAILS_MAX: Final = 16
RETRY_FIELDS: Final = (
    *("retry_after", "retry_after_s", "retry_after_seconds", "retryAfter", "retryDelay", "Retry-After", "retry-after"),
)
DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s?(ms|milli|h|m|s)?", re.IGNORECASE)
RETRY_WORDS: Final = re.compile(
    r"\b(?:try again|retry|retryDelay)\W{1,8}(?:(?:in|after)\W{1,3})?"
    rf"((?:{DURATION.pattern}[a-z]{{0,11}}\s?){{1,3}})",
    re.IGNORECASE,
)
"""`try again in 7m12.5s`, `retry after 30 seconds`."""
SECONDS_OF: Final = {"ms": 0.001, "milli": 0.001, "h": 3_600.0, "m": 60.0}
RETRY_AFTER_S_MAX: Final = 86_400.0

TOO_LONG_CODES: Final = ("context_length_exceeded", "exceed_context_size_error", "tokens_limit_reached")
MAX_TOKENS: Final = r"\bmax_(?:completion_)?tokens\b"
NOT_TAKEN: Final = (
    r"(?:\bun(?:supported|known|recogni[sz]ed|expected)(?:\b|_)|\bextra(?: inputs\b|_forbidden\b)|\bcannot find field\b"
    r"|\bnot (?:supported|permitted|allowed)\b|\bdoes(?: not|n't) support\b)"
)
PATTERNS: Final[tuple[tuple[Concern, str], ...]] = (
    ("max_tokens", rf"{MAX_TOKENS}.{{0,200}}\buse\b.{{0,20}}{MAX_TOKENS}"),
    ("stream_options", rf"{NOT_TAKEN}.{{0,80}}\bstream_options\b|\bstream_options\b.{{0,80}}{NOT_TAKEN}"),
    ("max_tokens", rf"{NOT_TAKEN}.{{0,80}}{MAX_TOKENS}|{MAX_TOKENS}.{{0,80}}{NOT_TAKEN}"),
    ("field", rf"{NOT_TAKEN}.{{0,80}}\b(?:temperature|stream)\b|\b(?:temperature|stream)\b.{{0,80}}{NOT_TAKEN}"),
    (
        "pace",
        r"\b(?:tokens|requests) per (?:min(?:ute)?|day|sec(?:ond)?|hour)\b|\b[TR]P[MDS]\b|\brate[ -]?limit"
        r"|\btoo many (?:requests|concurrent)|\bthrottl|\bconcurren\w+ limit|\b(?:qps|request) limit"
        r"|\bwait before trying",
    ),
    ("filter", r"\bmoderation\b|\bcontent[ _](?:filter|management|policy)|\binput was flagged\b|\bdata_?inspection"),
    (
        "context",
        r"\bcontext (?:length|size|window|limit)\b|\bn_ctx\b|\bmaximum (?:context|prompt|input|model) length\b"
        r"|\b(?:prompt|input|inputs|messages?|token count)\b.{0,60}\b(?:too (?:long|large)|exceeds?|longer than)\b"
        r"|\bexceed(?:s|ed)?\b.{0,40}\b(?:token limit|number of tokens)\b|\btoo many (?:input )?tokens\b"
        r"|\bmore than max tokens\b|\bmax_(?:model|seq)_len\b|\breduce the length\b|\brange of input length\b"
        r"|`?inputs`? tokens \+|\bmax size: \d+ tokens\b",
    ),
    ("loading", r"\bloading\b.*\bmodel\b|\bmodel\b.*\b(?:loading|loaded yet)\b"),
    (
        "denied",
        r"\bapi[ _-]?key\b|\bcredit balance\b|\bbilling\b|\binsufficient (?:balance|credits?|quota|funds)\b"
        r"|\b(?:account|organization|project)\b.{0,60}\b(?:deactivated|disabled|suspended|good standing|overdue)\b"
        r"|\bmodel\b.{0,80}\b(?:not (?:exist|found|available|supported)|does(?: not|n't) exist|decommissioned"
        r"|deprecated|no longer)|\bnot a valid model\b|\b(?:invalid|unknown) model\b"
        r"|\b(?:location|country|region)\b.{0,40}\bnot supported\b",
    ),
)
CONCERNS: Final = tuple((concern, re.compile(pattern, re.DOTALL | re.IGNORECASE)) for concern, pattern in PATTERNS)
"""Which words tell what an error is about; the first that are found count."""


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
    if isinstance(told, dict) and is_fine(told):
        return None
    words = " ".join(words_in(told))[:TEXT_CHARS_LOOKED_AT]
    code, status = code_and_status(told) if isinstance(told, dict) else ("", None)
    return StatedError(code, status, retry_after_s(told, words), concern(code, words))


def bare_error(chunk: dict[str, object]) -> StatedError | None:
    """The error of an object that holds no choices and is one itself, or holds one by another name."""
    if chunk.get("object") == "error" or chunk.get("type") == "error":
        return read_error(chunk)
    held = next((inner for name in HOLDERS for inner in objects_in(chunk.get(name))), chunk)
    if not any(texts_in(held)):
        return None
    has_failed = code_and_status(held)[1] is not None or any(is_bad_code(held.get(name)) for name in CODE_FIELDS)
    return read_error(held) if has_failed else None


def is_fine(told: dict[str, object]) -> bool:
    """Whether it says with a code, and with no other word, that nothing went wrong."""
    codes = [told[name] for name in CODE_FIELDS if name in told]
    return (
        bool(codes)
        and not any(is_bad_code(code) for code in codes)
        and code_and_status(told)[1] is None
        and all(plain_word(text) in FINE_CODES for text in texts_in(told))
    )


def is_bad_code(value: object) -> bool:
    """Whether a code that stands beside a message says that something went wrong."""
    count = count_in(value)
    if count is not None:
        return count not in FINE_STATUSES
    return bool(safe_code(value)) and plain_word(str(value)) not in FINE_CODES


def unwrapped(value: object) -> object:
    """The innermost value that tells of the error. A word beside a message is a code and hides nothing behind it."""
    for _ in range(WRAPPED_MAX):
        if isinstance(value, list):
            inner = next((item for item in value[:DETAILS_MAX] if says_something(item)), None)
        elif isinstance(value, dict):
            inner = next((value[name] for name in WRAPPERS if says_something(value.get(name))), None)
            if inner is None and isinstance(value.get("message"), dict | list):
                inner = value["message"]
            if isinstance(inner, str) and (any(texts_in(value)) or has_code(value)):
                inner = None
        else:
            inner = None
        if not isinstance(inner, dict | list | str):
            return value
        value = inner
    return value


def has_code(told: dict[str, object]) -> bool:
    return any(safe_code(told.get(name)) for name in SHOWN_FIRST)


def texts_in(told: dict[str, object]) -> Iterator[str]:
    yield from (text for name in WORDS_IN if isinstance(text := told.get(name), str) and text)


def words_in(told: object) -> Iterator[str]:
    """What is looked at to tell what an error is about; it may quote the prompt."""
    if isinstance(told, str):
        yield told
    if not isinstance(told, dict):
        return
    yield from (word for name in MARKS_IN if isinstance(word := told.get(name), str))
    place = told.get("loc")
    yield from (word for word in (place[:DETAILS_MAX] if isinstance(place, list) else ()) if isinstance(word, str))
    yield from texts_in(told)
    yield from (text for name in ("error", "raw") for text in told_by(told, name))


def told_by(told: dict[str, object], name: str) -> Iterator[str]:
    """A text beside the message, and one in what was passed on of another provider's error."""
    for holder in (told, *objects_in(told.get("metadata"))):
        if isinstance(text := holder.get(name), str):
            yield text


def code_and_status(told: dict[str, object]) -> tuple[str, int | None]:
    """The first word that looks like a code, and the first status, which a word may stand for."""
    values = [told[name] for name in SHOWN_FIRST if name in told]
    words = [word for value in values if (word := safe_code(value)) and not word.isdecimal() and word not in NO_WORDS]
    counts = (count_in(value) for value in values)
    statuses = [
        *(count for count in counts if count in STATUS_CODES),
        *(STATUS_OF_CODE.get(plain_word(word)) for word in words),
    ]
    status = next((status for status in statuses if status), None)
    return words[0] if words else f"{status or safe_code(told.get('code'))}", status


def concern(code: str, words: str) -> Concern:
    """What the words are about; a few codes say it by themselves."""
    if code in TOO_LONG_CODES:
        return "context"
    return next((concern for concern, pattern in CONCERNS if pattern.search(words)), "")


def retry_after_s(told: object, words: str) -> float | None:
    """When to come back, where the body says so and not the headers: in a field, also Google's `retryDelay`, or in
    words."""
    metadata = objects_in(told.get("metadata")) if isinstance(told, dict) else []
    headers = [found for place in metadata for found in objects_in(place.get("headers"))]
    details = objects_in(told.get("details"))[:DETAILS_MAX] if isinstance(told, dict) else []
    places = [*objects_in(told)[:1], *metadata, *headers, *details]
    for value in (place.get(name) for place in places for name in RETRY_FIELDS):
        seconds = number_in(value.get("seconds") if isinstance(value, dict) else value)
        if seconds is None and isinstance(value, str):
            seconds = duration_s(value)
        if seconds is not None:
            return min(seconds, RETRY_AFTER_S_MAX)
    match = RETRY_WORDS.search(words)
    return min(duration_s(match[1]) or 0.0, RETRY_AFTER_S_MAX) if match else None


def duration_s(text: str) -> float | None:
    """`7m12.5s`, `30 seconds`, `120ms`."""
    parts = DURATION.findall(text) if text[:1].isdecimal() else []
    return sum(float(amount) * SECONDS_OF.get(unit.lower(), 1.0) for amount, unit in parts) if parts else None
