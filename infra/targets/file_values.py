"""Whether a value of `tokenwire.toml` is one that its key may hold.

Each check gives what is wrong and what to do about it, or None. A text is shown again only where it is a choice among
names: whatever was pasted into the wrong place stays there.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias, get_args
from urllib.parse import urlsplit

from infra.targets.file_keys import KeyRule, Kind
from infra.targets.model_catalogue import ABILITIES, MAX_TOKENS_FIELDS
from infra.targets.presets import CHAINS, PRESETS
from schemas.tiers import LIMIT_NAMES, Unpriced

__all__ = ["NAME_CHARS_MAX", "Wrong", "did_you_mean", "is_name", "shown", "split_target", "wrong_with"]

Wrong: TypeAlias = tuple[str, str]
"""What is wrong, and what to do."""

NAME_CHARS_MAX: Final = 256
SHOWN_CHARS_MAX: Final = 32
TARGETS_MAX: Final = 64
TENANTS_MAX: Final = 10_000
DOLLARS_MAX: Final = 1_000_000
PATH_CHARS_MAX: Final = 4_096
LIMIT_KEYS: Final = tuple("usd_per_month" if name == "nano_usd_per_month" else name for name in LIMIT_NAMES)
VARIABLE: Final = re.compile(r"[A-Z_][A-Z0-9_]{0,127}\Z")


def wrong_with(rule: KeyRule, value: Any) -> Wrong | None:
    """What is wrong with a key's value."""
    return CHECKS[rule.kind](rule, value)


def is_name(value: object) -> bool:
    """Whether it can name a model, provider or target: printable, of bounded length, without blanks at its ends."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= NAME_CHARS_MAX
        and value == value.strip()
        and all(character.isprintable() for character in value)
    )


def split_target(name: str) -> tuple[str, str] | None:
    """Provider and model of a target's name; a model may hold further colons. None = it is no such name."""
    provider, colon, model = name.partition(":")
    if not colon or not is_name(provider) or not is_name(model):
        return None
    return provider, model


def did_you_mean(word: str, choices: Collection[str]) -> str:
    """A remedy: the choice that is nearest to the word, or all of them."""
    near = difflib.get_close_matches(word, choices, n=1)
    return f"did you mean {near[0]}?" if near else f"name one of: {', '.join(choices)}"


# ---- One check for each kind


def check_name(_rule: KeyRule, value: Any) -> Wrong | None:
    remedy = f'write it in quotes, up to {NAME_CHARS_MAX} characters, such as "chat"'
    return None if is_name(value) else ("is no name", remedy)


def check_whole(rule: KeyRule, value: Any) -> Wrong | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return "is no whole number", f"write digits alone, such as {max(rule.minimum, 100)}"
    if not rule.minimum <= value <= rule.maximum:
        return f"is {value}", f"write {rule.minimum} to {rule.maximum}, or leave the key out"
    return None


def check_seconds(rule: KeyRule, value: Any) -> Wrong | None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return "is no number of seconds", "write one such as 5.0"
    if not 0 < value <= rule.maximum:
        return f"is {value}", f"write more than 0 and at most {rule.maximum} seconds"
    return None


def check_flag(_rule: KeyRule, value: Any) -> Wrong | None:
    return None if isinstance(value, bool) else ("is neither true nor false", "write true or false, without quotes")


def check_abilities(_rule: KeyRule, value: Any) -> Wrong | None:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        return "is no list of texts", f"write a list of some of: {', '.join(ABILITIES)}"
    for each in value:
        if each not in ABILITIES:
            return f"holds the unknown ability {shown(each)}", did_you_mean(each, ABILITIES)
    return None


def check_choice(kind: str, choices: Collection[str]) -> Callable[[KeyRule, Any], Wrong | None]:
    def check(_rule: KeyRule, value: Any) -> Wrong | None:
        if not isinstance(value, str):
            return "is no text", f"name one of: {', '.join(choices)}"
        if value not in choices:
            return f"is {shown(value)}, an unknown {kind}", did_you_mean(value, choices)
        return None

    return check


def check_url(_rule: KeyRule, value: Any) -> Wrong | None:
    remedy = 'write one such as "https://api.example.com/v1"'
    try:
        parts = urlsplit(value) if isinstance(value, str) else None
        host = parts.hostname if parts is not None and parts.port != 0 else None
    except ValueError:
        return "is no address", remedy
    if parts is None or host is None or parts.scheme not in ("http", "https") or not is_name(value):
        return "is no address", remedy
    if parts.username is not None or parts.password is not None:
        return "holds a user name or a password", "take them out and name the key's variable with key_env"
    if parts.query or parts.fragment:
        return "goes on after its path", "end it before the ? or #"
    return None


def check_variable(_rule: KeyRule, value: Any) -> Wrong | None:
    if isinstance(value, str) and (not value or VARIABLE.match(value)):
        return None
    remedy = 'name one such as "GROQ_API_KEY"; if it is the key itself, take it out of the file and set it there'
    return "is no name of an environment variable", remedy


def check_price(_rule: KeyRule, value: Any) -> Wrong | None:
    if isinstance(value, str) and split_target(value) is not None:
        return None
    return "names no price", 'write provider:model as on the price list, such as "groq:llama-3.3-70b-versatile"'


def check_tenants(_rule: KeyRule, value: Any) -> Wrong | None:
    example = 'write a list such as ["acme", "globex"], or ["*"] for every tenant'
    if not isinstance(value, list):
        return "is no list", example
    if not value:
        return "is empty", example
    if len(value) > TENANTS_MAX:
        return f"holds {len(value)} tenants", f'list at most {TENANTS_MAX}, or write ["*"]'
    return None if all(is_name(each) for each in value) else ("holds an entry that is no name", example)


def check_limits(_rule: KeyRule, value: Any) -> Wrong | None:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        return "is no list of texts", 'write a list of limits, such as ["tokens_per_day"]'
    for each in value:
        if each not in LIMIT_KEYS:
            return f"names the unknown limit {shown(each)}", did_you_mean(each, LIMIT_KEYS)
    return None


def check_model_names(_rule: KeyRule, value: Any) -> Wrong | None:
    example = 'write a list such as ["chat"], or leave the key out for all of them'
    if not isinstance(value, list) or not all(is_name(each) for each in value):
        return "is no list of models", example
    return None if value else ("is empty", example)


def check_dollars(_rule: KeyRule, value: Any) -> Wrong | None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return "is no number of dollars", "write one such as 20.0"
    if not 0 < value <= DOLLARS_MAX:
        return f"is {value}", f"write more than 0 and at most {DOLLARS_MAX} dollars, or leave the key out"
    return None


def check_path(_rule: KeyRule, value: Any) -> Wrong | None:
    if isinstance(value, str) and 0 < len(value) <= PATH_CHARS_MAX and all(each.isprintable() for each in value):
        return None
    return "is no path of a file", 'write one in quotes, such as "users.csv"'


def check_targets(_rule: KeyRule, value: Any) -> Wrong | None:
    example = 'write a list such as ["groq:llama-3.3-70b-versatile", "openai:gpt-4.1-mini"]'
    if not isinstance(value, list):
        return "is no list", example
    if not value:
        return "is empty", example
    names: list[str] = []
    for entry in value:
        equals = entry if isinstance(entry, list) else [entry]
        if not equals:
            return "holds an empty list", "put equals in it, or take it out"
        if not all(isinstance(each, str) for each in equals):
            return "holds an entry that is no text and no list of texts", example
        names.extend(equals)
    return wrong_names(names)


def wrong_names(names: list[str]) -> Wrong | None:
    if len(names) > TARGETS_MAX:
        return f"holds {len(names)} targets", f"list at most {TARGETS_MAX}"
    malformed = [str(place) for place, name in enumerate(names, start=1) if split_target(name) is None]
    if malformed:
        remedy = 'write provider:model, such as "openai:gpt-4.1-mini"'
        return f"holds no target in place {' and '.join(malformed)}", remedy
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        return f"names {twice!r} twice", "take one of them out"
    return None


def shown(text: str) -> str:
    """A name as it is shown again: quoted. What is too long for a name may be a key in the wrong place."""
    return repr(text) if len(text) <= SHOWN_CHARS_MAX else f"a text of {len(text)} characters"


CHECKS: Final[Mapping[Kind, Callable[[KeyRule, Any], Wrong | None]]] = MappingProxyType(
    {
        "name": check_name,
        "whole": check_whole,
        "seconds": check_seconds,
        "flag": check_flag,
        "answer_field": check_choice("field", MAX_TOKENS_FIELDS),
        "abilities": check_abilities,
        "targets": check_targets,
        "chain": check_choice("chain", CHAINS),
        "preset": check_choice("preset", PRESETS),
        "url": check_url,
        "variable": check_variable,
        "price": check_price,
        "tenants": check_tenants,
        "limits": check_limits,
        "model_names": check_model_names,
        "dollars": check_dollars,
        "unpriced": check_choice("answer", get_args(Unpriced)),
        "path": check_path,
    }
)
