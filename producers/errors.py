"""What can go wrong between a prompt and the broker's log, drawn as a tree. Whose fault, and what next:

ProducerError
├── ProducerBusy          ours: too much is waiting already. Nothing was sent; come back after `retry_after_s`
├── ProducerClosed        the caller's: not started yet, or stopped
├── BrokerUnavailable     the cluster's: nobody answers. Nothing was sent; come back later
├── PublishTimedOut       nobody's yet: the outcome is unknown. Send again with the same prompt_id: it counts once
├── PublishRefused        the operator's: the cluster said no and will say no again until somebody changes it
│   ├── AccessDenied      wrong credentials, certificate or rights
│   └── TopicMissing      the topic is absent or has another number of partitions
└── AnswerError           reading the answer, after the prompt was accepted: the answer itself is not in danger
    ├── AnswerTimedOut    not finished within the deadline; it goes on and can be read later
    ├── AnswerUnavailable the log cannot be read now
    └── AnswerLost        the log was deleted, or its beginning has expired

A prompt outside the limits raises `schemas.errors.InvalidField`, naming the field: the caller's, before anything is
sent. `code` is for programs (the gateway passes it on), the message for people; neither holds prompt text.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AccessDenied",
    "AnswerError",
    "AnswerLost",
    "AnswerTimedOut",
    "AnswerUnavailable",
    "BrokerUnavailable",
    "ProducerBusy",
    "ProducerClosed",
    "ProducerError",
    "PublishRefused",
    "PublishTimedOut",
    "TopicMissing",
]


class ProducerError(Exception):
    """A prompt was not, or may not have been, published; or its answer cannot be read."""

    code: ClassVar[str] = "producer_error"
    temporary: ClassVar[bool] = False
    """True where the same call may succeed later without anybody changing anything."""
    retry_after_s: ClassVar[float | None] = None


class ProducerBusy(ProducerError):
    """The bounded queue of prompts waiting for the broker is full. Nothing was sent."""

    code = "busy"
    temporary = True
    retry_after_s = 1.0


class ProducerClosed(ProducerError):
    """The producer was not started, or was stopped. Nothing was sent."""

    code = "closed"


class BrokerUnavailable(ProducerError):
    """No broker answers, or none can write now. Nothing was sent."""

    code = "unavailable"
    temporary = True
    retry_after_s = 1.0


class PublishTimedOut(ProducerError):
    """No acknowledgement in time: the prompt may or may not be on the log. Sending it again is safe."""

    code = "unknown_outcome"
    temporary = True
    retry_after_s = 1.0


class PublishRefused(ProducerError):
    """The cluster refused the prompt and will refuse it again."""

    code = "refused"


class AccessDenied(PublishRefused):
    """The cluster does not let us in, or not write here."""

    code = "access_denied"


class TopicMissing(PublishRefused):
    """The topic does not exist as the catalogue demands."""

    code = "topic_missing"


class AnswerError(ProducerError):
    """The answer cannot be read now. The prompt was accepted and is being answered all the same."""

    code = "answer_error"


class AnswerTimedOut(AnswerError):
    """The turn had not ended at the reader's deadline."""

    code = "answer_timed_out"
    temporary = True


class AnswerUnavailable(AnswerError):
    """The session's log cannot be read now."""

    code = "unavailable"
    temporary = True


class AnswerLost(AnswerError):
    """The session's log, or the part that held the answer, is gone."""

    code = "answer_lost"
