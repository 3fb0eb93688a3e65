"""Each source has a test file that covers it: one that bears its name, or one whose docstring says so.

`test_dialing.py` and `test_dialing_….py` cover `dialing.py`; the longest name counts, so that `test_answer_cache.py` is
no test of `answer.py`. Any other test file names the modules in the last paragraph of its docstring:

    Covers: gateway.client.dialing, gateway.client.inbox.

Either way the test has to reach the module by what it imports and by the programs that it starts (`python -m`). That
is a floor: that a test exercises a module and not only imports it is for whoever writes the line and whoever reads it.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.architecture.import_graph import Graph, graph_of, name_of, reached_from
from tests.architecture.source_tree import PACKAGES, SourceFile, source_files

__all__: list[str] = []

UNCOVERED: Final = {
    "gateway.fetching.log_reader": "protocols: nothing in it runs, and mypy checks who keeps to them",
    "tokenwire.benchmark.stream_path": "protocols: nothing in it runs, and mypy checks who keeps to them",
}
"""Sources that no test file covers, and why none has to."""
COVERS: Final = "Covers:"
TEST: Final = "test_"


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


def faults_of(sources: Sequence[SourceFile], uncovered: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the map, a sentence each."""
    modules = {source.module: source for source in sources if is_covered(source)}
    stems = {source.path.stem for source in modules.values()}
    graph = program_graph(sources)
    covered: set[str] = set()
    for test in filter(is_test, sources):
        reached, stem = reached_from(name_of(test), graph), stem_of(test, stems)
        covered |= {module for module in reached & modules.keys() if modules[module].path.stem == stem}
        for module in named_covers(test):
            if module not in modules:
                yield f"{test.path} covers {module}, which is no source"
            elif module not in reached:
                yield f"{test.path} covers {module}, which it does not reach by its imports"
            else:
                covered.add(module)
    yield from (f"{module} has no test" for module in modules.keys() - covered - uncovered.keys())
    yield from (f"{module} is covered: it is no exception any more" for module in covered & uncovered.keys())
    yield from (f"{module} is an exception, and no source" for module in uncovered.keys() - modules.keys())


def test_each_source_has_its_test() -> None:
    """Every source is covered or an exception with a reason; each line `Covers:` is true as far as imports go."""
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
    }
