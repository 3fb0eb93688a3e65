"""Size and shape limits of a prompt: the same decision in the SDK, the gateway and the worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from schemas.errors import InvalidField
from schemas.identifiers import check_prompt_id, check_session_id, check_tenant_id, check_user_id
from schemas.prompts import PromptSubmitted
from schemas.topics import PROMPT_CARRIER_BYTES_MAX

__all__ = ["PROMPT_RECORD_BYTES_MAX", "PromptLimits", "check_prompt", "prompt_bytes"]

WALL_US_MAX: Final = 2**53 - 1
"""The year 2255, and the largest whole number that every JSON reader keeps exact."""

TEMPERATURE_MAX: Final = 2.0

PROMPT_RECORD_BYTES_MAX: Final = PROMPT_CARRIER_BYTES_MAX - 4_096
"""A prompt as JSON, escapes included: with what the journal adds it still fits a record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptLimits:
    """What is accepted."""

    prompt_bytes_max: int = 524_288
    """UTF-8 bytes of the input, or of all messages together."""
    messages_max: int = 512
    """Messages in one prompt."""
    metadata_entries_max: int = 16
    """Entries of `metadata`."""
    metadata_chars_max: int = 512
    """Characters of each key and value."""
    answer_tokens_max: int = 1_000_000
    """Highest `max_tokens` that can be asked for."""
    compared_models_max: int = 8
    """Models asked side by side in one prompt."""
    model_chars_max: int = 256
    """Characters of a model's name."""
    models: tuple[str, ...] = ()
    """Models that may be named; empty = any (the SDK does not know them, the worker does)."""


def check_prompt(prompt: PromptSubmitted, limits: PromptLimits) -> None:
    """Raise InvalidField for the first field outside its limits; returning means the prompt is acceptable."""
    check_user_id(prompt.user)
    check_session_id(prompt.session)
    check_prompt_id(prompt.prompt_id)
    if prompt.tenant:
        check_tenant_id(prompt.tenant)
    check_content(prompt, limits)
    check_model("model", prompt.model, limits)
    check_comparison(prompt, limits)
    check_temperature(prompt.temperature)
    if prompt.max_tokens is not None and not 1 <= prompt.max_tokens <= limits.answer_tokens_max:
        raise InvalidField("max_tokens", "is out of range", f"ask for 1 to {limits.answer_tokens_max} tokens")
    if not 0 <= prompt.submitted_at_us <= WALL_US_MAX:
        raise InvalidField("submitted_at_us", "is no time of this age", "send microseconds since 1970, or leave it out")
    check_metadata(prompt.metadata, limits)
    check_record(prompt)


def prompt_bytes(prompt: PromptSubmitted) -> int:
    """UTF-8 bytes of everything that is sent to the model."""
    messages = prompt.messages or ()
    return utf8_bytes("input", prompt.input) + sum(utf8_bytes("messages", message.content) for message in messages)


def check_content(prompt: PromptSubmitted, limits: PromptLimits) -> None:
    if prompt.messages is not None:
        if prompt.input:
            raise InvalidField("messages", "came together with input", "send one of the two")
        if not prompt.messages:
            raise InvalidField("messages", "is empty", "send at least one message, or input instead")
        if len(prompt.messages) > limits.messages_max:
            raise InvalidField(
                "messages", f"holds {len(prompt.messages)}", f"send at most {limits.messages_max} messages"
            )
        if prompt.messages[-1].role != "user" or not prompt.messages[-1].content.strip():
            raise InvalidField("messages", "does not end with a user's words", "put the question last, as user")
    elif not prompt.input.strip():
        raise InvalidField("input", "is empty", "write something to be answered", code="empty_prompt")
    size = prompt_bytes(prompt)
    if size > limits.prompt_bytes_max:
        field = "input" if prompt.messages is None else "messages"
        raise InvalidField(
            field, f"has {size} bytes", f"send at most {limits.prompt_bytes_max} bytes", code="prompt_too_large"
        )


def check_model(field: str, model: str, limits: PromptLimits) -> None:
    if model and limits.models and model not in limits.models:
        remedy = f"name one of: {', '.join(limits.models)}"
        raise InvalidField(field, "is not one we know", remedy, code="unknown_model")
    if len(model) > limits.model_chars_max:
        raise InvalidField(field, f"has {len(model)} characters", f"use at most {limits.model_chars_max}")
    utf8_bytes(field, model)


def check_comparison(prompt: PromptSubmitted, limits: PromptLimits) -> None:
    if not prompt.models:
        if prompt.compare != "all":
            raise InvalidField("compare", "came without models", "name at least two models, or leave it out")
        if prompt.merge_model:
            raise InvalidField("merge_model", "came without models", "name at least two models, or leave it out")
        return
    if prompt.model:
        raise InvalidField("models", "came together with model", "send one of the two")
    if not 2 <= len(prompt.models) <= limits.compared_models_max:
        remedy = f"name 2 to {limits.compared_models_max}, or one as model"
        raise InvalidField("models", f"names {len(prompt.models)}", remedy)
    if prompt.merge_model and prompt.compare != "merge":
        raise InvalidField("merge_model", "came without compare: merge", "say compare: merge, or leave it out")
    for model in prompt.models:
        if not model:
            raise InvalidField("models", "holds an empty name", "name each model")
        check_model("models", model, limits)
    check_model("merge_model", prompt.merge_model, limits)


def check_temperature(temperature: float | None) -> None:
    if temperature is not None and not 0 <= temperature <= TEMPERATURE_MAX:  # also refuses NaN
        raise InvalidField("temperature", "is out of range", f"send 0 to {TEMPERATURE_MAX:g}, or leave it out")


def check_metadata(metadata: dict[str, str], limits: PromptLimits) -> None:
    if len(metadata) > limits.metadata_entries_max:
        raise InvalidField(
            "metadata", f"has {len(metadata)} entries", f"send at most {limits.metadata_entries_max} entries"
        )
    for key, value in metadata.items():
        if max(len(key), len(value)) > limits.metadata_chars_max:
            raise InvalidField(
                "metadata", "has a long key or value", f"keep each within {limits.metadata_chars_max} characters"
            )
        utf8_bytes("metadata", f"{key} {value}")


def check_record(prompt: PromptSubmitted) -> None:
    """Text within its limit can still be too large once quotes, line ends and control characters are escaped."""
    size = len(msgspec.json.encode(prompt))
    if size > PROMPT_RECORD_BYTES_MAX:
        field = "input" if prompt.messages is None else "messages"
        remedy = f"send at most {PROMPT_RECORD_BYTES_MAX} bytes, escapes included"
        raise InvalidField(field, f"takes {size} bytes as JSON", remedy, code="prompt_too_large")


def utf8_bytes(field: str, text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise InvalidField(field, "holds half a surrogate pair", "send well-formed Unicode") from None
