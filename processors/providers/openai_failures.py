"""Where the errors of the openai client and of HTTP become ours, and nowhere else."""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Final, assert_never
from urllib.parse import urlsplit

import aiohttp
import httpx2

from infra.connection_faults import connection_fault
from processors.providers.decisions.json_values import number_in
from processors.providers.decisions.rate_headers import RateHeaders, read_rate_headers, reset_in_s
from processors.providers.decisions.sse_events import SseFault
from processors.providers.decisions.stated_error import Concern, StatedError, read_error
from processors.providers.decisions.stream_watchdog import Deadline, StreamDeadlines
from processors.providers.openai_package import openai
from processors.providers.provider import (
    CONTEXT_EXCEEDED,
    ProviderAbsent,
    ProviderCut,
    ProviderDenied,
    ProviderEmpty,
    ProviderError,
    ProviderFailed,
    ProviderGarbled,
    ProviderLoading,
    ProviderMisplaced,
    ProviderOverloaded,
    ProviderRefused,
    ProviderTimedOut,
    ProviderUnfit,
    ProviderUnreachable,
    ProviderWordless,
)

__all__ = [
    "CONNECTION_ERRORS",
    "cut",
    "empty",
    "failure_before_answer",
    "failure_in_band",
    "garbled_line",
    "interrupted",
    "retry_after_s",
    "stated_in",
    "timed_out",
    "wordless",
]

# What reading a response may raise: the transport translates most of aiohttp's errors into httpx2's, not all.
CONNECTION_ERRORS: Final = (httpx2.HTTPError, aiohttp.ClientError, OSError)
PROMPT_STATUSES: Final = (400, 413, 414, 422, 451)
"""What is wrong with the request itself, unless the body says that it is the target's own."""
TEMPORARY_STATUSES: Final = (408, 409, 423, 424, 425, 499)
SLOW_DOWN_STATUSES: Final = (429, 498)  # 498: Groq has no capacity left for calls of this kind
DENIED_CODES: Final = ("insufficient_quota", "billing_not_active")  # said with 429, but waiting does not help
RETRY_AFTER_S_MAX: Final = 86_400.0
STATUS_OF_CONCERN: Final[dict[Concern, int]] = {"pace": 429, "loading": 503, "denied": 401}
"""Where an error has none."""
CONTEXT_STATUSES: Final = (400, 413, 422, 500)
FILTER_STATUSES: Final = (*PROMPT_STATUSES, 403)
PRINTABLE: Final = re.compile(r"[^\x21-\x7e]+")
URL_CHARS_MAX: Final = 512
UNTRUSTED: Final = (
    "the provider's certificate is not trusted here: check its base_url, or set SSL_CERT_FILE to a file of "
    "certificates with its authority among them"
)
NO_SUCH_HOST: Final = (
    "the provider's host name does not exist: check its base_url (TOKENWIRE_PROVIDER_URL), and HTTPS_PROXY where only "
    "a proxy leads out"
)


def failure_before_answer(
    error: openai.OpenAIError | OSError | aiohttp.ClientError | httpx2.HTTPError,
    deadlines: StreamDeadlines,
    *,
    input_tokens: int = 0,
) -> ProviderError:
    """The request was refused, or never arrived."""
    if isinstance(error, openai.APIStatusError):
        return failure_of_response(error, input_tokens)
    causes = list(causes_of(error))
    if any(isinstance(cause, aiohttp.ConnectionTimeoutError) for cause in causes):
        return timed_out("connect", deadlines)
    if any(isinstance(cause, OSError) and cause.errno == errno.ECONNREFUSED for cause in causes):
        return ProviderAbsent("nobody listens at the provider's address; is its server started?")
    match connection_fault(error):
        case "certificate":
            return ProviderMisplaced(UNTRUSTED)
        case "unknown_host":
            return ProviderMisplaced(NO_SUCH_HOST)
        case None:
            return ProviderUnreachable(f"the provider cannot be reached: {type(causes[-1]).__name__}")


def stated_in(error: openai.APIStatusError) -> StatedError:
    """What the body of a refusal says."""
    return read_error(error.body) or StatedError()


def failure_of_response(error: openai.APIStatusError, input_tokens: int) -> ProviderError:
    """A response with an error status: what its few known words mean is told, the words themselves never are."""
    headers, now_s = error.response.headers, time.time()
    if error.response.is_redirect or 300 <= error.status_code < 400:
        return redirected(headers.get("location", ""))
    stated = stated_in(error)
    after_s = retry_after_s(headers, now_s)
    return failure_stated(
        stated,
        status=error.status_code,
        after_s=stated.retry_after_s if after_s is None else after_s,
        limits=read_rate_headers(headers, now_s),
        input_tokens=input_tokens,
    )


def redirected(location: str) -> ProviderMisplaced:
    """The address has moved; it is named as far as it can be set."""
    url, wanted = urlsplit(PRINTABLE.sub("", location[:URL_CHARS_MAX])), ""
    if url.scheme in ("http", "https") and url.hostname:
        path = url.path.removesuffix("/").removesuffix("/chat/completions")
        wanted = f"{url.scheme}://{url.netloc.rpartition('@')[2]}{path}"
    goes = f"leads to {wanted}: set base_url (TOKENWIRE_PROVIDER_URL) to it" if wanted else "leads elsewhere: check it"
    return ProviderMisplaced(f"the provider's address {goes}; redirects are not followed")


def failure_stated(
    stated: StatedError, *, status: int, after_s: float | None, limits: RateHeaders | None, input_tokens: int
) -> ProviderError:
    """An error that the provider states, with its response or inside the stream."""
    if status == 503 and stated.concerns == "loading":
        return ProviderLoading("the server still loads its model", retry_after_s=after_s)
    if status in CONTEXT_STATUSES and stated.concerns == "context":
        message = f"the prompt{size_of(input_tokens)} is too long for the model's context; shorten it, or begin anew"
        return ProviderRefused(message, provider_code=CONTEXT_EXCEEDED, limits=limits)
    if status in FILTER_STATUSES and stated.concerns == "filter":
        message = "the provider's filter refused the prompt; ask in other words"
        return ProviderRefused(message, provider_code=stated.code, limits=limits)
    if status in PROMPT_STATUSES:
        match stated.concerns:
            case "field" | "max_tokens" | "stream_options":
                message = (
                    "the provider does not take a field of the request; ask without a temperature, or another model"
                )
                return ProviderUnfit(message, provider_code=stated.code, limits=limits)
            case concern:
                status = STATUS_OF_CONCERN.get(concern) or stated.status or status
    return failure_of_status(status, stated.code, after_s, limits)


def failure_of_status(
    status: int, code: str, after_s: float | None, limits: RateHeaders | None = None
) -> ProviderError:
    """An HTTP status, as a status line or inside the stream, in our words."""
    kind, message = kind_of_status(status, code)
    return kind(message, retry_after_s=after_s, provider_code=code, limits=limits)


def kind_of_status(status: int, code: str) -> tuple[type[ProviderError], str]:
    """Of all that begin with 4, only a few are about the prompt: a target that answers with another one is not asked
    for this prompt's sake alone."""
    if status in SLOW_DOWN_STATUSES and code not in DENIED_CODES:
        return ProviderOverloaded, "the provider asks to slow down"
    if status >= 500 or status in TEMPORARY_STATUSES:
        return ProviderFailed, f"the provider failed with status {status}"
    if status in PROMPT_STATUSES and code not in DENIED_CODES:
        return ProviderRefused, f"the provider refused with status {status}"
    return ProviderDenied, f"the provider does not serve this key, model or address (status {status})"


def failure_in_band(
    stated: StatedError, input_tokens: int = 0, headers: Mapping[str, str] | None = None
) -> ProviderError:
    """The provider said 200, with these headers, and failed afterwards."""
    after_s, code = stated.retry_after_s, stated.code
    if after_s is None and headers:
        after_s = retry_after_s(headers, time.time())
    status = stated.status or STATUS_OF_CONCERN.get(stated.concerns) or (400 if stated.concerns else None)
    if status is not None:
        return failure_stated(stated, status=status, after_s=after_s, limits=None, input_tokens=input_tokens)
    message = "the provider failed in the middle of its answer"
    return ProviderFailed(message, provider_code=code, retry_after_s=after_s)


def garbled_line(fault: SseFault, *, is_page: bool = False) -> ProviderGarbled:
    """The bytes are no event stream; `is_page`: they are called a web page."""
    if is_page:
        return ProviderGarbled("the provider answered with a web page")
    match fault:
        case "oversized_line":
            return ProviderGarbled("the provider sent a line beyond the limit")
        case "foreign_line":
            return ProviderGarbled("the provider sent a line that is no part of an event stream")
        case unreachable:
            assert_never(unreachable)


def cut(error: BaseException | None) -> ProviderCut:
    """The body ended or broke before the finish reason."""
    how = "ended" if error is None else f"broke ({innermost_name(error)})"
    return ProviderCut(f"the provider's answer {how} without a finish reason")


def interrupted() -> ProviderCut:
    """It said that the answer ends, and not why: so does a server that answers one caller at a time and is asked by
    another one meanwhile."""
    message = (
        "the server ended the answer without a finish reason, as some do when somebody else asks them meanwhile "
        "(llama-cpp-python does not with --interrupt_requests False)"
    )
    return ProviderCut(message, provider_code="interrupted")


def empty(input_tokens: int) -> ProviderEmpty:
    """It answered, and said nothing at all."""
    return ProviderEmpty(
        f"the server ended its answer without a word: perhaps the prompt{size_of(input_tokens)} is longer than the "
        "context that it was started with"
    )


def wordless() -> ProviderWordless:
    """The answer is whole by its own account, and empty."""
    return ProviderWordless("the model ended its answer without a word; ask again, or ask in other words")


def size_of(input_tokens: int) -> str:
    return f" (about {input_tokens:,} tokens)" if input_tokens else ""


def timed_out(deadline: Deadline, deadlines: StreamDeadlines) -> ProviderTimedOut:
    """A deadline of ours ran out."""
    return ProviderTimedOut(deadline, getattr(deadlines, f"{deadline}_s"))


def retry_after_s(headers: Mapping[str, str], now_s: float) -> float | None:
    """Seconds until the provider wants to hear from us again: milliseconds, seconds or a date; None if unsaid."""
    milliseconds = number_in(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return min(milliseconds / 1_000, RETRY_AFTER_S_MAX)
    text = headers.get("retry-after", "")
    seconds = reset_in_s(text, now_s)
    if seconds is None and text:
        try:
            seconds = max(0.0, parsedate_to_datetime(text).timestamp() - now_s)
        except (ValueError, TypeError, OverflowError):
            return None
    return None if seconds is None else min(seconds, RETRY_AFTER_S_MAX)


def innermost_name(error: BaseException) -> str:
    """The kind of the error at the bottom of the chain: it says most, and holds no text of anybody's."""
    return type(list(causes_of(error))[-1]).__name__


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was caused by, down to the bottom."""
    seen = {id(error)}
    yield error
    while error.__cause__ is not None and id(error.__cause__) not in seen:
        error = error.__cause__
        seen.add(id(error))
        yield error
