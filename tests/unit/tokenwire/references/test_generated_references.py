"""References, schemas and types are what the sources say today.

Covers: tokenwire.references.markdown_blocks, tokenwire.references.struct_sections,
tokenwire.references.typescript_types.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from infra.settings import Settings
from tests.unit.schemas.golden_events import GOLDEN
from tokenwire.references.generated_references import ROOT, references

__all__: list[str] = []

REFERENCES = {str(path): text for path, text in references().items()}
SCHEMAS: dict[str, Any] = {path: json.loads(text) for path, text in REFERENCES.items() if path.startswith("schemas/")}


@pytest.mark.parametrize("path", REFERENCES)
def test_reference_is_what_the_sources_say(path: str) -> None:
    """Whoever changes a struct, a setting or a metric runs `make schemas` in the same commit."""
    assert (ROOT / path).is_file(), "run: make schemas"
    assert (ROOT / path).read_text() == REFERENCES[path], "run: make schemas"


def test_no_schema_is_left_over() -> None:
    """A file that nothing writes any more would be believed."""
    on_disk = {str(path.relative_to(ROOT)) for path in (ROOT / "schemas/json_schema").glob("*")}

    assert on_disk == set(SCHEMAS)


def test_every_setting_is_explained() -> None:
    """Each variable appears in the page with a meaning."""
    rows = [line for line in REFERENCES["docs/reference/settings.md"].splitlines() if line.startswith("| `TOKENWIRE_")]

    assert len(rows) == len(Settings.model_fields)
    assert all(len(row.rstrip(" |").split(" | ")) == 4 for row in rows)


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden.name)
def test_golden_event_fits_its_schema(golden: Any) -> None:
    """Every key of the bytes is a property of exactly one schema, and every required one is there."""
    tag = golden.event.__struct_config__.tag
    fields = msgspec.json.decode(golden.path.read_bytes())
    found = [
        definition
        for schema in SCHEMAS.values()
        for definition in schema["$defs"].values()
        if definition["properties"].get("type", {}).get("enum") == [tag]
    ]
    if tag in {"journal", "ledger"}:  # the worker's own: nobody else reads or writes it
        assert found == []
        return

    assert len(found) == 1
    assert fields.keys() <= found[0]["properties"].keys()
    assert set(found[0]["required"]) <= fields.keys()


def test_meanings_of_fields_are_in_the_schemas() -> None:
    """The docstring below a field becomes its description, under the name on the wire."""
    attach = SCHEMAS["schemas/json_schema/client_messages.json"]["$defs"]["Attach"]

    assert "from_" not in attach["properties"]
    assert attach["properties"]["from"]["description"].startswith("A cursor: everything after it.")


@pytest.mark.parametrize("path", SCHEMAS)
def test_descriptions_are_without_the_indentation_of_their_sources(path: str) -> None:
    """Python before 3.13 keeps it in docstrings, later ones strip it: the references come out the same on each."""
    descriptions = [definition.get("description", "") for definition in SCHEMAS[path]["$defs"].values()]

    assert [text for text in descriptions if "\n " in text] == []
