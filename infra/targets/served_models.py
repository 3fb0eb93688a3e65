"""Models and their targets out of checked tables, presets, settings and the keys that are set.

Where several say something about a target, the nearest wins: its own table, the model's deadlines, the provider's
table, what is known of the model, the preset, the settings.

A target whose key is not set cannot be used and is left out with a warning; a model all of whose targets are left out
is a fault, as prompts for it could only fail.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final
from urllib.parse import urlsplit

from infra.network_environment import is_loopback
from infra.settings import Settings
from infra.targets.file_keys import DEADLINE_KEYS
from infra.targets.file_tables import CheckedTable, FileTables, Findings, place_of
from infra.targets.file_values import did_you_mean, shown, split_target
from infra.targets.first_token import first_token_limits
from infra.targets.model_catalogue import ServedModel, Target
from infra.targets.presets import CHAINS, PRESETS, SIMULATED, KnownModel, Preset, known_model

__all__ = ["Provider", "ServedModels", "deadlines_of", "deadlines_stated"]

MODEL_FLAGS: Final = ("substitute", "overflow", "hedge", "watch_repetition", "watch_gibberish")
PLAIN: Final = Preset(meaning="any OpenAI-compatible API", base_url="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """Where targets of a provider are reached, and with what."""

    name: str
    preset_name: str
    preset: Preset
    base_url: str
    key_env: str
    values: Mapping[str, Any]
    """What its table says of its targets."""


class ServedModels:
    """Builds the models of one file. Faults and warnings go to `findings`."""

    def __init__(
        self, tables: FileTables, findings: Findings, *, settings: Settings, environment: Mapping[str, str] | None
    ) -> None:
        """Without an environment (None) keys are not asked for."""
        self._tables = tables
        self._findings = findings
        self._settings = settings
        self._environment = environment
        self._providers: dict[str, Provider | None] = {}
        """None = faulty, which has been said."""
        self._targets_listed: set[str] = set()

    def build(self) -> dict[str, ServedModel]:
        """Every model that can be served, in the order of the file."""
        for name, table in self._tables.providers.items():
            self._providers[name] = self.provider_of_table(name, table)
        for name in PRESETS:
            if name not in self._providers:
                self._providers[name] = self.provider_from(name, name, {})
        built = {name: self.model(name, table) for name, table in self._tables.models.items()}
        self.warn_of_unused()
        return {name: model for name, model in built.items() if model is not None}

    # ---- Providers

    def provider_of_table(self, name: str, table: CheckedTable) -> Provider | None:
        if "preset" in table.faulty:
            return None
        preset_name = table.values.get("preset", name if name in PRESETS else "")
        if not preset_name and not table.states("base_url"):
            remedy = f"give it one of the two; presets are {', '.join(PRESETS)}"
            self._findings.fault(table.place, "has neither a preset nor a base_url", remedy)
            return None
        provider = self.provider_from(name, preset_name, table.values)
        if not table.states("key_env") and provider.key_env and host_of(provider) != host_of_preset(provider):
            self._findings.fault(
                table.place,
                f"would send the key of {provider.key_env} to another address than the preset's",
                'name the variable of the right key with key_env, or write key_env = "" if none is needed',
            )
            return None
        if table.faulty & {"base_url", "key_env"}:
            return None
        return provider

    def provider_from(self, name: str, preset_name: str, values: Mapping[str, Any]) -> Provider:
        preset = PRESETS.get(preset_name, PLAIN)
        base_url = values.get("base_url") or preset.base_url
        if preset_name == SIMULATED and not values.get("base_url"):
            base_url = f"http://127.0.0.1:{self._settings.provider_port}/v1"
        return Provider(
            name=name,
            preset_name=preset_name,
            preset=preset,
            base_url=base_url.rstrip("/"),
            key_env=values.get("key_env", preset.key_env),
            values=values,
        )

    # ---- Models

    def model(self, name: str, table: CheckedTable) -> ServedModel | None:
        entries = self.entries(table)
        if entries is None:
            return None
        self._targets_listed.update(target for equals in entries for target in equals)
        if not self.providers_known(table, entries):
            return None
        listed = [self.target(target, rank, table) for rank, equals in enumerate(entries) for target in equals]
        weights = listed[0].weights
        allowed = [target for target in listed if table.values.get("substitute", True) or target.weights == weights]
        for target in listed:
            if target not in allowed:
                self._findings.warn(
                    table.place, f"never uses {target.name}: substitute = false, and it is another model than {weights}"
                )
        self.check_cache(table)
        usable = self.usable(table, allowed)
        if not usable:
            return None
        return ServedModel(
            name=name,
            targets=tuple(usable),
            weights=weights,
            cache_s=table.values.get("cache_s"),
            cache_tenants=frozenset(table.values.get("cache_tenants", ())),
            answer_tokens_max=table.values.get("answer_tokens_max", self._settings.answer_tokens_max),
            **{flag: table.values[flag] for flag in MODEL_FLAGS if flag in table.values},
        )

    def check_cache(self, table: CheckedTable) -> None:
        for key, other, example in (
            ("cache_s", "cache_tenants", 'cache_tenants = ["acme"], or ["*"] for every tenant'),
            ("cache_tenants", "cache_s", "cache_s = 3600"),
        ):
            if key in table.values and not table.states(other):
                self._findings.fault(table.place, f"has {key} without {other}", f"add {example}, or take {key} out")

    def entries(self, table: CheckedTable) -> tuple[tuple[str, ...], ...] | None:
        """The names of its targets by rank; None = that is faulty, which is then said."""
        if "targets" in table.values and "chain" in table.values:
            self._findings.fault(table.place, "has both targets and a chain", "keep one of the two")
        elif not table.states("targets") and not table.states("chain"):
            remedy = 'add targets = ["provider:model"], or chain = "llama"'
            self._findings.fault(table.place, "has no targets", remedy)
        elif "chain" in table.values:
            return CHAINS[table.values["chain"]]
        elif "targets" in table.values:
            return tuple(tuple(entry) if isinstance(entry, list) else (entry,) for entry in table.values["targets"])
        return None

    def providers_known(self, table: CheckedTable, entries: tuple[tuple[str, ...], ...]) -> bool:
        names = dict.fromkeys(provider_and_model(target)[0] for equals in entries for target in equals)
        for name in [name for name in names if name not in self._providers]:
            self._findings.fault(
                f"{table.place} targets",
                f"names the provider {shown(name)}, which is no preset and has no table",
                f"add {place_of('providers', name)}, or {did_you_mean(name, sorted(self._providers))}",
            )
        return all(self._providers.get(name) is not None for name in names)

    def usable(self, table: CheckedTable, targets: list[Target]) -> list[Target]:
        if self._environment is None:
            return targets
        missing = [target for target in targets if target.key_env and not self.key(target.key_env)]
        if len(missing) == len(targets):
            variables = list(dict.fromkeys(target.key_env for target in missing))
            choice = variables[0] if len(variables) == 1 else f"one of {', '.join(variables)}"
            self._findings.fault(table.place, "has no target that can be used", f"set {choice} and start again")
            return []
        for target in missing:
            self._findings.warn(
                table.place, f"goes without {target.name}: {target.key_env} is not set; set it and start again"
            )
        return [target for target in targets if target not in missing]

    def key(self, variable: str) -> str:
        """The key that a variable holds; empty where it is not set."""
        return "" if self._environment is None else self._environment.get(variable, "").strip()

    # ---- Targets

    def target(self, name: str, rank: int, model_table: CheckedTable) -> Target:
        provider_name, model = provider_and_model(name)
        provider = self._providers[provider_name]
        assert provider is not None
        own = self._tables.targets.get(name)
        deadlines = {key: value for key, value in model_table.values.items() if key in DEADLINE_KEYS}
        said = ChainMap(
            {} if own is None else dict(own.values),
            deadlines,
            dict(provider.values),
            stated(known_model(model)),
            stated(provider.preset),
            {"context_tokens": self._settings.context_tokens, "price_ref": price_ref(provider, model)},
            deadlines_stated(self._settings),
        )
        abilities = frozenset(said["abilities"])
        return Target(
            name=name,
            provider=provider.name,
            preset=provider.preset_name,
            base_url=provider.base_url,
            key_env=provider.key_env,
            model=model,
            weights=said["weights"],
            rank=rank,
            requests_per_minute=said.get("requests_per_minute"),
            tokens_per_minute=said.get("tokens_per_minute"),
            concurrent_max=said.get("concurrent_max"),
            concurrent_start=said.get("concurrent_start"),
            max_tokens_field=said.get("max_tokens_field"),
            abilities=abilities,
            prefix_fields=provider.preset.prefix_fields if "prefix" in abilities else (),
            context_tokens=said["context_tokens"],
            price_ref=said["price_ref"],
            **deadlines_of(said, known_model(model), provider.preset),
        )

    def warn_of_unused(self) -> None:
        providers_listed = {provider_and_model(target)[0] for target in self._targets_listed}
        for name, table in self._tables.providers.items():
            if name not in providers_listed:
                self._findings.warn(table.place, "is used by no model")
            else:
                self.warn_of_open_key(table, self._providers[name])
        for name, table in self._tables.targets.items():
            if name not in self._targets_listed:
                self._findings.warn(table.place, "is used by no model")

    def warn_of_open_key(self, table: CheckedTable, provider: Provider | None) -> None:
        if provider is None or not provider.key_env or not provider.base_url.startswith("http:"):
            return
        if not is_loopback(provider.base_url):
            self._findings.warn(table.place, f"sends the key of {provider.key_env} unencrypted: its base_url is http")


def deadlines_of(said: Mapping[str, Any], known: KnownModel, preset: Preset | None) -> dict[str, Any]:
    """The deadlines of a target, by its fields, of which the operator states all but perhaps the first token's."""
    limits = first_token_limits(said["first_token_s"], known, preset)
    stated = {key: float(said[key]) for key in DEADLINE_KEYS if key != "first_token_s"}
    return {**stated, "leave_s": limits.leave_s, "first_token_s": limits.first_token_s}


def deadlines_stated(settings: Settings) -> dict[str, Any]:
    """What the settings say of every target's deadlines; None where they leave it to what is known of it."""
    return {
        "connect_s": settings.connect_s,
        "first_token_s": settings.first_token_s,
        "between_tokens_s": settings.between_tokens_s,
        "total_s": settings.turn_s,
    }


def provider_and_model(target: str) -> tuple[str, str]:
    parts = split_target(target)
    assert parts is not None  # checked with the tables
    return parts


def price_ref(provider: Provider, model: str) -> str:
    return f"{provider.preset.price_provider}:{model}" if provider.preset.price_provider else ""


def host_of(provider: Provider) -> str | None:
    return urlsplit(provider.base_url).hostname


def host_of_preset(provider: Provider) -> str | None:
    return urlsplit(provider.preset.base_url).hostname


def stated(values: Any) -> dict[str, Any]:
    """The fields of a preset or a known model that say something of a target."""
    found = {field.name: getattr(values, field.name) for field in fields(values)}
    return {key: value for key, value in found.items() if value is not None}
