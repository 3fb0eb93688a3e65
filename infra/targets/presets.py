"""What is known of providers and models beforehand, so that a file need not say it.

A preset gives a provider's address, the variable its users keep the key in, and what its models can usually do.
Abilities differ by model: a preset claims only what nearly all models of the provider have, as a wrong claim sends a
prompt where it must fail, and a missing one only elsewhere. A file overrides any of it. Looked up in November 2026 at
the pages named beside each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from infra.targets.model_catalogue import Ability, Target

__all__ = ["CHAINS", "PRESETS", "SIMULATED", "KnownModel", "Preset", "is_simulated", "known_model"]

SIMULATED: Final = "simulated"
MODEL_LOADING_S: Final = 120.0
LOCAL_CALLS: Final = 1
"""Calls at once to begin with, at a server on a machine of one's own: whether it answers two, and as fast, is seen from
how it answers one. Each second doubles them as long as nobody waits for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A provider's defaults."""

    meaning: str
    """Whose API it is."""
    base_url: str
    key_env: str = ""
    """Variable of the key; empty = none is needed."""
    abilities: frozenset[Ability] = frozenset()
    prefix_fields: tuple[tuple[str, bool], ...] = ()
    """Request fields that make it continue an assistant message, besides the message itself."""
    price_provider: str = ""
    """How the price list calls it; empty = what it costs is the operator's own affair."""
    context_tokens: int | None = None
    """Context window where neither file nor model say; None = the setting's."""
    concurrent_max: int | None = None
    """Calls that the program answers at once, however it is set up; None = it depends, and is learned."""
    concurrent_start: int | None = None
    """Calls of one worker at once until it has learned how many are right, where the file does not say; None = any."""
    loads_s: float | None = None
    """How long a call may wait for its model to be loaded before another target is given it; None = it is in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """What a model is, whoever serves it."""

    weights: str
    context_tokens: int | None = None
    reasons: bool = False
    """Whether it may be silent for minutes before its first token."""


PRESETS: Final[Mapping[str, Preset]] = MappingProxyType(
    {
        # https://platform.openai.com/docs/api-reference/chat
        "openai": Preset(
            meaning="OpenAI",
            base_url="https://api.openai.com/v1",
            key_env="OPENAI_API_KEY",
            abilities=frozenset({"vision", "tools", "json"}),
            price_provider="openai",
        ),
        # https://console.groq.com/docs/openai and, for continuing a message, https://console.groq.com/docs/prompting
        "groq": Preset(
            meaning="Groq",
            base_url="https://api.groq.com/openai/v1",
            key_env="GROQ_API_KEY",
            abilities=frozenset({"tools", "json", "prefix"}),
            price_provider="groq",
        ),
        # https://docs.together.ai/docs/inference/openai-compatibility (api.together.xyz is the older name)
        "together": Preset(
            meaning="Together AI",
            base_url="https://api.together.ai/v1",
            key_env="TOGETHER_API_KEY",
            abilities=frozenset({"tools", "json"}),
            price_provider="together",
        ),
        # https://openrouter.ai/docs/api-reference/overview; whether a message is continued depends on the model
        "openrouter": Preset(
            meaning="OpenRouter",
            base_url="https://openrouter.ai/api/v1",
            key_env="OPENROUTER_API_KEY",
            abilities=frozenset({"tools", "json"}),
            price_provider="openrouter",
        ),
        # https://platform.claude.com/docs/en/api/openai-sdk: `response_format` is ignored there, so no json; since
        # Claude 4.6 a message that ends in the assistant's words is refused with 400, so no prefix
        "anthropic": Preset(
            meaning="Anthropic's OpenAI-compatible endpoint",
            base_url="https://api.anthropic.com/v1",
            key_env="ANTHROPIC_API_KEY",
            abilities=frozenset({"vision", "tools"}),
            price_provider="anthropic",
        ),
        # https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html; tools need a flag of the server's
        "vllm": Preset(
            meaning="a vLLM server",
            base_url="http://127.0.0.1:8000/v1",
            abilities=frozenset({"json", "prefix"}),
            prefix_fields=(("add_generation_prompt", False), ("continue_final_message", True)),
            concurrent_start=LOCAL_CALLS,
        ),
        # https://github.com/ggml-org/llama.cpp/tree/master/tools/server; whether it calls functions depends on the
        # model's template
        "llama-server": Preset(
            meaning="llama.cpp's llama-server",
            base_url="http://127.0.0.1:8080/v1",
            abilities=frozenset({"json"}),
            concurrent_start=LOCAL_CALLS,
        ),
        # https://llama-cpp-python.readthedocs.io/en/latest/server/; the context that it sets by itself. One lock is
        # around its model: a second call waits, or cuts the first one (`interrupt_requests`, on unless it is told)
        "llama-cpp-python": Preset(
            meaning="the server of llama-cpp-python",
            base_url="http://127.0.0.1:8000/v1",
            abilities=frozenset({"json"}),
            context_tokens=2_048,
            concurrent_max=1,
        ),
        # https://docs.ollama.com/api/openai-compatibility; the smallest context that the server sets by itself; the
        # first answer waits until the model is in memory
        "ollama": Preset(
            meaning="an Ollama server",
            base_url="http://127.0.0.1:11434/v1",
            abilities=frozenset({"tools", "json"}),
            context_tokens=4_096,
            loads_s=MODEL_LOADING_S,
            concurrent_start=LOCAL_CALLS,
        ),
        # our own; its address is made from TOKENWIRE_PROVIDER_PORT
        SIMULATED: Preset(
            meaning="the simulated provider", base_url="", abilities=frozenset({"tools", "json", "prefix"})
        ),
    }
)

CHAINS: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = MappingProxyType(
    {
        "llama": (
            ("groq:llama-3.3-70b-versatile",),
            ("together:meta-llama/Llama-3.3-70B-Instruct-Turbo",),
            ("openai:gpt-4.1-mini",),
        )
    }
)
"""Ready-made lists of targets: entries in order, equals within an entry."""

LLAMA_3_3_70B: Final = KnownModel(weights="llama-3.3-70b", context_tokens=131_072)

KNOWN_MODELS: Final[Mapping[str, KnownModel]] = MappingProxyType(
    {
        "llama-3.3-70b-versatile": LLAMA_3_3_70B,  # Groq
        "meta-llama/llama-3.3-70b-instruct-turbo": LLAMA_3_3_70B,  # Together
        "meta-llama/llama-3.3-70b-instruct": LLAMA_3_3_70B,  # OpenRouter, vLLM
        "llama3.3": KnownModel(weights="llama-3.3-70b"),  # Ollama, whose server sets the context
        "llama3.3:70b": KnownModel(weights="llama-3.3-70b"),
        "gpt-4.1": KnownModel(weights="gpt-4.1", context_tokens=1_047_576),
        "gpt-4.1-mini": KnownModel(weights="gpt-4.1-mini", context_tokens=1_047_576),
        "gpt-4.1-nano": KnownModel(weights="gpt-4.1-nano", context_tokens=1_047_576),
        "gpt-4o": KnownModel(weights="gpt-4o", context_tokens=128_000),
        "gpt-4o-mini": KnownModel(weights="gpt-4o-mini", context_tokens=128_000),
        "o3": KnownModel(weights="o3", context_tokens=200_000),
        "o3-mini": KnownModel(weights="o3-mini", context_tokens=200_000),
        "o4-mini": KnownModel(weights="o4-mini", context_tokens=200_000),
        "gpt-5": KnownModel(weights="gpt-5", context_tokens=400_000),
        "gpt-5-mini": KnownModel(weights="gpt-5-mini", context_tokens=400_000),
        "gpt-5-nano": KnownModel(weights="gpt-5-nano", context_tokens=400_000),
        "gpt-oss-20b": KnownModel(weights="gpt-oss-20b", context_tokens=131_072),
        "gpt-oss-120b": KnownModel(weights="gpt-oss-120b", context_tokens=131_072),
    }
)
"""By the provider's name for it in small letters, without `openai/` before it."""

REASONING_FAMILIES: Final = ("o1", "o3", "o4", "gpt-5", "deepseek-r1", "deepseek-reasoner")
"""Models that may be silent for minutes before their first token."""


def known_model(model: str) -> KnownModel:
    """What is known of a model by what its provider calls it; of a stranger, that it is like none but itself."""
    name = model.lower().removeprefix("openai/")
    known = KNOWN_MODELS.get(name) or KnownModel(weights=name)
    if is_reasoning(name.rpartition("/")[2]):
        return replace(known, reasons=True)
    return known


def is_reasoning(name: str) -> bool:
    return any(
        name == family or name.startswith((f"{family}-", f"{family}.", f"{family}:")) for family in REASONING_FAMILIES
    )


def is_simulated(target: Target) -> bool:
    """Whether this target's answers are made up by the simulated provider."""
    return SIMULATED in (target.provider, target.preset)
