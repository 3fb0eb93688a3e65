"""docs/retries.md says what the code does: each backoff, and what tries within tries come to."""

from __future__ import annotations

import ast
import importlib
import math
import re
from collections.abc import Iterator
from typing import Final

from infra.decisions.backoff import FOR_EVER, Backoff
from infra.kafka.log_client import READ_S, REQUEST_TIMEOUT_S
from infra.kafka.lost_range import BLANK, LEADER_BACKOFF
from infra.kafka.sparse_metadata import BOOTSTRAP_BACKOFF
from processors.writing.log_appender import APPEND_BACKOFF, APPEND_S, DELIVERY_S, STOP_S
from tests.architecture.source_tree import PACKAGES, ROOT, SourceFile, source_files

__all__: list[str] = []

PAGE: Final = (ROOT / "docs" / "retries.md").read_text()

OTHER_PAUSES: Final = {
    "infra.embedded.broker_jars": "looks whether another download has ended",
    "producers.batches.batch_ledger": "looks whether a lock is free",
}
"""Modules with pauses between two looks at something that is being waited for."""


def backoffs() -> Iterator[tuple[str, Backoff]]:
    """Each that a module names, by its name."""
    for source in product():
        for node in source.tree.body:
            match node:
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.Call(func=ast.Name(id="Backoff"))):
                    yield name, getattr(importlib.import_module(source.module), name)
                case _:
                    continue


def product() -> list[SourceFile]:
    return [source for source in source_files() if source.package in PACKAGES]


def spoken(backoff: Backoff) -> str:
    first, longest = f"{backoff.first_pause_s:g} s", backoff.longest_pause_s
    end = "" if math.isinf(longest) else f" up to {longest:g} s"
    drawn = f", and up to {backoff.jitter_s:g} s drawn" if backoff.jitter_s else ""
    pauses = {
        "level": f"{first} each",
        "even": f"{first}, {first} more each time{end}",
        "doubling": f"{first}, doubled each time{end}",
    }[backoff.growth]
    ends = backoff.tries_max != FOR_EVER
    tries, together = (str(backoff.tries_max), f"{backoff.longest_s():.6g} s") if ends else ("for ever", "no end")
    return f"{pauses}{drawn} | {tries} | {together}"


def test_page_has_each_backoff() -> None:
    """Its pauses, its tries and their sum, and none that there is not."""
    rows = dict(re.findall(r"\| `(\w+_BACKOFF)` \| (.*) \|$", PAGE, re.MULTILINE))

    assert rows == {name: spoken(backoff) for name, backoff in backoffs()}


def test_page_has_the_sums_of_tries_within_tries() -> None:
    """The longest that they take, from the same constants as the code."""
    question_s = LEADER_BACKOFF.longest_s(REQUEST_TIMEOUT_S)
    assert BLANK.tries_max == LEADER_BACKOFF.tries_max
    fetch_s = look_s = min(LEADER_BACKOFF.longest_s(question_s), READ_S)
    piece_s = READ_S + fetch_s
    replaced_s = APPEND_BACKOFF.pause_s() + BOOTSTRAP_BACKOFF.longest_s() + STOP_S
    sums_s = [question_s, fetch_s, piece_s, look_s, APPEND_S + replaced_s + DELIVERY_S]

    assert re.findall(r"^\| .* \| ([\d.]+) s \|$", PAGE.split("## ")[1], re.MULTILINE) == [
        f"{longest_s:.1f}" for longest_s in sums_s
    ]


def test_pauses_are_backoffs() -> None:
    """No module has a pause of its own after a failure: a sleep in an `except` takes a backoff's."""
    found = {source.module: list(own_pauses(source.tree)) for source in product()}

    assert {module for module, lines in found.items() if lines} == set(OTHER_PAUSES)


def own_pauses(tree: ast.AST) -> Iterator[int]:
    handlers = [node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)]
    for node in (inner for handler in handlers for inner in ast.walk(handler)):
        match node:
            case ast.Call(func=function, args=[pause]) if ast.unparse(function).endswith("sleep"):
                if "backoff" not in ast.unparse(pause).lower():
                    yield node.lineno
            case _:
                continue


def test_rule_sees_what_it_is_for() -> None:
    """The check itself: a constant is seen, a backoff's pause is not."""
    said = "try:\n    f()\nexcept E:\n    sleep({})\n"

    assert list(own_pauses(ast.parse(said.format("PAUSE_S")))) == [4]
    assert list(own_pauses(ast.parse(said.format("SOME_BACKOFF.pause_s()")))) == []
