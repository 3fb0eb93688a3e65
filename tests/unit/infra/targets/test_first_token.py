"""How long a target may be silent, by what is known of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.settings import load_settings
from infra.targets.first_token import first_token_limits
from infra.targets.presets import PRESETS, KnownModel, known_model
from infra.targets.single_target import single_target

__all__: list[str] = []


@pytest.mark.parametrize(
    ("stated_s", "model", "preset", "limits"),
    [
        (None, "gpt-4.1-mini", "openai", (5, 120)),
        (None, "llama3.2", "ollama", (120, 120)),
        (None, "o3", "openai", (300, 300)),
        (None, "deepseek-r1:8b", "ollama", (300, 300)),
        (7.0, "o3", "openai", (7, 7)),
        (600.0, "llama3.2", "ollama", (600, 600)),
    ],
)
def test_limits_of_a_target(stated_s: float | None, model: str, preset: str, limits: tuple[float, float]) -> None:
    """What is stated, else what reasoning or loading takes, else 5 s with another target and 120 s without."""
    assert first_token_limits(stated_s, known_model(model), PRESETS[preset]) == limits


@given(
    stated_s=st.none() | st.floats(0.001, 86_400),
    reasons=st.booleans(),
    preset=st.none() | st.sampled_from(list(PRESETS.values())),
)
def test_leaving_never_comes_after_giving_up(stated_s: float | None, *, reasons: bool, preset: object) -> None:
    """Whatever is known: and what is stated is both."""
    limits = first_token_limits(stated_s, KnownModel(weights="w", reasons=reasons), preset)  # type: ignore[arg-type]  # drawn from presets

    assert 0 < limits.leave_s <= limits.first_token_s
    assert stated_s is None or limits == (stated_s, stated_s)


@pytest.mark.parametrize(("model", "first_token_s"), [("llama3.2", 120), ("deepseek-r1:8b", 300), ("o4-mini", 300)])
def test_models_that_reason_have_time_to_without_a_file(model: str, first_token_s: float) -> None:
    """They are known by their names, wherever they run."""
    settings = load_settings({"TOKENWIRE_PROVIDER_URL": "http://127.0.0.1:1/v1", "TOKENWIRE_MODEL": model})
    (target,) = single_target(settings, "").models[model].targets

    assert target.first_token_s == first_token_s
