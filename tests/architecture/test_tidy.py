"""Hard limits on size and shape. The medians are printed (`pytest -s`), and no function is cut up to please one."""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.architecture.source_tree import (
    PACKAGES,
    ROOT,
    AnyFunction,
    SourceFile,
    functions_of,
    source_files,
    tracked_files,
)

__all__: list[str] = []

FILE_LINES_MAX: Final = 400
WRITTEN_BY_HAND: Final = {".py", ".js", ".mjs", ".css"}
"""Besides what is vendored."""
FUNCTION_LINES_MAX: Final = 60
POSITIONAL_MAX: Final = 5
NESTING_MAX: Final = 5
BLOCKS: Final = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match)
FORBIDDEN_NAMES: Final = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "core"}
THIS_FILE: Final = Path(__file__).resolve().relative_to(ROOT)
GENERATED: Final = {"requirements.lock"}
MACHINE_PATHS: Final = re.compile(r"(?<![\w.])/(?:work|home/(?!me/)\w+|root|Users/\w+|mnt/\w+)/[\w.-]+")
REGISTRY_HOSTS: Final = re.compile(
    r"pypi\.org|pythonhosted\.org|maven\.org|repo1\.maven|registry\.npmjs|artifactory|devpi"
    r"|--(?:extra-)?index-url[ =]http"
)

SOURCES: Final = source_files()
SHIPPED: Final = [source for source in SOURCES if source.package in PACKAGES]


def body_lines(function: AnyFunction) -> int:
    """Lines from `def` to the end, without the docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def nesting(node: ast.AST) -> int:
    """Blocks inside blocks. An `elif` is no deeper than its `if`; a nested function counts for itself."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
        deepest = max(deepest, nesting(child) + (isinstance(child, BLOCKS) and not is_elif))
    return deepest


def test_files_are_within_their_limit() -> None:
    """At most 400 lines each, tests, styles and scripts of the page included."""
    longer = {
        path.as_posix()
        for path in tracked_files()
        if path.suffix in WRITTEN_BY_HAND and "vendor" not in path.parts and lines_of(path) > FILE_LINES_MAX
    }

    assert sorted(longer) == []


def lines_of(path: Path) -> int:
    return len((ROOT / path).read_text().splitlines())


def test_functions_are_within_their_limits() -> None:
    """At most 60 lines, 5 positional parameters, 5 blocks inside each other."""
    faults = [
        f"{source.path}:{function.lineno} {function.name} {fault}"
        for source in SOURCES
        for function in functions_of(source)
        for fault in faults_of(function)
    ]

    assert faults == []


def faults_of(function: AnyFunction) -> Iterator[str]:
    if body_lines(function) > FUNCTION_LINES_MAX:
        yield f"has {body_lines(function)} lines"
    if nesting(function) > NESTING_MAX:
        yield f"nests {nesting(function)} blocks"
    arguments = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    positional = [name for name in arguments if name not in {"self", "cls"}]
    if len(positional) > POSITIONAL_MAX and not is_test(function) and not is_fixture(function):
        yield f"takes {len(positional)} positional parameters"


def is_test(function: AnyFunction) -> bool:
    """pytest passes fixtures and parameters by name."""
    return function.name.startswith("test_")


def is_fixture(function: AnyFunction) -> bool:
    return any("fixture" in ast.unparse(decorator) for decorator in function.decorator_list)


def test_modules_say_what_they_offer() -> None:
    """`__all__` in every module that others import; a docstring in every shipped one."""
    silent = [
        str(source.path)
        for source in SOURCES
        if source.lines
        and not (source.path.name == "conftest.py" or source.path.name.startswith("test_"))
        and (len(offers_of(source)) != 1 or (source.package in PACKAGES and not ast.get_docstring(source.tree)))
    ]

    assert silent == []


def offers_of(source: SourceFile) -> list[ast.expr]:
    found: list[ast.expr] = []
    for node in source.tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
                found.append(value)
            case ast.AnnAssign(target=ast.Name(id="__all__"), value=ast.expr() as value):
                found.append(value)
            case _:
                continue
    return found


def test_files_are_named_for_what_they_hold() -> None:
    """A noun of the domain, never a drawer for what found no place."""
    assert [str(source.path) for source in SOURCES if source.path.stem in FORBIDDEN_NAMES] == []


def test_classes_are_called_by_the_glossarys_words() -> None:
    """A line is a client's connection or one of a file; what watches is a watchdog, a follower or a listener."""
    named = [
        f"{source.path}:{node.lineno} {node.name}"
        for source in SOURCES
        if source.package in ("infra", "processors", "gateway") and source.path.parts[:2] != ("gateway", "client")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ClassDef) and {"Line", "Lines", "Watch"} & set(re.findall("[A-Z][a-z]*", node.name))
    ]

    assert named == []


def test_tests_say_what_they_show() -> None:
    """Each test has a docstring: the behaviour in one line."""
    silent = [
        f"{source.path}:{function.lineno} {function.name}"
        for source in SOURCES
        if source.package == "tests"
        for function in functions_of(source)
        if is_test(function) and ast.get_docstring(function) is None
    ]

    assert silent == []


def test_exceptions_are_not_swallowed_in_general() -> None:
    """`except Exception` raises again, or logs the whole error, with the reason beside it."""
    for source in SHIPPED:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ExceptHandler) and catches_everything(node):
                raises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
                excused = re.search(r"# (?:noqa: BLE001\s+)?\w", source.lines[node.lineno - 1])
                assert raises or excused, f"{source.path}:{node.lineno} gives no reason"


def catches_everything(handler: ast.ExceptHandler) -> bool:
    caught = [] if handler.type is None else [ast.unparse(name) for name in ast.walk(handler.type)]
    return handler.type is None or not {"Exception", "BaseException"}.isdisjoint(caught)


def test_every_ignore_has_a_reason() -> None:
    """`noqa` and `type: ignore` name the rule and say why, after it or on the line above."""
    unexplained = [
        f"{source.path}:{number}"
        for source in SHIPPED
        for number, line in enumerate(source.lines, start=1)
        if (found := re.search(r"#\s*(?:noqa|type: ignore)\b(.*)", line))
        and not re.match(r"(?:: ?[A-Z0-9, ]+|\[[a-z\-, ]+\])\s+(?:#\s*)?\S", found[1])
        and not source.lines[number - 2].lstrip().startswith("# ")
    ]

    assert unexplained == []


def test_nothing_points_at_one_machine() -> None:
    """No absolute path of somebody's machine and no host of a package registry in any tracked file."""
    found: list[str] = []
    for path in tracked_files():
        if path.name in GENERATED or path == THIS_FILE:
            continue
        try:
            text = (ROOT / path).read_text()
        except UnicodeDecodeError:
            continue
        found.extend(
            f"{path}:{number}: {match[0]}"
            for number, line in enumerate(text.splitlines(), start=1)
            for pattern in (MACHINE_PATHS, REGISTRY_HOSTS)
            if (match := pattern.search(line))
        )

    assert found == []


def test_print_medians() -> None:
    """No assertion on taste: the figures are there for whoever looks."""
    functions = sorted(body_lines(function) for source in SHIPPED for function in functions_of(source))
    files = sorted(len(source.lines) for source in SHIPPED)
    if functions:
        ninetieth = functions[int(len(functions) * 0.9)]
        print(  # noqa: T201  the point of this test
            f"\n{len(SHIPPED)} files, median {statistics.median(files):.0f} lines, longest {files[-1]}; "
            f"{len(functions)} functions, median {statistics.median(functions):.0f}, p90 {ninetieth}, "
            f"longest {functions[-1]}"
        )

    assert SHIPPED
