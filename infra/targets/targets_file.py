"""Reads `tokenwire.toml` into a catalogue of models: whole, or not at all with every fault named.

The file is TOKENWIRE_CONFIG, else `tokenwire.toml` in the current folder where there is one; without either the
settings' one provider serves everything. Keys come from the environment by the variables that the file names; they are
in no catalogue, no fault and no warning.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from infra.settings import Settings
from infra.targets.file_tables import FileTables, Findings, read_tables, read_text
from infra.targets.file_values import did_you_mean, shown
from infra.targets.model_catalogue import ModelCatalogue, Target
from infra.targets.served_models import ServedModels
from infra.targets.served_tiers import tiers_of
from infra.targets.server_facts import ServerFacts
from infra.targets.single_target import PROVIDER_KEY, single_target
from schemas.tiers import Tiers

__all__ = ["CONFIG_FILE", "NO_KEY", "CatalogueError", "LoadedCatalogue", "load_catalogue", "load_file"]

CONFIG_FILE: Final = "tokenwire.toml"
CONFIG_BYTES_MAX: Final = 1_048_576
NO_KEY: Final = SecretStr("none-needed")
"""What a client that insists on a key is given for a provider that needs none."""


class CatalogueError(Exception):
    """The file is refused whole. `faults` holds a sentence for each: file, place, what is wrong, what to do."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("the models' settings are wrong:" + "".join(f"\n  {fault}" for fault in faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class LoadedCatalogue:
    """A catalogue, where it came from, and what the operator should know."""

    catalogue: ModelCatalogue
    warnings: tuple[str, ...] = ()
    source: Path | None = None
    """The file, absolute; None = the settings alone."""
    keys: Mapping[str, SecretStr] = field(default_factory=dict, repr=False)
    """Keys of the targets that have one, by target name."""
    tiers: Tiers = field(default_factory=Tiers, repr=False)
    """What users may use."""

    @property
    def targets(self) -> Mapping[str, Target]:
        """Those of the catalogue, by name."""
        return self.catalogue.targets

    def key_of(self, target: Target) -> SecretStr:
        """The key to call a target with; NO_KEY where none is needed."""
        return self.keys.get(target.name, NO_KEY)


def load_catalogue(
    settings: Settings,
    environment: Mapping[str, str] | None = None,
    *,
    keys_needed: bool = True,
    server: ServerFacts | None = None,
) -> LoadedCatalogue:
    """The catalogue of the file that the settings name, else of the current folder, else of the settings themselves.

    `environment` replaces the process's own (for tests). Without `keys_needed` every target counts as usable: a
    gateway names models and calls none, so it is given no keys. `server`: what the settings' one provider said of
    itself; a file says that for itself. Raises CatalogueError with every fault found.
    """
    environment = os.environ if environment is None else environment
    here = Path(CONFIG_FILE)
    if settings.config is not None:
        return load_file(settings.config, settings, environment, keys_needed=keys_needed)
    if here.exists():
        return load_file(here, settings, environment, keys_needed=keys_needed)
    return load_settings_alone(settings, environment, server)


def load_file(
    path: Path, settings: Settings, environment: Mapping[str, str], *, keys_needed: bool = True
) -> LoadedCatalogue:
    """The catalogue of one file; see `load_catalogue`. Raises CatalogueError."""
    findings = Findings(str(path))
    document = read_document(path, findings)
    if document is None:
        raise CatalogueError(findings.faults)
    tables = read_tables(document, findings)
    models = ServedModels(tables, findings, settings=settings, environment=environment if keys_needed else None)
    served = models.build()
    default = default_model(document, tables, findings)
    tiers = tiers_of(document, tables, findings, folder=path.parent, models=tables.models)
    if findings.faults:
        raise CatalogueError(findings.faults)
    warn_of_settings(settings, findings)
    catalogue = ModelCatalogue(served, default)
    keys = {name: SecretStr(models.key(target.key_env)) for name, target in catalogue.targets.items() if target.key_env}
    return LoadedCatalogue(catalogue, tuple(findings.warnings), path.absolute(), keys if keys_needed else {}, tiers)


def load_settings_alone(
    settings: Settings, environment: Mapping[str, str], server: ServerFacts | None
) -> LoadedCatalogue:
    key = settings.provider_key
    if not key.get_secret_value():
        return LoadedCatalogue(single_target(settings, "", server))
    key_env = (
        "OPENAI_API_KEY" if not environment.get(PROVIDER_KEY) and environment.get("OPENAI_API_KEY") else PROVIDER_KEY
    )
    catalogue = single_target(settings, key_env, server)
    return LoadedCatalogue(catalogue, keys=dict.fromkeys(catalogue.targets, key))


def read_document(path: Path, findings: Findings) -> dict[str, Any] | None:
    remedy = "mend that, or set TOKENWIRE_CONFIG to another"
    text = read_text(path, findings, what="the file", remedy=remedy, bytes_max=CONFIG_BYTES_MAX)
    if text is None:
        return None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason = str(error)
        findings.fault("the file", f"is no TOML: {reason[:1].lower()}{reason[1:]}", "mend that place")
    except RecursionError:
        findings.fault("the file", "nests too deep", "write it flat")
    return None


def default_model(document: Mapping[str, Any], tables: FileTables, findings: Findings) -> str:
    """The default model's name. That there are none, or none of this name, is a fault."""
    listed = document.get("models", {})
    if listed == {}:
        remedy = 'add one, such as [models.chat] with targets = ["openai:gpt-4.1-mini"]'
        findings.fault("the file", "lists no models", remedy)
    top = tables.top.values
    name: str = top.get("default_model", "")
    if not name or not isinstance(listed, dict) or not listed:
        return next(iter(tables.models), "")
    if name not in listed:
        findings.fault(
            "default_model", f"names the model {shown(name)}, which is not there", did_you_mean(name, tables.models)
        )
    return name


def warn_of_settings(settings: Settings, findings: Findings) -> None:
    """Settings of the one provider mean nothing beside a file; whoever set them should hear of it."""
    stated = {
        "TOKENWIRE_PROVIDER_URL": settings.provider_url,
        "TOKENWIRE_MODEL": settings.model,
        "TOKENWIRE_MODELS": settings.models,
    }
    passed_over = [variable for variable, value in stated.items() if value]
    if passed_over:
        findings.warn("the file", f"says which models there are: {', '.join(passed_over)} is passed over")
