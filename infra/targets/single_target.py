"""The catalogue without a file: every model at the one provider that the settings name."""

from __future__ import annotations

from urllib.parse import urlsplit

from infra.settings import Settings
from infra.targets.model_catalogue import Ability, ModelCatalogue, ServedModel, Target
from infra.targets.presets import SIMULATED, known_model
from infra.targets.served_models import deadlines_of, deadlines_stated

__all__ = ["PROVIDER_KEY", "single_target"]

PROVIDER_KEY = "TOKENWIRE_PROVIDER_KEY"
ALL_BUT_PREFIX: frozenset[Ability] = frozenset({"vision", "tools", "json"})
"""A lone target is not passed over for what it may not be able to do: the provider itself says no."""


def single_target(settings: Settings, key_env: str) -> ModelCatalogue:
    """`TOKENWIRE_MODEL` and `TOKENWIRE_MODELS` at `TOKENWIRE_PROVIDER_URL`, OpenAI or the simulated provider.

    Answers of the simulated provider go round in circles by nature, so they are not watched for that.
    """
    host = urlsplit(settings.provider_base_url or "").hostname or "openai"
    provider = SIMULATED if settings.simulated else host
    return ModelCatalogue(
        models={
            model: ServedModel(
                name=model,
                targets=(target_of(settings, provider, model, key_env),),
                weights=model,
                watch_repetition=not settings.simulated,
                watch_gibberish=not settings.simulated,
                answer_tokens_max=settings.answer_tokens_max,
            )
            for model in settings.known_models
        },
        default=settings.default_model,
    )


def target_of(settings: Settings, provider: str, model: str, key_env: str) -> Target:
    return Target(
        name=f"{provider}:{model}",
        provider=provider,
        base_url=settings.provider_base_url,
        key_env=key_env,
        model=model,
        weights=model,
        rank=0,
        abilities=ALL_BUT_PREFIX,
        context_tokens=settings.context_tokens,
        **deadlines_of(deadlines_stated(settings), known_model(model), None),
    )
