"""What the documents name exists: files, links, settings, commands, make targets, columns in SQL."""

from __future__ import annotations

import ast
import importlib
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Final

import click

import tokenwire
from infra.settings import ENVIRONMENT_PREFIX, Settings
from tests.architecture.source_tree import PACKAGES, ROOT, functions_of, source_files, tracked_files

__all__: list[str] = []

FOLDERS: Final = (*PACKAGES, "tests", "docs", "benchmarks")


def documents() -> Iterator[tuple[Path, str]]:
    for path in tracked_files():
        if path.suffix == ".md":
            yield path, (ROOT / path).read_text()


def test_links_lead_somewhere() -> None:
    """Each relative link is a file, seen from its document."""
    broken = [
        f"{path}: {target}"
        for path, text in documents()
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
        if not (ROOT / path.parent / target).exists()
    ]

    assert broken == []


def test_files_that_are_named_exist() -> None:
    """`folder/file` in backticks is in the tree, unless it has a placeholder."""
    missing = [
        f"{path}: {name}"
        for path, text in documents()
        for name in re.findall(r"`([\w.-]+/[\w./-]*)`", text)
        if name.split("/")[0] in FOLDERS and not (ROOT / name).exists()
    ]

    assert missing == []


def test_tests_that_are_named_exist() -> None:
    """A promise's test has the name that the document gives."""
    known = {function.name for source in source_files() for function in functions_of(source)}
    known |= {source.path.stem for source in source_files()}
    missing = [
        f"{path}: {name}"
        for path, text in documents()
        for name in re.findall(r"`(test_\w+)`", text)
        if name not in known
    ]

    assert missing == []


def test_python_in_documents_imports_what_exists() -> None:
    """Each import of a Python example is run, and what the example takes from a module of ours is there."""
    examples = [
        (path, ast.parse(textwrap.dedent(code)))
        for path, text in documents()
        for code in re.findall(r"^ *```python\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    ]
    missing = [f"{path}: {name}" for path, tree in examples for name in missing_names(tree)]

    assert examples
    assert missing == []


def missing_names(tree: ast.Module) -> Iterator[str]:
    """Names that an example takes from a module and that are not there."""
    modules: dict[str, ModuleType] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.asname or alias.name: module_of(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            module = module_of(node.module)
            yield from (alias.name for alias in node.names if not hasattr(module, alias.name))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module_used = modules.get(node.value.id)
            if module_used is not None and not hasattr(module_used, node.attr):
                yield f"{node.value.id}.{node.attr}"


def module_of(name: str) -> ModuleType:
    """The light client, which is not installed here, has the names of `tokenwire` (test_client_distribution)."""
    return importlib.import_module("tokenwire" if name == "tokenwire_client" else name)


def test_errors_and_types_of_clients_and_producers_are_importable() -> None:
    """Whatever a document for users calls by its class name can be imported from `tokenwire`."""
    words = ("docs/clients.md", "docs/prompts.md")
    raised = {
        name
        for path, text in documents()
        if str(path) in words
        for name in re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)+)`", text)
    } - {"TokenwireClient", "WebSocket"}

    assert {"AnswerFailed", "InvalidField", "LineClosed", "ProducerBusy"} <= raised
    assert raised <= set(tokenwire.__all__)


def test_settings_that_are_named_exist() -> None:
    """Every TOKENWIRE_ variable of a document is read."""
    known = {ENVIRONMENT_PREFIX + name.upper() for name in Settings.model_fields}
    missing = [
        f"{path}: {name}"
        for path, text in documents()
        for name in re.findall(rf"\b{ENVIRONMENT_PREFIX}[A-Z_]*[A-Z]\b", text)
        if name not in known
    ]

    assert missing == []


def test_make_targets_that_are_named_exist() -> None:
    """`make x` in a document is a target."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    missing = [
        f"{path}: make {name}"
        for path, text in documents()
        for name in re.findall(r"(?:`|^    |=\S+ )make ([a-z-]+)", text, re.MULTILINE)
        if name not in targets
    ]

    assert missing == []


def test_commands_that_are_named_exist() -> None:
    """`tokenwire x` in a document is a command, and its options are options of it."""
    from tokenwire.command_line import cli

    missing = []
    for path, text in documents():
        for name, rest in re.findall(r"(?:`|bin/|^ +)tokenwire ([a-z-]+)([^`\n]*)", text, re.MULTILINE):
            command: click.Command | None = cli.commands.get(name)
            if command is None:
                missing.append(f"{path}: tokenwire {name}")
                continue
            if isinstance(command, click.Group):
                inner = rest.split(maxsplit=1)[0] if rest.strip() else ""
                command = command.commands.get(inner)
                if command is None:  # the group itself may be meant
                    missing += [f"{path}: tokenwire {name} {inner}"] if inner.isalpha() else []
                    continue
            known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
            missing.extend(
                f"{path}: tokenwire {name} {option}"
                for option in re.findall(r"(?<!\S)--[a-z-]+", rest.split("#")[0])
                if option not in known
            )

    assert missing == []
