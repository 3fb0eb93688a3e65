"""What the light client is made of: the closure of its imports, and their new names.

Covers: infra.client_distribution.source_tree, infra.client_distribution.wheelhouse.
"""

from __future__ import annotations

import ast
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from infra.client_distribution.decisions.import_closure import UnreadableImport, closure_of, moved
from infra.client_distribution.source_tree import ROOT, public_names, requirements, write_tree
from infra.client_distribution.wheelhouse import locked_entries, needed_names

OURS = frozenset({"schemas", "infra"})
NEW = {"schemas": "client._parts.schemas", "infra": "client._parts.infra"}


def test_closure_follows_every_import() -> None:
    """In functions and under TYPE_CHECKING too, submodules and the packages above included; a circle ends."""
    texts = {
        "infra": "",
        "infra.a": "import os\nfrom infra import b\nif TYPE_CHECKING:\n    from schemas.c import C\n",
        "infra.b": "def f():\n    from infra.a import x\n    import msgspec.json\n",
        "schemas": "",
        "schemas.c": "",
        "schemas.unused": "",
    }
    found = closure_of(["infra.a"], OURS, texts.get)

    assert found.modules == texts.keys() - {"schemas.unused"}
    assert found.foreign == {"os", "msgspec"}


@pytest.mark.parametrize("text", ["import schemas.c\n", "from . import c\n", "from .c import C\n"])
def test_import_that_cannot_be_moved_is_refused(text: str) -> None:
    """With the module, the line and the remedy."""
    with pytest.raises(UnreadableImport, match=r"infra\.a, line 1: .* can't be moved; (write|name) "):
        closure_of(["infra.a"], OURS, {"infra.a": text}.get)


def test_only_imports_change() -> None:
    """Not text, comments or names that look alike; imports over several lines and after a semicolon do."""
    text = (
        "'''from schemas.c import C'''\nfrom schemas.c import (  # from schemas\n    C,\n)\n"
        "x = 1; from infra import b\nfrom schemas_of_others import schemas\nimport infrared\n"
    )
    assert moved(text, NEW) == (
        "'''from schemas.c import C'''\nfrom client._parts.schemas.c import (  # from schemas\n    C,\n)\n"
        "x = 1; from client._parts.infra import b\nfrom schemas_of_others import schemas\nimport infrared\n"
    )


@given(st.lists(st.sampled_from(["schemas.c", "infra", "os.path", "infra.kafka.d"]), max_size=6), st.booleans())
def test_moved_text_says_the_same(modules: list[str], indented: bool) -> None:
    """The tree differs in the moved names alone."""
    margin = "    " if indented else ""
    head = "def f():\n    pass\n" if indented else ""
    text = head + "".join(f"{margin}from {module} import x as y\n" for module in modules)
    told = [node.module for node in ast.walk(ast.parse(moved(text, NEW))) if isinstance(node, ast.ImportFrom)]

    assert told == [".".join([NEW.get(top, top), *rest]) for top, *rest in (module.split(".") for module in modules)]


def test_client_needs_two_packages_and_the_extra_the_rest() -> None:
    """Bounds are the project's own, said once."""
    base, kafka = requirements()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert {Requirement(entry).name for entry in base} == {"msgspec", "websockets"}
    assert {entry.replace("~=", "==") for entry in (*base, *kafka)} <= set(project["dependencies"])
    assert {name.name for name in public_names() if name.needs_kafka} == {"BlockingProducer", "Producer", "Receipt"}


def test_tree_holds_no_module_of_the_server(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is in it compiles, and none of it is a gateway's, a worker's or the embedded parts'."""
    folder = tmp_path_factory.mktemp("tree")
    write_tree(folder)
    files = list(folder.rglob("*.py"))
    for file in files:
        compile(file.read_text(), str(file), "exec")

    told = {file.relative_to(folder / "tokenwire_client").as_posix() for file in files}
    assert "_parts/gateway/client/line.py" in told
    assert [name for name in told if "embedded" in name or "processors" in name or "server" in name] == []


def test_lock_entries_are_whole() -> None:
    """Each with its hashes, and those alone that are needed."""
    names = needed_names(requirements()[0])
    entries = locked_entries((ROOT / "requirements.lock").read_text(), names)

    assert {entry.split("==")[0] for entry in entries} == names == {"msgspec", "websockets"}
    assert all("--hash=sha256:" in entry for entry in entries)
