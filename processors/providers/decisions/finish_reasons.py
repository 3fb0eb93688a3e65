"""What a provider means by the word with which it ends an answer.

Providers say the same in many words (`stop`, `eos`, `end_turn`, `STOP`, `COMPLETE`), compared here without case and
separators. Only the words of MEANINGS that stand for a whole answer make one; every word that is not in the table ends
an answer `incomplete`, with its text and the provider's own word kept, so a new word never passes off half an answer
as a whole one.
"""

from __future__ import annotations

import enum
import re
from typing import Final

__all__ = ["MEANINGS", "FinishMeaning", "clean_word", "finish_code", "meaning_of", "plain_word", "replaces"]


class FinishMeaning(enum.Enum):
    """What became of the answer."""

    WHOLE = "whole"
    """The model is done."""
    TOOL = "tool"
    """It is done, and wants a tool to be called."""
    LENGTH = "length"
    """It was cut at the most tokens that it may have."""
    CONTEXT = "context"
    """It was cut because the model's context is full."""
    FILTERED = "filtered"
    """It was withheld, or the model refused."""
    PAUSED = "paused"
    """The model wants to go on in another call."""
    FAILED = "failed"
    """The provider could not go on."""
    UNKNOWN = "unknown"
    """A word that nobody has told us."""
    NONE = "none"
    """No reason: the answer goes on."""


WORDS: Final[dict[FinishMeaning, str]] = {
    FinishMeaning.WHOLE: """
        stop stopped stop_sequence stop_token stop_word eos eos_token end_of_sequence end_of_text end_of_turn eot
        eot_id eot_token eos_found im_end end end_turn turn_complete complete completed finish finished done success
        normal stop_string_found stop_criteria_met stop_sequence_reached matched_stop""",
    FinishMeaning.TOOL: "tool_calls tool_call tool_use tool_uses function_call function_calls",
    FinishMeaning.LENGTH: """
        length max_tokens max_output_tokens max_completion_tokens max_new_tokens max_length maximum_tokens max_token
        max_tokens_reached max_predicted_tokens_reached max_length_reached token_limit length_limit limit""",
    FinishMeaning.CONTEXT: """
        model_length context_length model_context_window_exceeded context_window_exceeded context_length_exceeded
        context_length_reached context_limit context_full max_context_length""",
    FinishMeaning.FILTERED: """
        content_filter content_filtered content_filtering filtered filter safety recitation sensitive blocklist
        prohibited_content spii image_safety image_prohibited_content model_armor language refusal refused blocked
        flagged content_policy content_policy_violation policy_violation guardrail_intervened guardrails error_toxic
        moderation""",
    FinishMeaning.PAUSED: "pause_turn paused compaction",
    FinishMeaning.FAILED: """
        error errored failed failure insufficient_system_resource network_error abort aborted timeout server_error
        internal_server_error internal_error error_limit error_finish overloaded service_unavailable unavailable
        rate_limit_exceeded rate_limit rate_limited malformed_function_call malformed_response malformed_model_output
        malformed_tool_use unexpected_tool_call too_many_tool_calls missing_thought_signature model_unloaded
        cancelled canceled user_cancel""",
    FinishMeaning.NONE: "null none unspecified in_progress not_finished",
}
SEPARATORS: Final = re.compile(r"[^a-z0-9]+")
OWN_NAME: Final = "finishreason"
"""Some print the word with its type before it: `FinishReason.STOP`."""


def plain_word(word: str) -> str:
    """A word without case and separators."""
    return SEPARATORS.sub("", word.lower())


MEANINGS: Final[dict[str, FinishMeaning]] = {
    plain_word(word): meaning for meaning, words in WORDS.items() for word in words.split()
}
CODES: Final[dict[FinishMeaning, str]] = {
    FinishMeaning.LENGTH: "max_output_tokens",
    FinishMeaning.CONTEXT: "context_full",
    FinishMeaning.FILTERED: "content_filter",
    FinishMeaning.PAUSED: "paused",
}
WORD_CHARS_MAX: Final = 64
UNPRINTABLE: Final = re.compile(r"[^A-Za-z0-9 _.:/-]+")


def meaning_of(word: str) -> FinishMeaning:
    """What a provider's word means. An empty one is none."""
    if not word:
        return FinishMeaning.NONE
    return MEANINGS.get(plain_word(word[:WORD_CHARS_MAX]).removeprefix(OWN_NAME), FinishMeaning.UNKNOWN)


def clean_word(word: str) -> str:
    """The provider's own word, fit to be shown: a model may be made to choose it."""
    return UNPRINTABLE.sub("", word[:WORD_CHARS_MAX])


def finish_code(word: str) -> str:
    """The code of an answer that is not whole: ours where the word is known, else the provider's word."""
    return CODES.get(meaning_of(word)) or clean_word(word) or "unknown"


def replaces(newer: str, older: str, *, text_between: bool) -> bool:
    """Whether a second reason counts instead of the first.

    It does where text came between them. Else the first stays, as some repeat it, unless it says that the answer is
    whole and the second one does not: what went wrong is never `complete`.
    """
    return text_between or (is_whole(older) and not is_whole(newer))


def is_whole(word: str) -> bool:
    return meaning_of(word) in (FinishMeaning.WHOLE, FinishMeaning.TOOL)
