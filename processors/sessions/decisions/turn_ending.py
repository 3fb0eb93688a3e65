"""How an attempt's outcome at the provider becomes the end of a turn.

A model that says it is done, in whatever word (`finish_reasons`), makes a turn `complete`; one that was cut off, by its
own limit or by a failure after the first token, `incomplete`; a failure before the first token `error`. Nothing that
went wrong is ever `complete`. A turn that is stopped ends by the reason that the journal gives, the same whoever ends
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from processors.ledger.decisions.limits import sentence_of
from processors.providers.decisions.finish_reasons import FinishMeaning, clean_word, finish_code, meaning_of
from schemas.journal import StopKind
from schemas.refusals import Refusal
from schemas.session_events import EndReason, TurnError

__all__ = [
    "Ending",
    "budget_ending",
    "busy_error",
    "ending_of_failure",
    "ending_of_finish",
    "ending_of_stop",
    "limit_ending",
    "limit_error",
    "no_target_ending",
]

LASTING_REASONS: Final = frozenset({"no_targets", "other_model", "no_ability", "context_too_small", "never_fits"})
EMPTY: Final = "empty"
"""The code of an answer that is whole and has no text."""
COMPLETE: Final = frozenset({FinishMeaning.WHOLE, FinishMeaning.TOOL})
SENTENCES: Final[Mapping[FinishMeaning, str]] = {
    FinishMeaning.LENGTH: (
        "The answer reached the most tokens it may have; ask for more with max_tokens, or go on from here."
    ),
    FinishMeaning.CONTEXT: "The answer filled the model's context; shorten the conversation, or begin anew.",
}


@dataclass(frozen=True, slots=True)
class Ending:
    """Reason and, where there is one, the error to show."""

    reason: EndReason
    error: TurnError | None = None
    forgotten: bool = False
    """Question and answer leave the conversation."""


CANCELLED: Final = Ending("cancelled", TurnError(code="cancelled", message="The turn was cancelled."))
SUPERSEDED: Final = TurnError(code="superseded", message="Another prompt took this turn's place.")
LEFT: Final = TurnError(code="left", message="Nobody followed the session any more.")
LOST_COMPARISON: Final = TurnError(code="lost_comparison", message="Another model was the first to answer.")
STOPPED: Final[Mapping[StopKind, Ending]] = {
    "cancelled": CANCELLED,
    "superseded": Ending("superseded", SUPERSEDED),
    "rolled_back": Ending("superseded", SUPERSEDED, forgotten=True),
    "left": Ending("cancelled", LEFT),
    "lost_comparison": Ending("cancelled", LOST_COMPARISON),
}


def ending_of_stop(stop: StopKind) -> Ending:
    """The end of a turn that was stopped, by why it was."""
    return STOPPED[stop]


def ending_of_finish(finish_reason: str | None) -> Ending:
    """The end after a stream that closed without a failure; None: the model never said that it was done."""
    if finish_reason is None:
        return Ending("incomplete", TurnError(code="provider_cut", message="The model's answer broke off."))
    meaning = meaning_of(finish_reason)
    if meaning in COMPLETE:
        return Ending("complete")
    message = SENTENCES.get(meaning) or f"The model stopped: {clean_word(finish_reason) or 'it did not say why'}."
    return Ending("incomplete", TurnError(code=finish_code(finish_reason), message=message))


def ending_of_failure(error: TurnError, *, chunks: int) -> Ending:
    """The end after a failed call, `chunks` chunks of text into the answer; an empty answer is one all the same."""
    return Ending("incomplete" if chunks or error.code == EMPTY else "error", error)


def no_target_ending(reason: str, *, prompt_tokens: int, context_tokens: int) -> Ending:
    """The end of a turn that no target can take; `reason` is the router's code.

    `prompt_tokens`: what it needs of a context, of which the largest one has `context_tokens`.
    """
    if reason == "context_too_small":
        size = f"about {prompt_tokens:,} tokens with the shortest answer"
        message = f"The prompt ({size}) is longer than the model's context ({context_tokens:,} tokens); shorten it."
        return Ending("error", TurnError(code=reason, message=message))
    message = f"No provider can take this prompt now ({reason}); send it again later."
    return Ending("error", TurnError(code=reason, message=message, temporary=reason not in LASTING_REASONS))


def limit_ending(refusal: Refusal) -> Ending:
    """The end of a prompt that one of its user's limits refuses."""
    return Ending("rejected", limit_error(refusal))


def budget_ending(refusal: Refusal) -> Ending:
    """The end of an answer for which no more can be reserved."""
    return Ending("budget", limit_error(refusal))


def limit_error(refusal: Refusal) -> TurnError:
    """What is told of a limit that was met."""
    return TurnError(
        code=refusal.code,
        message=sentence_of(refusal),
        temporary=refusal.temporary,
        retry_after_s=refusal.retry_after_s,
    )


def busy_error(retry_after_s: float) -> TurnError:
    """Why a prompt that is not to wait for others is refused, in a session where others are open."""
    message = "Another prompt of this session is being answered; send this one again when it has ended."
    return TurnError(code="session_busy", message=message, temporary=True, retry_after_s=retry_after_s)
