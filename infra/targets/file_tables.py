"""The tables of `tokenwire.toml`, each key checked by itself; faults are collected, none hides another.

What is wrong with a key is said here; what is wrong between tables (a provider that does not exist, a model that
nobody can serve) is for `served_models`, which passes over whatever is known to be faulty already, so that one mistake
is one fault.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from infra.targets.file_keys import TABLES, TOP_LEVEL, KeyRule
from infra.targets.file_values import NAME_CHARS_MAX, did_you_mean, is_name, split_target, wrong_with

__all__ = ["CheckedTable", "FileTables", "Findings", "read_tables", "read_text"]

BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+\Z")
KEY_WORDS: Final = frozenset({"key", "api_key", "apikey", "token", "secret", "password"})
REMEDY_FOR_DOTS: Final = 'put quotes around a name with a dot in it, as in [models."gpt-4.1-mini"]'
TABLES_MAX: Final = 1_000
RESERVED_PROVIDER: Final = "cache"
"""How records call whoever answers from memory."""
SHOWN_CHARS_MAX: Final = 60


class Findings:
    """What was found in one file: faults, for which it is refused, and warnings."""

    def __init__(self, file: str) -> None:
        self._file = file
        self.faults: list[str] = []
        self.warnings: list[str] = []

    def fault(self, place: str, wrong: str, remedy: str) -> None:
        """Add a fault. The sentence reads: file, where, what is wrong, what to do."""
        self.faults.append(f"{self._file}: {place} {wrong}; {remedy}")

    def warn(self, place: str, what: str) -> None:
        """Add a warning."""
        self.warnings.append(f"{self._file}: {place} {what}")


def read_text(
    path: Path, findings: Findings, *, what: str, remedy: str, bytes_max: int, encoding: str = "utf-8"
) -> str | None:
    """What a file says; None where that is a fault. `what` it is called there, `remedy` where it cannot be read."""
    try:
        with path.open("rb") as file:
            content = file.read(bytes_max + 1)
    except OSError as error:
        findings.fault(what, f"cannot be read ({(error.strerror or type(error).__name__).lower()})", remedy)
        return None
    if len(content) > bytes_max:
        findings.fault(what, "is too long", f"keep it within {bytes_max} bytes")
        return None
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        findings.fault(what, "is not written in UTF-8", "save it as UTF-8")
        return None


@dataclass(frozen=True, slots=True)
class CheckedTable:
    """One table: the values of the keys that are in order, and what could not be used."""

    place: str
    """As in the file, `[models.chat]`."""
    values: Mapping[str, Any]
    faulty: frozenset[str]
    """Keys whose value was refused, and those that a misspelt one was probably meant to be."""

    def states(self, key: str) -> bool:
        """Whether the file says something about the key, right or wrong."""
        return key in self.values or key in self.faulty


@dataclass(frozen=True, slots=True)
class FileTables:
    """A file, its keys checked one by one. Tables are by name, in the order of the file."""

    top: CheckedTable
    models: Mapping[str, CheckedTable]
    providers: Mapping[str, CheckedTable]
    targets: Mapping[str, CheckedTable]
    tiers: Mapping[str, CheckedTable]


def read_tables(document: Mapping[str, Any], findings: Findings) -> FileTables:
    """Check every key of a parsed file. Faults go to `findings`."""
    for key in document:
        if key not in TABLES and key not in TOP_LEVEL:
            remedy = remedy_for_secret(key) or did_you_mean(key, [*TOP_LEVEL, *TABLES])
            findings.fault(f"key {quoted(key)}", "is unknown", remedy)
    top = {key: value for key, value in document.items() if key in TOP_LEVEL}
    return FileTables(
        top=check_keys("", top, TOP_LEVEL, findings),
        models=read_section(document, "models", findings),
        providers=read_section(document, "providers", findings),
        targets=read_section(document, "targets", findings),
        tiers=read_section(document, "tiers", findings),
    )


def read_section(document: Mapping[str, Any], section: str, findings: Findings) -> dict[str, CheckedTable]:
    tables = document.get(section, {})
    if not isinstance(tables, dict):
        findings.fault(f"key {section}", "is no table", f"write [{section}.NAME] and its keys below")
        return {}
    if len(tables) > TABLES_MAX:
        findings.fault(f"[{section}]", f"has {len(tables)} tables", f"keep to {TABLES_MAX}")
        return {}
    return {
        name: check_table(section, name, table, findings)
        for name, table in tables.items()
        if is_table(section, name, table, findings)
    }


def is_table(section: str, name: str, table: object, findings: Findings) -> bool:
    place = place_of(section, name)
    if not isinstance(table, dict):
        findings.fault(f"[{section}] {quoted(name)}", "is no table", f"write {place} and its keys below")
        return False
    if not is_name(name):
        remedy = f"use 1 to {NAME_CHARS_MAX} printable characters, without blanks at the ends"
        findings.fault(place, "has no usable name", remedy)
    elif section == "providers" and ":" in name:
        findings.fault(place, "has a colon in its name", "leave it out: targets are written provider:model")
    elif section == "providers" and name == RESERVED_PROVIDER:
        findings.fault(place, "is called like the response cache", "give it another name")
    elif section == "targets" and split_target(name) is None:
        findings.fault(place, "names no target", 'write [targets."provider:model"]')
    else:
        return True
    return False


def check_table(section: str, name: str, table: Mapping[str, Any], findings: Findings) -> CheckedTable:
    rules = TABLES[section]
    place = place_of(section, name)
    meant: set[str] = set()
    for key, value in table.items():
        if key not in rules:
            meant.update(rules if isinstance(value, dict) else get_close_matches(key, rules, n=1))
            remedy = REMEDY_FOR_DOTS if isinstance(value, dict) else remedy_for(key, section)
            findings.fault(f"{place} {quoted(key)}", "is no key here", remedy)
    known = {key: value for key, value in table.items() if key in rules}
    checked = check_keys(place, known, rules, findings)
    return CheckedTable(place, checked.values, checked.faulty | (meant - checked.values.keys()))


def check_keys(place: str, table: Mapping[str, Any], rules: Mapping[str, KeyRule], findings: Findings) -> CheckedTable:
    faulty: set[str] = set()
    for key, value in table.items():
        wrong = wrong_with(rules[key], value)
        if wrong is not None:
            faulty.add(key)
            findings.fault(f"{place} {key}".strip(), *wrong)
    return CheckedTable(place, {key: value for key, value in table.items() if key not in faulty}, frozenset(faulty))


def remedy_for(key: str, section: str) -> str:
    elsewhere = [f"[{other}.…]" for other, rules in TABLES.items() if key in rules]
    if elsewhere:
        return f"it belongs in {' or '.join(elsewhere)}"
    return remedy_for_secret(key) or did_you_mean(key, TABLES[section])


def remedy_for_secret(key: str) -> str:
    """A key that belongs to a provider's account is the one thing that must not be kept here."""
    if key.lower() in KEY_WORDS:
        return "keep keys out of this file: set an environment variable and name it with key_env"
    return ""


def place_of(section: str, name: str) -> str:
    return f"[{section}.{quoted(name)}]"


def quoted(name: str) -> str:
    """A key as TOML writes it, and not at any length."""
    if len(name) > SHOWN_CHARS_MAX:
        name = f"{name[:SHOWN_CHARS_MAX]}…"
    if BARE_KEY.match(name):
        return name
    escaped = "".join(character if character.isprintable() else "?" for character in name)
    return f'"{escaped}"'
