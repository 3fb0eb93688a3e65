"""What a client is told where something asked of a session is not done: for programs a code, for people a sentence."""

from __future__ import annotations

from schemas.gateway_messages import Error

__all__ = [
    "no_room_for_session",
    "refused_cursor",
    "refused_session",
    "too_many_new",
    "too_many_sessions",
    "unavailable",
]


def unavailable(session: str, prompt_id: str, retry_after_s: float) -> Error:
    """Kafka does not answer: nothing was done."""
    message = "Kafka does not answer; nothing was done, try again shortly"
    return for_now("unavailable", message, session, prompt_id, retry_after_s)


def too_many_new(session: str, prompt_id: str, retry_after_s: float) -> Error:
    """The user, or all, began so many sessions lately, or follow so many that have not begun."""
    message = "too many sessions were begun, or are waited for; nothing was done, use another one or come back later"
    return for_now("too_many_new_sessions", message, session, prompt_id, retry_after_s)


def no_room_for_session(session: str, prompt_id: str, retry_after_s: float) -> Error:
    """The cluster holds as many sessions as it may."""
    message = "no new session can be kept now; the prompt is not answered, send it again later"
    return for_now("unavailable", message, session, prompt_id, retry_after_s)


def for_now(code: str, message: str, session: str, prompt_id: str, retry_after_s: float) -> Error:
    return Error(
        code=code, message=message, temporary=True, session=session, prompt_id=prompt_id, retry_after_s=retry_after_s
    )


def refused_session(session: str, prompt_id: str) -> Error:
    """The cluster will not have a log of the session; its own words are for the operator."""
    message = (
        "the Kafka cluster refuses to keep a log for this session; nothing can be answered there until whoever runs "
        "this service has acted: the log of the process that asked says how"
    )
    return Error(code="session_refused", message=message, session=session, prompt_id=prompt_id)


def refused_cursor(session: str) -> Error:
    """It was signed for another session, or not by us."""
    message = 'the cursor is not one of this session; attach from "start" or "tail" instead'
    return Error(code="cursor_refused", message=message, session=session, field="from")


def too_many_sessions(session: str, prompt_id: str, limit: int) -> Error:
    """A connection follows `limit` already."""
    message = f"a connection follows at most {limit} sessions; detach some or open another connection"
    return Error(code="too_many_sessions", message=message, session=session, prompt_id=prompt_id)
