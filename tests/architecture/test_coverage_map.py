"""Each source has a test file that covers it: one that bears its name, or one whose docstring says so.

`test_dialing.py` and `test_dialing_….py` cover `dialing.py`; the longest name counts, so that `test_answer_cache.py` is
no test of `answer.py`. Any other test file names the modules in the last paragraph of its docstring:

    Covers: gateway.client.dialing, gateway.client.inbox.

Either way the test has to reach the module by what it imports and by the programs that it starts (`python -m`). That
is a floor: that a test exercises a module and not only imports it is for whoever writes the line and whoever reads it.
A test below `tests/unit` lies in the folder there that has the name of a source's folder: one that it covers, if any.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Final, NamedTuple

from tests.architecture.import_graph import Graph, graph_of, name_of, reached_from
from tests.architecture.source_tree import PACKAGES, SourceFile, source_files, tracked_files

__all__: list[str] = []

UNCOVERED: Final = {
    "gateway.fetching.log_reader": "protocols: nothing in it runs, and mypy checks who keeps to them",
    "tokenwire.benchmark.stream_path": "protocols: nothing in it runs, and mypy checks who keeps to them",
}
"""Sources that no test file covers, and why none has to."""
COVERS: Final = "Covers:"
TEST: Final = "test_"
UNIT: Final = Path("tests/unit")


class Coverage(NamedTuple):
    """A test file, the modules that its docstring names, those that it reaches, and those that it covers."""

    test: Path
    lines: Sequence[str]
    reached: Set[str]
    covered: Set[str]


def is_test(source: SourceFile) -> bool:
    return source.package == "tests" and source.path.name.startswith(TEST)


def is_covered(source: SourceFile) -> bool:
    """Whether it is one of those that need a test; what an `__init__.py` says is its docstring."""
    return source.package in PACKAGES and source.path.name != "__init__.py"


def program_graph(sources: Sequence[SourceFile]) -> Graph:
    """Who imports or starts whom."""
    graph = graph_of(sources)
    for source in sources:
        started = {name for found in programs_in(source.tree) for name in (found, f"{found}.__main__")}
        graph[name_of(source)] |= started & graph.keys()
    return graph


def programs_in(tree: ast.AST) -> Iterator[str]:
    """The modules that are started by name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.List | ast.Tuple):
            for pair in itertools.pairwise(node.elts):
                match pair:
                    case (ast.Constant(value="-m"), ast.Constant(value=str() as module)):
                        yield module
                    case _:
                        continue


def named_covers(test: SourceFile) -> list[str]:
    """The modules in the last paragraph of the docstring, if that is what it holds."""
    last = (ast.get_docstring(test.tree) or "").split("\n\n")[-1]
    if not last.startswith(COVERS):
        return []
    return [name.strip() for name in last.removeprefix(COVERS).rstrip(". \n").split(",")]


def stem_of(test: SourceFile, stems: Iterable[str]) -> str | None:
    """The longest of the sources' names that the test's begins with."""
    name = test.path.stem.removeprefix(TEST)
    return max((stem for stem in stems if f"{name}_".startswith(f"{stem}_")), key=len, default=None)


def coverage_of(sources: Sequence[SourceFile], modules: Mapping[str, SourceFile]) -> list[Coverage]:
    """What each test file covers of the modules."""
    graph, stems = program_graph(sources), {source.path.stem for source in modules.values()}
    found = []
    for test in filter(is_test, sources):
        reached = reached_from(name_of(test), graph) & modules.keys()
        stem, lines = stem_of(test, stems), named_covers(test)
        by_name = {module for module in reached if modules[module].path.stem == stem}
        found.append(Coverage(test.path, lines, reached, by_name | (reached & set(lines))))
    return found


def faults_of(sources: Sequence[SourceFile], uncovered: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the map, a sentence each."""
    modules = {source.module: source for source in sources if is_covered(source)}
    covered: set[str] = set()
    for each in coverage_of(sources, modules):
        covered |= each.covered
        for module in each.lines:
            if module not in modules:
                yield f"{each.test} covers {module}, which is no source"
            elif module not in each.reached:
                yield f"{each.test} covers {module}, which it does not reach by its imports"
        yield from misplaced(each, modules)
    yield from (f"{module} has no test" for module in modules.keys() - covered - uncovered.keys())
    yield from (f"{module} is covered: it is no exception any more" for module in covered & uncovered.keys())
    yield from (f"{module} is an exception, and no source" for module in uncovered.keys() - modules.keys())


def misplaced(each: Coverage, modules: Mapping[str, SourceFile]) -> Iterator[str]:
    """A unit test beside none of what it covers; one that covers nothing as a whole may lie in any source's folder."""
    if not each.test.is_relative_to(UNIT):
        return
    place = each.test.parent.relative_to(UNIT)
    if each.covered and place not in {modules[module].path.parent for module in each.covered}:
        yield f"{each.test} lies beside none of what it covers: {', '.join(sorted(each.covered))}"
    if not any(place in path.parents for path in tracked_files()):
        yield f"{each.test} lies in no source's folder"


def test_each_source_has_its_test() -> None:
    """Every source is covered or an exception with a reason; unit tests lie as the sources do."""
    assert sorted(faults_of(source_files(), UNCOVERED)) == []


def source_of(path: str, text: str = "") -> SourceFile:
    return SourceFile(Path(path), tuple(text.splitlines()), ast.parse(text))


def test_rules_see_what_they_are_for() -> None:
    """The check itself: each way of being covered counts, and each fault is seen."""
    named = (
        '"""Of lines.\n\nCovers: infra.cord, infra.thread,\ninfra.rope, infra.hemp."""\nimport infra.cord, infra.rope\n'
    )
    sources = [
        source_of("infra/__init__.py"),
        source_of("infra/cord.py"),
        source_of("infra/rope.py", "import infra.strand"),
        source_of("infra/strand.py"),
        source_of("infra/strand_end.py"),
        source_of("infra/hemp.py"),
        source_of("infra/__main__.py"),
        source_of("infra/knot.py"),
        source_of("tests/unit/infra/test_lines.py", named),
        source_of("tests/properties/test_strand_properties.py", "import infra.rope"),
        source_of("tests/unit/infra/test_strand_end.py", "import infra.strand_end"),
        source_of("tests/unit/infra/test_knot.py", "import infra.rope"),
        source_of("tests/unit/infra/kafka/test_rope.py", "import infra.rope"),
        source_of("tests/unit/schema/test_nothing.py"),
        source_of(
            "tests/unit/infra/test_program.py", '"""\n\nCovers: infra.__main__."""\nRUN = ("python", "-m", "infra")\n'
        ),
    ]

    assert set(faults_of(sources, {"infra.cord": "long", "infra.string": "gone"})) == {
        "tests/unit/infra/test_lines.py covers infra.thread, which is no source",
        "tests/unit/infra/test_lines.py covers infra.hemp, which it does not reach by its imports",
        "infra.hemp has no test",
        "infra.knot has no test",
        "infra.cord is covered: it is no exception any more",
        "infra.string is an exception, and no source",
        "tests/unit/infra/kafka/test_rope.py lies beside none of what it covers: infra.rope",
        "tests/unit/schema/test_nothing.py lies in no source's folder",
    }
