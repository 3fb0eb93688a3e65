"""What a model server is, by what it answers: which program, which models it has, how large their context is.

Ports say nothing: 8000 is vLLM's and llama-cpp-python's, 8080 is llama-server's and our own gateway's. Servers that
speak OpenAI's language differ in what `GET /v1/models` says of whom the models belong to (`owned_by`), in the `Server`
header, and in the addresses of their own that they answer. Whoever is not recognised has no abilities, which is always
safe.

Pure, and everything here comes from a stranger: of any answer only what has the expected shape counts, names are short
and printable, contexts within bounds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

__all__ = ["CONTEXT_TOKENS_MAX", "MODELS_MAX", "ServerFacts", "facts_of", "with_props", "with_show"]

MODELS_MAX: Final = 100
NAMES_SHOWN_MAX: Final = 8
NAME: Final = re.compile(r"[!-~][ -~]{0,198}[!-~]|[!-~]")
CONTEXT_TOKENS_MIN: Final = 256
CONTEXT_TOKENS_MAX: Final = 100_000_000
OWNERS: Final[Mapping[str, str]] = {
    "vllm": "vllm",
    "llamacpp": "llama-server",
    "me": "llama-cpp-python",
    "library": "ollama",
    "tokenwire": "simulated",
}
"""`owned_by` of the listed models, and the preset of the program that says so."""
CONTEXT_FIELDS: Final = ("max_model_len", "n_ctx", "context_length", "context_window")
NUM_CTX: Final = re.compile(r"^num_ctx\s+(\d{1,9})\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a server said of itself."""

    preset: str = ""
    """The program's preset; empty = not recognised."""
    models: tuple[str, ...] = ()
    """The models that it says it has, in its order."""
    context_tokens: Mapping[str, int] | None = None
    """By model, where it is told."""

    @property
    def own_model(self) -> str:
        """The model of a call that names none: a lone one, or the first of a recognised server; else empty."""
        return self.models[0] if self.models and (self.preset or len(self.models) == 1) else ""

    def context_of(self, model: str) -> int | None:
        """The context of a model, where it is told."""
        return (self.context_tokens or {}).get(model)

    @property
    def models_shown(self) -> str:
        """The models in a sentence."""
        shown = ", ".join(self.models[:NAMES_SHOWN_MAX])
        return f"{shown} and {len(self.models) - NAMES_SHOWN_MAX} more" if len(self.models) > NAMES_SHOWN_MAX else shown


def facts_of(listing: object, server_header: str = "", *, has_ollama_version: bool = False) -> ServerFacts:
    """The facts in the answer to `GET /v1/models`."""
    entries = [entry for entry in dicts_in(listing, "data") if is_model_name(entry.get("id"))][:MODELS_MAX]
    owners = {owner for entry in entries if isinstance(owner := entry.get("owned_by"), str)}
    recognised = {OWNERS[owner] for owner in owners if owner in OWNERS}
    preset = recognised.pop() if len(recognised) == 1 else ""
    if has_ollama_version:
        preset = "ollama"
    elif server_header.lower().startswith("llama.cpp"):
        preset = "llama-server"
    told = {entry["id"]: tokens for entry in entries if (tokens := context_told(entry)) is not None}
    return ServerFacts(preset, tuple(entry["id"] for entry in entries), told)


def with_props(facts: ServerFacts, props: object) -> ServerFacts:
    """The facts with what llama-server's `GET /props` says: one context for whatever model it serves."""
    settings = props.get("default_generation_settings") if isinstance(props, dict) else None
    tokens = context_told(settings) if isinstance(settings, dict) else None
    if tokens is None:
        return facts
    return replace(facts, context_tokens=dict.fromkeys(facts.models, tokens))


def with_show(facts: ServerFacts, model: str, shown: object) -> ServerFacts:
    """The facts with what Ollama's `POST /api/show` says of a model: the context that its file sets, if it does."""
    parameters = shown.get("parameters") if isinstance(shown, dict) else None
    found = NUM_CTX.search(parameters) if isinstance(parameters, str) else None
    tokens = context_within(int(found[1])) if found else None
    if tokens is None:
        return facts
    return replace(facts, context_tokens={**(facts.context_tokens or {}), model: tokens})


def context_told(entry: Mapping[str, Any]) -> int | None:
    """The context in an entry or in its `meta`; what a model was trained with is no promise of what it runs with."""
    meta = entry.get("meta")
    for place in (entry, meta if isinstance(meta, dict) else {}):
        for field in CONTEXT_FIELDS:
            tokens = context_within(place.get(field))
            if tokens is not None:
                return tokens
    return None


def context_within(value: object) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if CONTEXT_TOKENS_MIN <= value <= CONTEXT_TOKENS_MAX else None


def is_model_name(value: object) -> bool:
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def dicts_in(value: object, key: str) -> list[dict[str, Any]]:
    listed = value.get(key) if isinstance(value, dict) else None
    return [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
