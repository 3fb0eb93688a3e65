"""What the words mean with which providers end an answer."""

from __future__ import annotations

import pytest

from processors.providers.decisions.finish_reasons import FinishMeaning, finish_code, meaning_of, replaces


@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        ("stop STOP eos eos_token end_turn COMPLETE stop_sequence stop-sequence <|im_end|> endOfText", "WHOLE"),
        ("FinishReason.STOP FINISH_REASON_STOP eosFound stopStringFound stop_criteria_met normal", "WHOLE"),
        ("FinishReason.MAX_TOKENS maxPredictedTokensReached maximum_tokens", "LENGTH"),
        ("contextLengthReached context_window_exceeded", "CONTEXT"),
        ("content-filter blocked flagged content_policy_violation IMAGE_PROHIBITED_CONTENT", "FILTERED"),
        ("modelUnloaded malformed_tool_use overloaded rate_limit_exceeded internal_server_error", "FAILED"),
        ("tool_calls tool_use TOOL_CALL function_call", "TOOL"),
        ("length max_tokens MAX_TOKENS MaxTokens", "LENGTH"),
        ("model_length model_context_window_exceeded", "CONTEXT"),
        ("content_filter SAFETY RECITATION sensitive refusal PROHIBITED_CONTENT", "FILTERED"),
        ("pause_turn", "PAUSED"),
        ("error insufficient_system_resource network_error abort MALFORMED_FUNCTION_CALL", "FAILED"),
        ("sleepy OTHER ñandú", "UNKNOWN"),
        ("null FINISH_REASON_UNSPECIFIED", "NONE"),
    ],
)
def test_words(words: str, meaning: str) -> None:
    """They are compared without case and separators."""
    assert {meaning_of(word).name for word in words.split()} == {meaning}


def test_no_word() -> None:
    """Nothing is no reason."""
    assert meaning_of("") is FinishMeaning.NONE


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("MAX_TOKENS", "max_output_tokens"),
        ("SAFETY", "content_filter"),
        ("model_length", "context_full"),
        ("sleepy", "sleepy"),
        ("x" * 200, "x" * 64),
        ("\x1b[31mred\n", "31mred"),
        ("…", "unknown"),
    ],
)
def test_codes(word: str, code: str) -> None:
    """Ours where we know the word; else the provider's, short and fit to be shown."""
    assert finish_code(word) == code


@pytest.mark.parametrize(
    ("newer", "older", "text_between", "expected"),
    [
        ("length", "stop", True, True),
        ("stop", "length", True, True),
        ("stop", "length", False, False),
        ("length", "stop", False, True),
        ("stop", "stop", False, False),
        ("sleepy", "eos", False, True),
    ],
)
def test_second_reason(newer: str, older: str, text_between: bool, expected: bool) -> None:
    """It counts after more text, or where it says that the answer is not whole."""
    assert replaces(newer, older, text_between=text_between) is expected
