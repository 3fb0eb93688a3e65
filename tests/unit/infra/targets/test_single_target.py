"""The one target that the settings name when there is no file."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.settings import load_settings
from infra.targets.catalogue_watch import CatalogueHolder
from infra.targets.model_catalogue import Target
from infra.targets.server_facts import ServerFacts
from infra.targets.targets_file import NO_KEY, LoadedCatalogue, load_catalogue

__all__: list[str] = []


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file in it."""
    monkeypatch.chdir(tmp_path)


def loaded_from(environment: dict[str, str]) -> tuple[LoadedCatalogue, Target]:
    loaded = load_catalogue(load_settings(environment), environment)
    served = loaded.catalogue.find("")
    assert served is not None
    (target,) = served.targets
    return loaded, target


def test_nothing_set_is_the_simulated_provider() -> None:
    """As without any file: no key, our own address, nothing that would cut its endless texts."""
    loaded, target = loaded_from({})
    served = loaded.catalogue.models["simulated"]

    assert (target.name, target.provider, target.base_url) == (
        "simulated:simulated",
        "simulated",
        "http://127.0.0.1:8090/v1",
    )
    assert loaded.key_of(target) == NO_KEY
    assert not served.watch_repetition
    assert (loaded.source, loaded.warnings) == (None, ())


def test_openai_key_alone_is_openai() -> None:
    """The client's own address, so that its own variables still count."""
    loaded, target = loaded_from({"OPENAI_API_KEY": "k1"})

    assert (target.provider, target.base_url, target.model) == ("openai", None, "gpt-4.1-mini")
    assert target.key_env == "OPENAI_API_KEY"
    assert loaded.key_of(target).get_secret_value() == "k1"
    assert loaded.catalogue.models["gpt-4.1-mini"].watch_repetition


def test_server_that_has_not_said_what_it_is() -> None:
    """Its own model has a name for users, no abilities, and the setting's context."""
    loaded, target = loaded_from({"TOKENWIRE_PROVIDER_URL": "http://127.0.0.1:8000/v1"})

    assert loaded.catalogue.known_models == ("default",)
    assert (target.model, target.preset, target.abilities, target.context_tokens) == ("", "", frozenset(), 128_000)


@pytest.mark.parametrize(
    ("facts", "environment", "expected"),
    [
        (ServerFacts("vllm", ("m",), {"m": 8_192}), {}, ("m", "vllm", 8_192, True)),
        (ServerFacts("llama-cpp-python", ("m",)), {}, ("m", "llama-cpp-python", 2_048, False)),
        (ServerFacts("", ("m",)), {}, ("m", "", 128_000, False)),
        (ServerFacts("vllm", ("m",), {"m": 8_192}), {"TOKENWIRE_MODEL": "x"}, ("x", "vllm", 128_000, True)),
        (
            ServerFacts("vllm", ("m",), {"m": 8_192}),
            {"TOKENWIRE_CONTEXT_TOKENS": "4096"},
            ("m", "vllm", 4_096, True),
        ),
    ],
)
def test_server_that_has_said_what_it_is(
    facts: ServerFacts, environment: dict[str, str], expected: tuple[str, str, int, bool]
) -> None:
    """Model, preset, context, and whether it goes on from a text; settings that are set win."""
    environment |= {"TOKENWIRE_PROVIDER_URL": "http://127.0.0.1:8000/v1"}
    holder = CatalogueHolder(load_settings(environment), environment)
    holder.learn(facts)
    (target,) = holder.current.models[holder.current.default].targets

    assert (target.model, target.preset, target.context_tokens, "prefix" in target.abilities) == expected
    holder.reload()
    assert holder.current.models[holder.current.default].targets == (target,)


@pytest.mark.parametrize(
    ("url", "preset", "model"),
    [
        ("https://api.groq.com/openai/v1", "groq", ""),
        ("https://api.openai.com/v1", "openai", "gpt-4.1-mini"),
        ("http://127.0.0.1:11434/v1", "", ""),
    ],
)
def test_services_are_known_by_their_host(url: str, preset: str, model: str) -> None:
    """A port says nothing, a service's host does; OpenAI's hosted models have their default."""
    _, target = loaded_from({"TOKENWIRE_PROVIDER_URL": url, "OPENAI_API_KEY": "k"})

    assert (target.preset, target.model) == (preset, model)


def test_provider_of_the_settings_serves_every_model() -> None:
    """Deadlines, context and answer length are the settings'."""
    loaded, target = loaded_from(
        {
            "TOKENWIRE_PROVIDER_URL": "https://llm.example/v1",
            "TOKENWIRE_PROVIDER_KEY": "k2",
            "OPENAI_API_KEY": "k1",
            "TOKENWIRE_MODEL": "a",
            "TOKENWIRE_MODELS": "b,a,c",
            "TOKENWIRE_FIRST_TOKEN_S": "5",
            "TOKENWIRE_TURN_S": "60",
            "TOKENWIRE_CONTEXT_TOKENS": "8000",
            "TOKENWIRE_ANSWER_TOKENS_MAX": "100",
        }
    )

    assert loaded.catalogue.known_models == ("a", "b", "c")
    assert [model.targets[0].provider for model in loaded.catalogue.models.values()] == ["llm.example"] * 3
    assert (target.first_token_s, target.total_s, target.context_tokens) == (5, 60, 8_000)
    assert loaded.catalogue.models["c"].answer_tokens_max == 100
    assert target.key_env == "TOKENWIRE_PROVIDER_KEY"
    assert loaded.key_of(target).get_secret_value() == "k2"
    assert "k2" not in repr(loaded)


@pytest.mark.parametrize(
    ("preset", "at_once"), [("llama-cpp-python", (1, None)), ("vllm", (None, 1)), ("", (None, None))]
)
def test_calls_at_once_of_a_server_that_has_said_what_it_is(
    preset: str, at_once: tuple[int | None, int | None]
) -> None:
    """A program that answers one at a time by its nature is stated so; of others it is learned."""
    environment = {"TOKENWIRE_PROVIDER_URL": "http://127.0.0.1:8000/v1"}
    holder = CatalogueHolder(load_settings(environment), environment)
    holder.learn(ServerFacts(preset, ("m",)))
    (target,) = holder.current.models[holder.current.default].targets

    assert (target.concurrent_max, target.concurrent_start) == at_once
