from __future__ import annotations

from pathlib import Path

import genai_prices
import pytest

from infra.settings import load_settings
from infra.targets.file_keys import TABLES
from infra.targets.file_values import split_target, wrong_with
from infra.targets.presets import CHAINS, PRESETS, known_model
from infra.targets.targets_file import load_catalogue

__all__: list[str] = []

REMOTE = {"openai", "groq", "together", "openrouter", "anthropic"}


def test_presets_are_those_that_are_promised() -> None:
    """Five services that need a key, two servers of one's own, and ours."""
    assert {name for name, preset in PRESETS.items() if preset.key_env} == REMOTE
    assert set(PRESETS) - REMOTE == {"vllm", "llama-server", "llama-cpp-python", "ollama", "simulated"}


@pytest.mark.parametrize("name", sorted(set(PRESETS) - {"simulated"}))
def test_preset_would_pass_as_a_file(name: str) -> None:
    """What a preset says is what a file could say; a service is reached encrypted."""
    preset, rules = PRESETS[name], TABLES["providers"]

    assert wrong_with(rules["base_url"], preset.base_url) is None
    assert wrong_with(rules["key_env"], preset.key_env) is None
    assert wrong_with(rules["abilities"], list(preset.abilities)) is None
    assert preset.base_url.endswith("/v1")
    assert preset.base_url.startswith("https://") == (name in REMOTE)


@pytest.mark.parametrize("name", sorted(REMOTE))
def test_one_key_in_the_environment_is_enough(tmp_path: Path, name: str) -> None:
    """A model at any of the services works with nothing but its usual variable."""
    (tmp_path / "tokenwire.toml").write_text(f'[models.chat]\ntargets = ["{name}:some-model"]')
    environment = {PRESETS[name].key_env: "x"}
    loaded = load_catalogue(load_settings(environment, config=tmp_path / "tokenwire.toml"), environment)

    assert loaded.warnings == ()
    assert loaded.catalogue.models["chat"].targets[0].price_ref == f"{name}:some-model"


@pytest.mark.parametrize("key", ["GROQ_API_KEY", "TOGETHER_API_KEY", "OPENAI_API_KEY"])
def test_llama_chain_works_with_any_of_its_keys(tmp_path: Path, key: str) -> None:
    """Groq, the same model at Together, then GPT-4.1 mini: whichever can be reached."""
    (tmp_path / "tokenwire.toml").write_text('[models.chat]\nchain = "llama"')
    loaded = load_catalogue(load_settings({key: "x"}, config=tmp_path / "tokenwire.toml"), {key: "x"})

    (target,) = loaded.catalogue.models["chat"].targets
    assert target.key_env == key


def test_chain_goes_from_one_model_to_itself_elsewhere_to_another() -> None:
    """The first two are the same weights, the third a substitute; each has a price."""
    entries = [split_target(name) for equals in CHAINS["llama"] for name in equals]
    weights = [known_model(entry[1]).weights for entry in entries if entry is not None]

    assert weights == ["llama-3.3-70b", "llama-3.3-70b", "gpt-4.1-mini"]
    for entry in entries:
        assert entry is not None
        usage = genai_prices.Usage(input_tokens=1_000_000, output_tokens=1)
        assert genai_prices.calc_price(usage, model_ref=entry[1], provider_id=entry[0]).total_price > 0


@pytest.mark.parametrize(
    ("model", "weights", "reasons"),
    [
        ("meta-llama/Llama-3.3-70B-Instruct", "llama-3.3-70b", False),
        ("openai/gpt-4o-mini", "gpt-4o-mini", False),
        ("o4-mini", "o4-mini", True),
        ("gpt-5.2", "gpt-5.2", True),
        ("deepseek-ai/DeepSeek-R1", "deepseek-ai/deepseek-r1", True),
        ("deepseek-r1:8b", "deepseek-r1:8b", True),
        ("o1000", "o1000", False),
        ("Someone/Else", "someone/else", False),
    ],
)
def test_models_are_known_by_any_provider_s_name(model: str, weights: str, *, reasons: bool) -> None:
    """A stranger is like none but itself; those that reason get time to."""
    known = known_model(model)

    assert (known.weights, known.reasons) == (weights, reasons)
