"""What readers may ask: statements, names, formats and settings, against the lists of what is allowed.

Covers: infra.clickhouse.decisions.allowed_names, infra.clickhouse.decisions.engine_names.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra.clickhouse.decisions.engine_names import EngineNames
from infra.clickhouse.decisions.read_policy import (
    ACCESS_DENIED_CODE,
    READONLY_CODE,
    Allowed,
    Refused,
    ToParse,
    judge_database,
    judge_format,
    judge_settings,
    judge_text,
    judge_tree,
)

__all__: list[str] = []

NAMES = EngineNames.of(
    [
        ("sum", "", "Aggregate Functions", "1"),
        ("upper", "", "String", "0"),
        ("ucase", "upper", "", "0"),
        ("file", "", "Other", "0"),
        ("aiGenerate", "", "AI", "0"),
        ("AIGenerate", "aiGenerate", "", "0"),
        ("inventedLater", "", "Invented Later", "0"),
    ],
    [("If",), ("State",)],
    [
        ("max_threads", "MaxThreads"),
        ("max_execution_time", "Seconds"),
        ("format_schema", "String"),
        ("output_format_schema", "String"),
        ("output_format_json_quote_64bit_integers", "Bool"),
    ],
)


def query(**more: Any) -> dict[str, Any]:
    return {"type": "SelectWithUnionQuery", "list_of_selects": {"type": "ExpressionList", "children": []}, **more}


def selecting(*nodes: dict[str, Any]) -> dict[str, Any]:
    return query(list_of_selects={"type": "ExpressionList", "children": list(nodes)})


def called(name: str, *arguments: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Function", "name": name, "arguments": {"type": "ExpressionList", "children": list(arguments)}}


def written(text: str) -> dict[str, Any]:
    return {"type": "Literal", "value": {"field_type": "String", "value": text}}


def judged(tree: dict[str, Any], **parameters: str) -> Allowed | Refused:
    return judge_tree(tree, NAMES, parameters, streams=True)


@pytest.mark.parametrize(
    "canonical",
    ["SELECT 1", "WITH 1 AS x SELECT x", "(SELECT 1) UNION ALL (SELECT 2)", "EXPLAIN SELECT 1", "SHOW TABLES"],
)
def test_reading_statements_are_judged_by_their_tree(canonical: str) -> None:
    """The text is only the first look; whole plain queries stream."""
    assert judge_text(canonical) == ToParse(canonical, streams="SELECT" in canonical and "EXPLAIN" not in canonical)


def test_a_described_table_is_judged_as_that_of_a_query() -> None:
    """DESCRIBE has no tree of its own."""
    assert judge_text("DESCRIBE TABLE file('x')") == ToParse("SELECT * FROM file('x')", streams=False)


@pytest.mark.parametrize(
    ("canonical", "output"),
    [
        ("EXISTS TABLE t", None),
        ("SHOW CREATE TABLE a.`b c` FORMAT JSON", "JSON"),
        ("SHOW PROCESSLIST", None),
        ("SHOW COLUMNS FROM t FROM tokenwire LIKE 'a%'", None),
        ("SHOW FUNCTIONS LIKE 'sum'", None),
    ],
)
def test_names_of_the_schema_can_be_looked_up(canonical: str, output: str | None) -> None:
    """These hold nothing but names, so their text is enough."""
    assert judge_text(canonical) == Allowed(streams=False, format=output)


@pytest.mark.parametrize(
    "canonical",
    [
        "",
        "INSERT INTO t SELECT 1",
        "DROP TABLE t",
        "SET readonly = 0",
        "KILL QUERY WHERE 1 ASYNC",
        "EXECUTE AS default SELECT 1",
        "SHOW PROCESSLIST FORMAT Template",
    ],
)
def test_other_statements_are_refused_by_their_text(canonical: str) -> None:
    """Each with a reason."""
    verdict = judge_text(canonical)

    assert isinstance(verdict, Refused)
    assert verdict.reason


@pytest.mark.parametrize(
    "node",
    [
        called("upper", written("file('x')")),
        called("SUM", {"type": "Identifier", "name": "upper"}),
        called("sumIfState"),
        called("lambda", {"type": "Identifier", "name": "t.file"}),
        {"type": "ColumnsApplyTransformer", "func_name": "ucase"},
        {"type": "TableIdentifier", "name": "tokenwire.turns", "name_parts": ["tokenwire", "turns"]},
        {"type": "TableExpression", "table_function": called("numbers")},
        {"type": "TableExpression", "table_function": called("values", written("a String, b Decimal(9, 2)"))},
        {"type": "SetQuery", "changes": [{"name": "max_threads"}, {"name": "output_format_json_quote_64bit_integers"}]},
    ],
)
def test_what_is_on_the_lists_is_allowed(node: dict[str, Any]) -> None:
    """What stands in strings, and columns with their table, do no harm."""
    assert judged(selecting(node)) == Allowed(streams=True, format=None)


@pytest.mark.parametrize(
    ("node", "word"),
    [
        (called("file", written("x")), "file"),
        (called("FILE"), "FILE"),
        (called("upper", called("file")), "file"),
        (called("upper", {"type": "Identifier", "name": "File"}), "File"),
        (called("nowhereKnown"), "nowhereKnown"),
        (called("AIGenerate"), "AIGenerate"),
        (called("inventedLater"), "inventedLater"),
        (called("upperIf"), "upperIf"),
        ({"type": "ColumnsApplyTransformer", "func_name": "file"}, "file"),
        ({"type": "QueryParameter", "name": "p", "param_type": "Identifier"}, "file"),
        ({"type": "TableExpression", "table_function": called("format")}, "format"),
        ({"type": "TableExpression", "table_function": called("upper")}, "upper"),
        ({"type": "TableExpression", "table_function": called("values", written("a Int8 DEFAULT 1"))}, "values"),
        ({"type": "TableExpression", "table_function": called("values", called("concat"))}, "values"),
        ({"type": "TableIdentifier", "name": "system.users", "name_parts": ["system", "users"]}, "system.users"),
        ({"type": "TableIdentifier", "name": "other.t", "name_parts": ["other", "t"]}, "other"),
        ({"type": "SetQuery", "changes": [{"name": "format_schema"}]}, "format_schema"),
        ({"type": "SetQuery", "changes": [{"name": "output_format_schema"}]}, "output_format_schema"),
        ({"type": "SetQuery", "query_parameters": {"a": "b"}}, "SETTINGS"),
        ({"type": "InsertQuery"}, "InsertQuery"),
        ({"type": "ExplainQuery", "kind": "EXPLAIN"}, "ExplainQuery"),
        ({"type": "InventedLater"}, "InventedLater"),
        (query(out_file=written("x")), "OUTFILE"),
        (query(format_ast={"type": "Identifier", "name": "Template"}), "Template"),
    ],
)
def test_what_is_not_on_a_list_is_refused_by_name(node: dict[str, Any], word: str) -> None:
    """However deep it stands."""
    deep = selecting(called("upper", {"type": "Subquery", "children": [selecting(node)]}))
    for tree in (selecting(node), deep, {"type": "ExplainQuery", "kind": "EXPLAIN", "query": deep}):
        verdict = judged(tree, p="file")

        assert isinstance(verdict, Refused), json.dumps(tree)
        assert word in verdict.reason


def test_explanations_and_formats_are_on_lists_too() -> None:
    """EXPLAIN's own settings are the engine's to judge."""
    explained = {"type": "ExplainQuery", "settings": {"type": "SetQuery", "changes": [{"name": "indexes"}]}}

    assert judged(explained | {"kind": "EXPLAIN", "query": query()}) == Allowed(streams=True, format=None)
    assert isinstance(judged(explained | {"kind": "EXPLAIN TABLE OVERRIDE"}), Refused)
    assert isinstance(judged({"type": "CreateQuery"}), Refused)
    assert judged(query(format_ast={"type": "Identifier", "name": "JSON"})) == Allowed(streams=True, format="JSON")
    assert judge_format("tsv") is None
    assert judge_format("Protobuf") is not None
    assert judge_database("tokenwire") is None
    refused = judge_database("`x")
    assert refused is not None
    assert refused.code == ACCESS_DENIED_CODE


def test_settings_of_an_address_are_allowed_lowered_ignored_or_refused() -> None:
    """A driver's own settings never stop a query; a reader can't lift a limit, nor name a file."""
    limits = {"max_execution_time": 2.0}

    assert judge_settings({"max_execution_time": "1", "max_threads": "1"}, NAMES, limits) == {
        "max_execution_time": "1",
        "max_threads": "1",
    }
    for above in ("60", "0", "-1", "nan", "inf"):
        assert judge_settings({"max_execution_time": above}, NAMES, limits) == {"max_execution_time": "2"}
    assert judge_settings({"readonly": "1", "http_write_exception_in_output_format": "0"}, NAMES, limits) == {}
    refused = {"readonly": READONLY_CODE, "format_schema": READONLY_CODE, "no_such": 115}
    for name, code in refused.items():
        verdict = judge_settings({name: "0"}, NAMES, limits)
        assert isinstance(verdict, Refused)
        assert verdict.code == code
        assert name in verdict.reason
