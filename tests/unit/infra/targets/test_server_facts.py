"""What a server is, by its answers. The answers are shaped as each program's own documentation and source show them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.targets.presets import PRESETS
from infra.targets.server_facts import (
    CONTEXT_TOKENS_MAX,
    MODELS_MAX,
    OWNERS,
    ServerFacts,
    facts_of,
    with_props,
    with_show,
)

__all__: list[str] = []

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["data", "id", "owned_by", "meta", "n_ctx", "max_model_len", "parameters", "x"]), inner
        )
    ),
    max_leaves=20,
)


def listing(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"object": "list", "data": list(entries)}


VLLM = listing({"id": "meta-llama/Llama-3.2-1B", "object": "model", "owned_by": "vllm", "max_model_len": 8_192})
LLAMA_SERVER = listing({"id": "m.gguf", "owned_by": "llamacpp", "meta": {"n_ctx_train": 131_072, "n_params": 1}})
LLAMA_CPP_PYTHON = listing({"id": "m.gguf", "object": "model", "owned_by": "me", "permissions": []})
OLLAMA = listing({"id": "llama3.2:latest", "owned_by": "library"}, {"id": "qwen3:4b", "owned_by": "library"})


@pytest.mark.parametrize(
    ("body", "server", "preset", "own_model", "context_tokens"),
    [
        (VLLM, "uvicorn", "vllm", "meta-llama/Llama-3.2-1B", 8_192),
        (LLAMA_SERVER, "llama.cpp", "llama-server", "m.gguf", None),
        (LLAMA_CPP_PYTHON, "uvicorn", "llama-cpp-python", "m.gguf", None),
        (OLLAMA, "", "ollama", "llama3.2:latest", None),
        (listing({"id": "only", "owned_by": "somebody"}), "", "", "only", None),
        (listing({"id": "a", "owned_by": "somebody"}, {"id": "b", "owned_by": "else"}), "", "", "", None),
        (listing({"id": "a", "owned_by": "vllm"}, {"id": "b", "owned_by": "me"}), "", "", "", None),
        (listing(), "nginx", "", "", None),
        (None, "", "", "", None),
    ],
)
def test_who_it_is(body: object, server: str, preset: str, own_model: str, context_tokens: int | None) -> None:
    """By whom the models belong to and the header; two answers that contradict each other are none."""
    facts = facts_of(body, server)

    assert (facts.preset, facts.own_model, facts.context_of(own_model)) == (preset, own_model, context_tokens)


def test_every_owner_has_a_preset() -> None:
    """What is recognised is known."""
    assert set(OWNERS.values()) <= set(PRESETS)


def test_context_of_llama_server() -> None:
    """What it runs with, not what the model was trained with."""
    facts = with_props(facts_of(LLAMA_SERVER), {"default_generation_settings": {"n_ctx": 4_096}})

    assert facts.context_of("m.gguf") == 4_096
    assert with_props(facts_of(LLAMA_SERVER), {"error": "off"}) == facts_of(LLAMA_SERVER)


def test_context_of_ollama() -> None:
    """What the model's file sets; the length it was trained with is not what it is run with."""
    shown = {
        "parameters": 'stop "x"\nnum_ctx          16384',
        "model_info": {"llama.context_length": 131_072},
    }

    assert with_show(facts_of(OLLAMA), "llama3.2:latest", shown).context_of("llama3.2:latest") == 16_384
    assert with_show(facts_of(OLLAMA), "llama3.2:latest", {"parameters": ""}) == facts_of(OLLAMA)


def test_names_in_a_sentence() -> None:
    """A long list is cut."""
    assert ServerFacts(models=("a", "b")).models_shown == "a, b"
    assert ServerFacts(models=tuple("abcdefghij")).models_shown == "a, b, c, d, e, f, g, h and 2 more"


@given(body=JSON, more=JSON, server=st.text(max_size=20))
def test_any_answer(body: object, more: object, server: str) -> None:
    """Nothing that a stranger says breaks anything, and what is taken from it is bounded."""
    facts = with_show(with_props(facts_of(body, server), more), "m", more)

    assert len(facts.models) <= MODELS_MAX
    assert all(model.isprintable() and 1 <= len(model) <= 200 for model in facts.models)
    assert all(256 <= tokens <= CONTEXT_TOKENS_MAX for tokens in (facts.context_tokens or {}).values())
    assert facts.preset in ("", *PRESETS)
