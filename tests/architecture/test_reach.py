"""How far one object reaches into others: not through them, and never for what is private.

A hop is a name after the object that a piece of code was given: what it holds itself (`self.pool`), its argument or its
own variable. After two of them (`turn.entry.stop`) it would be about the insides of what somebody else holds, and every
change there would be a change here: the one that holds it is asked instead. Modules and classes are where names live,
no objects that hold others; Python's own names (`__name__`) are a part of the object that has them.

What an object sets on itself and nobody else looks at is its own affair, and its name says so by an underscore. It is
found by name: one that is asked for at any object counts as asked for.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import Final

from tests.architecture.source_tree import PACKAGES, SourceFile, source_files
from tests.architecture.test_house import source_of

__all__: list[str] = []

HOPS_MAX: Final = 2

OWN: Final = ("self", "cls")

NAMED_TUPLE: Final = {"_replace", "_make", "_asdict", "_fields"}
"""Public, for all their underscores: other names in a tuple would be fields."""

INSIDE_OTHERS: Final = {
    "infra.embedded.child_launcher": {"_exit"},
    "infra.kafka.readable_client": {"_check_crcs", "_isolation_level", "_client"},
    "infra.kafka.sparse_metadata": {"_partitions", "_broker_partitions"},
    "processors.analytics.records_consumer": {"_coordinator", "_client"},
    "processors.group.ordered_commits": {"_fetch_max_wait_ms", "_client", "_coordinator"},
    "processors.writing.attempt_recorder": {"_Hash"},
}
"""What a module touches of others' insides: of `os` what has no other name, of hashlib the type of a hash, and of
aiokafka what it lets nobody set. Each of these modules says why, and `infra/tried_packages.py` which versions it is
tried with."""


def roots_of_modules(source: SourceFile) -> set[str]:
    """The names under which a file has what it imports."""
    aliases = [
        alias for node in ast.walk(source.tree) if isinstance(node, ast.Import | ast.ImportFrom) for alias in node.names
    ]
    return {alias.asname or alias.name.split(".")[0] for alias in aliases}


def chains_of(source: SourceFile) -> Iterator[tuple[ast.Attribute, str, list[str]]]:
    """Each chain of names at its longest: where it is, what it begins with, and the names after that."""
    inner = {
        node.value
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute)
    }
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Attribute) or node in inner:
            continue
        names: list[str] = []
        place: ast.expr = node
        while isinstance(place, ast.Attribute):
            names.insert(0, place.attr)
            place = place.value
        yield node, place.id if isinstance(place, ast.Name) else "", names


def far_reaches(source: SourceFile) -> Iterator[str]:
    """Chains that lead through more than two objects of others."""
    imported = roots_of_modules(source)
    for node, root, names in chains_of(source):
        if root in imported or root[:1].isupper() or not root:
            continue
        hops = sum(not name.startswith("__") for name in names) - (root in OWN)
        if hops > HOPS_MAX:
            yield f"{source.path}:{node.lineno} reaches too far: {ast.unparse(node)}"


def break_ins(source: SourceFile) -> Iterator[tuple[str, str]]:
    """What begins with an underscore and is another's: where, and the name."""
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Attribute) or not is_private(node.attr):
            continue
        holder = node.value
        inherited = isinstance(holder, ast.Call) and ast.unparse(holder.func) == "super"
        if not is_own(holder) and not inherited:
            yield f"{source.path}:{node.lineno} touches what is private: {ast.unparse(node)}", node.attr


def unasked_state(sources: Iterable[SourceFile], others: Iterable[SourceFile] = ()) -> list[str]:
    """What objects of `sources` set on themselves under a public name that is asked for nowhere, nor in `others`.

    A base that is not ours may be what asks: exceptions and what is made for a library are left out.
    """
    sources = list(sources)
    nodes = [node for source in (*sources, *others) for node in ast.walk(source.tree)]
    asked = {node.attr for node in nodes if isinstance(node, ast.Attribute) and not is_own(node.value)}
    asked |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    ours = {node.name for node in nodes if isinstance(node, ast.ClassDef)}
    return [
        f"{source.path}:{node.lineno} is read by its own class only: {ast.unparse(node)}"
        for source in sources
        for holder in ast.walk(source.tree)
        if isinstance(holder, ast.ClassDef) and {ast.unparse(base) for base in holder.bases} <= ours
        for node in ast.walk(holder)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_own(node.value)
        if not node.attr.startswith("_") and node.attr not in asked | arguments_of(holder)
    ]


def arguments_of(holder: ast.ClassDef) -> set[str]:
    """The fields of a dataclass that its constructor takes: names that whoever makes one says."""
    fields = [node for node in holder.body if isinstance(node, ast.AnnAssign)]
    return {ast.unparse(node.target) for node in fields if node.value is None or "init=False" not in ast.unparse(node)}


def is_own(holder: ast.expr) -> bool:
    return isinstance(holder, ast.Name) and holder.id in OWN


def is_private(name: str) -> bool:
    """librdkafka numbers its own errors in capitals: constants."""
    return name.startswith("_") and not name.startswith("__") and name not in NAMED_TUPLE and not name.isupper()


def product() -> list[SourceFile]:
    return [source for source in source_files() if source.package in PACKAGES]


def faults_of(sources: Iterable[SourceFile]) -> list[str]:
    return [
        fault
        for source in sources
        for fault in (
            *far_reaches(source),
            *(said for said, name in break_ins(source) if name not in INSIDE_OTHERS.get(source.module, ())),
        )
    ]


def test_objects_ask_those_they_hold() -> None:
    """No chain through more than two objects, and nothing private of another's."""
    assert faults_of(product()) == []


def test_state_that_nobody_asks_for_is_private() -> None:
    """What only its own class reads begins with an underscore."""
    assert unasked_state(product(), [source for source in source_files() if source.package not in PACKAGES]) == []


def test_exceptions_are_needed() -> None:
    """What is listed as touched inside others is touched."""
    touched = {source.module: {name for _, name in break_ins(source)} for source in product()}

    assert [module for module, names in INSIDE_OTHERS.items() if not names <= touched[module]] == []


def test_rules_see_what_they_are_for() -> None:
    """The checks themselves: what reaches through others is seen, what is one's own or a module's is not."""
    far = "def f(self, turn):\n    self.parts.runner.pool.full\n    turn.failed.attempt.run\n    turn.log()._fold\n"
    near = (
        "import os.path\nfrom kafka import KafkaError\n"
        "def f(self, turn):\n    self._parts.runner.run()\n    turn.entry.stop\n    os.path.sep.join\n"
        "    KafkaError._PURGE\n    super()._init()\n    turn.entry.__class__.__name__\n    turn.place._replace()\n"
    )

    assert faults_of([source_of("gateway/far.py", far), source_of("gateway/near.py", near)]) == [
        "gateway/far.py:2 reaches too far: self.parts.runner.pool.full",
        "gateway/far.py:3 reaches too far: turn.failed.attempt.run",
        "gateway/far.py:4 touches what is private: turn.log()._fold",
    ]


def test_own_state_is_seen() -> None:
    """The rule on an example: a name that a neighbour asks for is public, one that only its class reads is not."""
    holder = (
        "class Line(Plain):\n    def f(self):\n        self.asked = self.unasked = 1\n        return self.unasked\n"
        "class Ours(Foreign):\n    def f(self):\n        self.foreign = 1\nclass Plain: pass\n"
    )
    neighbour = source_of("gateway/neighbour.py", "def g(line):\n    return line.asked\n")

    assert unasked_state([source_of("gateway/holder.py", holder)], [neighbour]) == [
        "gateway/holder.py:3 is read by its own class only: self.unasked"
    ]
