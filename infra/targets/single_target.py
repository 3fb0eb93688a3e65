"""The catalogue without a file: every model at the one provider that the settings name.

What that provider is follows from its host, where that is a known service, else from what the server said of itself
(`server_facts`). A server that is not recognised, or has not been asked yet, has no abilities.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from infra.settings import OWN_MODEL, Settings
from infra.targets.model_catalogue import ModelCatalogue, ServedModel, Target
from infra.targets.presets import PRESETS, SIMULATED, Preset, known_model
from infra.targets.served_models import deadlines_of, deadlines_stated
from infra.targets.server_facts import ServerFacts

__all__ = ["PROVIDER_KEY", "single_target"]

PROVIDER_KEY = "TOKENWIRE_PROVIDER_KEY"
OPENAI = "openai"


def single_target(settings: Settings, key_env: str, server: ServerFacts | None = None) -> ModelCatalogue:
    """`TOKENWIRE_MODEL` and `TOKENWIRE_MODELS` at `TOKENWIRE_PROVIDER_URL`, OpenAI or the simulated provider.

    `server`: what the server at that URL said of itself, once it was asked. Answers of the simulated provider go round
    in circles by nature, so they are not watched for that.
    """
    return ModelCatalogue(
        models={
            model: ServedModel(
                name=model,
                targets=(target_of(settings, model, key_env, server or ServerFacts()),),
                weights=model,
                watch_repetition=not settings.simulated,
                watch_gibberish=not settings.simulated,
                answer_tokens_max=settings.answer_tokens_max,
            )
            for model in settings.known_models
        },
        default=settings.default_model,
    )


def target_of(settings: Settings, name: str, key_env: str, server: ServerFacts) -> Target:
    host = urlsplit(settings.provider_base_url or "").hostname or OPENAI
    provider = SIMULATED if settings.simulated else host
    preset_name = SIMULATED if settings.simulated else preset_of_host(host) or server.preset
    preset = PRESETS.get(preset_name)
    model = server.own_model if name == OWN_MODEL and settings.asks_server and not settings.model else name
    abilities = preset.abilities if preset is not None else frozenset()
    return Target(
        name=f"{provider}:{name}",
        provider=provider,
        preset=preset_name,
        base_url=settings.provider_base_url,
        key_env=key_env,
        model=model,
        weights=name,
        rank=0,
        abilities=abilities,
        prefix_fields=preset.prefix_fields if preset is not None and "prefix" in abilities else (),
        context_tokens=context_of(settings, server.context_of(model), preset),
        concurrent_max=preset.concurrent_max if preset is not None else None,
        concurrent_start=preset.concurrent_start if preset is not None else None,
        **deadlines_of(deadlines_stated(settings), known_model(model), preset),
    )


def context_of(settings: Settings, told: int | None, preset: Preset | None) -> int:
    """The setting where it is set, else what the server told, else the preset's, else the setting's default."""
    if "context_tokens" in settings.model_fields_set:
        return settings.context_tokens
    return told or (preset.context_tokens if preset is not None else None) or settings.context_tokens


def preset_of_host(host: str) -> str:
    """The preset of a known service's host; programs on machines of one's own are not known by their address."""
    services = {urlsplit(preset.base_url).hostname: name for name, preset in PRESETS.items() if preset.key_env}
    return OPENAI if host == OPENAI else services.get(host, "")
