"""Who may import whom. `schemas ◄ infra ◄ producers ◄ gateway`, `infra ◄ processors`, and the face imports all."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.architecture.source_tree import PACKAGES, SourceFile, source_files

__all__: list[str] = []

MAY_IMPORT: Final = {
    "schemas": set(),
    "infra": {"schemas"},
    "producers": {"schemas", "infra"},
    "processors": {"schemas", "infra"},
    "gateway": {"schemas", "infra", "producers"},
    "tokenwire": {"schemas", "infra", "producers", "processors", "gateway"},
}

PURE_LIBRARY: Final = {
    "__future__",
    "array",
    "ast",
    "base64",
    "binascii",
    "bisect",
    "collections",
    "dataclasses",
    "datetime",
    "decimal",
    "enum",
    "fractions",
    "functools",
    "hashlib",
    "heapq",
    "hmac",
    "ipaddress",
    "itertools",
    "json",
    "math",
    "operator",
    "re",
    "statistics",
    "string",
    "struct",
    "types",
    "typing",
    "unicodedata",
    "urllib.parse",
    "uuid",
    "zlib",
}
PURE_PACKAGES: Final = {"msgspec", "genai_prices", "bpe_openai", "jwt"}
"""Values in, values out: serialisation, price tables, token counting, signatures."""

CATALOGUES: Final = {"infra.telemetry.metric_names"}
"""Values only, outside schemas/ and decisions/ because their package owns them; held to the same rule."""

AIOKAFKA_CLIENTS: Final = {"AIOKafkaAdminClient", "AIOKafkaClient", "AIOKafkaConsumer", "AIOKafkaProducer"}
SPARSE: Final = "infra.kafka.sparse_metadata"
EXISTING: Final = "infra.kafka.existing_topics"

IMPURE_CALLS: Final = {"now", "utcnow", "today", "uuid1", "uuid4", "open", "input", "print", "urandom", "getnode"}
"""Names that read a clock, draw a number or do I/O although their module is allowed."""


def ours() -> list[SourceFile]:
    return [source for source in source_files() if source.package in PACKAGES]


def pure() -> list[SourceFile]:
    return [
        source
        for source in ours()
        if source.package == "schemas" or "decisions" in source.path.parts or source.module in CATALOGUES
    ]


def top_level(module: str) -> str:
    return module.split(".")[0]


def test_packages_import_only_what_lies_below_them() -> None:
    """The rules of MAY_IMPORT, absolute imports only, and nobody imports tests or benchmarks."""
    faults = [
        f"{source.path} imports {module}"
        for source in ours()
        for module in source.imports()
        if not may_import(source, module)
    ]

    assert faults == []


def may_import(source: SourceFile, module: str) -> bool:
    if module == "a relative import":
        return False
    if top_level(module) not in {*PACKAGES, "tests", "benchmarks"} or is_bench(source, module):
        return True
    return top_level(module) in MAY_IMPORT[source.package] | {source.package}


def is_bench(source: SourceFile, module: str) -> bool:
    """`tokenwire bench` runs what lies in benchmarks/ (in a checkout)."""
    return source.package == "tokenwire" and top_level(module) == "benchmarks"


def test_decisions_neither_wait_nor_read_a_clock_nor_draw() -> None:
    """schemas/ and decisions/ import from an allow-list and hold no coroutine."""
    imports = [
        f"{source.path} imports {module}" for source in pure() for module in source.imports() if not is_pure(module)
    ]
    calls = [f"{source.path} {name}" for source in pure() for name in impure_names(source)]

    assert imports + calls == []


def is_pure(module: str) -> bool:
    if top_level(module) in PACKAGES:
        return top_level(module) == "schemas" or "decisions" in module.split(".") or module in CATALOGUES
    if top_level(module) in sys.stdlib_module_names:
        return any(module == allowed or module.startswith(f"{allowed}.") for allowed in PURE_LIBRARY)
    return top_level(module) in PURE_PACKAGES


def impure_names(source: SourceFile) -> Iterator[str]:
    for node in ast.walk(source.tree):
        match node:
            case ast.AsyncFunctionDef(name=name):
                yield f"waits: {name}"
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in IMPURE_CALLS:
                yield f"calls {name}"
            case _:
                continue


def test_clients_of_aiokafka_are_kept_from_creating_topics() -> None:
    """Whoever builds one gives it our class of client; whoever asks for metadata does so with our request."""
    faults = []
    for source in ours():
        names = set(imported_names(source))
        if names & AIOKAFKA_CLIENTS and "without_creation" not in names and source.module != SPARSE:
            faults.append(f"{source.path} builds a client that lets topics be created")
        if "MetadataRequest" in names and source.module != EXISTING:
            faults.append(f"{source.path} asks with a request that lets topics be created")

    assert faults == []


def imported_names(source: SourceFile) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names)


def test_gateway_and_processors_meet_only_at_topics() -> None:
    """Neither imports the other, not even in its tests' fakes."""
    for source in source_files():
        both = {top_level(module) for module in source.imports()} & {"gateway", "processors"}
        if source.package in {"gateway", "processors"}:
            assert both <= {source.package}


def test_every_package_says_what_it_does() -> None:
    """Each package's __init__ has a docstring: reads, writes, guarantees, what in it is pure."""
    for source in ours():
        if source.path.name == "__init__.py":
            assert ast.get_docstring(source.tree), f"{source.path} has no docstring"


def test_rules_refuse_what_they_are_for() -> None:
    """The checks themselves: a forbidden import and an impure decision are seen."""
    text = "import time\nimport processors.app\nasync def wait(): ...\nmoment = datetime.now()\n"
    source = SourceFile(Path("gateway/decisions/wrong.py"), tuple(text.splitlines()), ast.parse(text))

    assert [module for module in source.imports() if not may_import(source, module)] == ["processors.app"]
    assert [module for module in source.imports() if not is_pure(module)] == ["time", "processors.app"]
    assert sorted(impure_names(source)) == ["calls now", "waits: wait"]
