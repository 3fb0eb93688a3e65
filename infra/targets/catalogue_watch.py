"""The catalogue in force, and its replacement while everything runs.

A new file is read whole before anything changes: it replaces the old catalogue in one assignment, or it is refused with
all its faults and the old one stays in force. Who holds a model or target of the old catalogue keeps it until done.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from infra.settings import Settings
from infra.targets.model_catalogue import ModelCatalogue, Target
from infra.targets.server_facts import ServerFacts
from infra.targets.targets_file import CatalogueError, LoadedCatalogue, load_catalogue, load_file
from schemas.tiers import Tiers

__all__ = ["CatalogueHolder", "Refused", "ReloadOutcome", "Reloaded", "changes_between", "tier_changes"]


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The file is in force. `changed` has a sentence per difference, none where it says what was in force already."""

    changed: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """The file is faulty and what was in force still is."""

    faults: tuple[str, ...]


ReloadOutcome: TypeAlias = Reloaded | Refused


class CatalogueHolder:
    """Holds the catalogue in force: ask `current` for each turn anew, and keep what it gave for that turn."""

    def __init__(
        self, settings: Settings, environment: Mapping[str, str] | None = None, *, keys_needed: bool = True
    ) -> None:
        """Loads the catalogue, as `load_catalogue` does. Raises CatalogueError."""
        self._settings = settings
        self._keys_needed = keys_needed
        self._environment = os.environ if environment is None else environment
        self.loaded: LoadedCatalogue = load_catalogue(settings, self._environment, keys_needed=keys_needed)
        """With warnings and keys."""
        self._server: ServerFacts | None = None

    @property
    def current(self) -> ModelCatalogue:
        """The catalogue in force."""
        return self.loaded.catalogue

    @property
    def targets(self) -> Mapping[str, Target]:
        """Its targets, by name."""
        return self.loaded.targets

    @property
    def tiers(self) -> Tiers:
        """The tiers in force, and who has which."""
        return self.loaded.tiers

    def learn(self, server: ServerFacts) -> None:
        """Take in what the settings' one provider said of itself; beside a file it means nothing."""
        self._server = server
        if self.loaded.source is None:
            self.loaded = load_catalogue(
                self._settings, self._environment, keys_needed=self._keys_needed, server=self._server
            )

    def reload(self) -> ReloadOutcome:
        """Read the file again (a file of a few KB, at once). One that has gone is a fault: nobody meant no models."""
        source = self.loaded.source
        try:
            if source is None:
                loaded = load_catalogue(
                    self._settings, self._environment, keys_needed=self._keys_needed, server=self._server
                )
            else:
                loaded = load_file(source, self._settings, self._environment, keys_needed=self._keys_needed)
        except CatalogueError as error:
            return Refused(tuple(error.faults))
        changed = changes_between(self.current, loaded.catalogue) + tier_changes(self.tiers, loaded.tiers)
        self.loaded = loaded
        return Reloaded(changed, loaded.warnings)


def changes_between(old: ModelCatalogue, new: ModelCatalogue) -> tuple[str, ...]:
    """What is different, a sentence each."""
    found = [f"model {name} is new" for name in new.models if name not in old.models]
    found += [f"model {name} is gone" for name in old.models if name not in new.models]
    found += [
        f"model {name} is changed" for name in new.models if old.models.get(name, new.models[name]) != new.models[name]
    ]
    if old.default != new.default:
        found.append(f"the default model is {new.default}")
    return tuple(found)


def tier_changes(old: Tiers, new: Tiers) -> tuple[str, ...]:
    """What is different between tiers, a sentence each; users are counted, not named."""
    found = [f"tier {name} is new" for name in new.tiers if name not in old.tiers]
    found += [f"tier {name} is gone" for name in old.tiers if name not in new.tiers]
    found += [
        f"tier {name} is changed" for name in new.tiers if old.tiers.get(name, new.tiers[name]) != new.tiers[name]
    ]
    if old.default != new.default:
        found.append(f"the default tier is {new.default}" if new.default is not None else "there is no default tier")
    if old.users != new.users:
        found.append(f"the users file is changed: it lists {len(new.users)}")
    return tuple(found)
