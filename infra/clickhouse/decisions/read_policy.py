"""Is a statement one that only reads what readers may read? Decided on the engine's own tree of it.

Three walls:
1. The engine's user has no grant outside `tokenwire` and a few system tables: file(), url(), s3(), remote() and the
   like fail with ACCESS_DENIED (`engine_files`).
2. A reader's session has readonly = 2, which it can't leave, and limits with bounds: INSERT, CREATE, DROP, ALTER,
   SYSTEM and `SETTINGS readonly = 0` fail.
3. This policy. The first two let through a great deal in an engine embedded in a process: functions that read files,
   settings that name files or hold SQL, structures with `DEFAULT file(…)`, formats that write a schema, INTO OUTFILE.
   So whatever a statement names must be on a list (`allowed_names`): the kinds of nodes, settings, functions, table
   functions, formats and databases.

The tree is the engine's: `formatQuerySingleLine` accepts exactly one statement and writes it in one way, and
`parseQueryToJSON` gives the tree of that text. The text made from the tree must be that text again, so the tree has
left out nothing, and what was judged is what runs. DESCRIBE has no such tree; its table is judged as that of a SELECT.
The few other statements about the schema hold names alone and are matched whole (`SHAPES`).

A function can be named without a call (arrayMap(file, …), APPLY file), so a bare name is refused too where it is
that of a refused function. Names in `{name:Identifier}` are judged by their values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from infra.clickhouse.decisions.allowed_names import (
    DATABASES,
    FORMATS,
    IGNORED_SETTINGS,
    LOWERED_SETTINGS,
    SYSTEM_TABLES,
    TABLE_FUNCTIONS,
)
from infra.clickhouse.decisions.engine_names import EngineNames

__all__ = [
    "ACCESS_DENIED_CODE",
    "READONLY_CODE",
    "Allowed",
    "Refused",
    "ToParse",
    "Verdict",
    "judge_database",
    "judge_format",
    "judge_settings",
    "judge_text",
    "judge_tree",
]

READONLY_CODE: Final = 164
"""ClickHouse's number for a statement refused to a reader."""
ACCESS_DENIED_CODE: Final = 497
UNKNOWN_FUNCTION_CODE: Final = 46
UNKNOWN_FORMAT_CODE: Final = 73
UNKNOWN_SETTING_CODE: Final = 115

READING_VERBS: Final = frozenset({"SELECT", "WITH", "SHOW", "DESCRIBE", "EXISTS", "EXPLAIN"})
ROOTS: Final = frozenset({"SelectWithUnionQuery", "SelectQuery", "SelectIntersectExceptQuery"})
SCHEMA_ROOTS: Final = frozenset({"ExplainQuery", "ShowTablesQuery"})
NODES: Final = ROOTS | {
    "ArrayJoin",
    "Asterisk",
    "ColumnsApplyTransformer",
    "ColumnsExceptTransformer",
    "ColumnsListMatcher",
    "ColumnsRegexpMatcher",
    "ColumnsReplaceTransformer",
    "ColumnsReplaceTransformerReplacement",
    "ColumnsTransformerList",
    "ExpressionList",
    "Function",
    "Identifier",
    "InterpolateElement",
    "Literal",
    "OrderByElement",
    "QualifiedAsterisk",
    "QualifiedColumnsListMatcher",
    "QualifiedColumnsRegexpMatcher",
    "QueryParameter",
    "SampleRatio",
    "SetQuery",
    "Subquery",
    "TableExpression",
    "TableIdentifier",
    "TableJoin",
    "TablesInSelectQuery",
    "TablesInSelectQueryElement",
    "WindowDefinition",
    "WindowListElement",
    "WithElement",
}
EXPLANATIONS: Final = frozenset(
    {"EXPLAIN", "EXPLAIN AST", "EXPLAIN SYNTAX", "EXPLAIN QUERY TREE", "EXPLAIN PIPELINE", "EXPLAIN ESTIMATE"}
)
NAME: Final = r"(?:\w+|`(?:[^`\\]|\\.)*`)"
SHAPES: Final = re.compile(
    rf"""(?:
      (?:EXISTS|SHOW\ CREATE)\ (?:TABLE|VIEW|DATABASE|DICTIONARY)\ {NAME}(?:\.{NAME})?
    | SHOW\ (?:EXTENDED\ )?(?:FULL\ )?(?:COLUMNS|INDEXES)\ FROM\ {NAME}(?:\ FROM\ {NAME})?
    | SHOW\ SETTING\ {NAME}
    | SHOW\ (?:FUNCTIONS|ENGINES|PROCESSLIST|GRANTS)
    )(?:\ I?LIKE\ '(?:[^'\\]|\\.)*')?(?:\ FORMAT\ (?P<format>\w+))?""",
    re.VERBOSE,
)
DESCRIBED: Final = re.compile(r"DESCRIBE (?:TABLE )?(?P<table>.*)", re.DOTALL)
PLAIN_STRUCTURE: Final = re.compile(r"\s*\w+\s+\w+(?:\([\w\s,'().=]*\))?(?:\s*,\s*\w+\s+\w+(?:\([\w\s,'().=]*\))?)*\s*")


@dataclass(frozen=True, slots=True)
class Allowed:
    """The statement reads."""

    streams: bool
    """It is a plain query, whose rows can be taken block by block."""
    format: str | None
    """The output format that it names."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The statement may not run here, why, and ClickHouse's number for that."""

    reason: str
    code: int = READONLY_CODE


@dataclass(frozen=True, slots=True)
class ToParse:
    """The tree of this text decides."""

    text: str
    streams: bool


Verdict = Allowed | Refused

ONLY_READING: Final = Refused("Only reading is allowed here: SELECT, WITH, SHOW, DESCRIBE, EXISTS, EXPLAIN.")


def judge_text(canonical: str) -> Verdict | ToParse:
    """The first look at the canonical text of one statement."""
    verb = canonical.lstrip("(").split(" ", 1)[0].split("\n", 1)[0]
    if verb not in READING_VERBS:
        return ONLY_READING
    shape = SHAPES.fullmatch(canonical)
    if shape is not None:
        return judge_format(shape["format"]) or Allowed(streams=False, format=shape["format"])
    described = DESCRIBED.fullmatch(canonical)
    if described is not None:
        return ToParse(f"SELECT * FROM {described['table']}", streams=False)
    return ToParse(canonical, streams=verb in ("SELECT", "WITH"))


def judge_tree(tree: Mapping[str, Any], names: EngineNames, parameters: Mapping[str, str], *, streams: bool) -> Verdict:
    """Judge the tree of a statement; `parameters` are the values of its {name:Type}."""
    if tree.get("type") not in ROOTS | SCHEMA_ROOTS:
        return ONLY_READING
    for node, is_table in nodes_of(tree):
        refused = judge_node(node, names, parameters, is_root=node is tree, is_table=is_table)
        if refused is not None:
            return refused
    output = tree.get("format_ast")
    return Allowed(streams=streams, format=output["name"] if output else None)


def judge_settings(
    wanted: Mapping[str, str], names: EngineNames, limits: Mapping[str, float]
) -> dict[str, str] | Refused:
    """The settings of an address as they may be set: above a limit they are lowered, without meaning left out."""
    found: dict[str, str] = {}
    for name, value in wanted.items():
        if name == "readonly" and value not in ("1", "2"):
            return refused_setting(name)
        if name in IGNORED_SETTINGS:
            continue
        if name not in names.settings:
            return Refused(f"Unknown setting {name!r}.", UNKNOWN_SETTING_CODE)
        if not names.setting_allowed(name):
            return refused_setting(name)
        found[name] = lowered(value, limits[name]) if name in LOWERED_SETTINGS and name in limits else value
    return found


def judge_format(name: str | None) -> Refused | None:
    """May an answer have this format?"""
    if name is None or name.lower() in FORMATS:
        return None
    return Refused(f"The format {name} is not available here.", UNKNOWN_FORMAT_CODE)


def judge_database(name: str) -> Refused | None:
    """May a reader be in this database?"""
    if name in DATABASES:
        return None
    return Refused(f"The database {name} is not available here; tokenwire is.", ACCESS_DENIED_CODE)


def nodes_of(tree: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], bool]]:
    """Every node of the tree, and whether it stands where a table function does."""
    waiting: list[tuple[Any, bool]] = [(tree, False)]
    while waiting:
        found, is_table = waiting.pop()
        if isinstance(found, list):
            waiting.extend((part, False) for part in found)
        elif isinstance(found, dict):
            if "type" in found:
                yield found, is_table
            own = "settings" if found.get("type") == "ExplainQuery" else ""  # of EXPLAIN itself: the engine knows a few
            waiting.extend((part, key == "table_function") for key, part in found.items() if key != own)


def judge_node(
    node: Mapping[str, Any], names: EngineNames, parameters: Mapping[str, str], *, is_root: bool, is_table: bool
) -> Refused | None:
    kind = node["type"]
    if node.get("out_file") is not None:
        return Refused("INTO OUTFILE is not available here: take the answer from the response.")
    if node.get("format_ast") is not None and judge_format(node["format_ast"].get("name", "")):
        return judge_format(node["format_ast"].get("name", ""))
    if kind == "ExplainQuery" and is_root:
        return None if node.get("kind") in EXPLANATIONS else Refused(f"{node.get('kind')} is not available here.")
    if kind == "ShowTablesQuery" and is_root:
        return None
    if kind not in NODES:
        return Refused(f"A statement with {kind} is not available here: this endpoint only reads.")
    match kind:
        case "Function":
            return judge_table_function(node) if is_table else judge_function(node["name"], names)
        case "ColumnsApplyTransformer":
            return judge_function(node["func_name"], names) if node.get("func_name") else None
        case "Identifier":
            return judge_identifier(node["name"], names)
        case "QueryParameter":
            value = parameters.get(node["name"], "")
            return judge_identifier(value, names) if "Identifier" in node.get("param_type", "") else None
        case "TableIdentifier":
            return judge_table(node.get("name_parts") or [node["name"]])
        case "SetQuery":
            return judge_clause(node, names)
        case _:  # a kind on the list that names nothing
            return None


def judge_function(name: str, names: EngineNames) -> Refused | None:
    if names.function_allowed(name):
        return None
    if not names.function_known(name):
        return Refused(f"Function with name `{name}` does not exist.", UNKNOWN_FUNCTION_CODE)
    return Refused(f"The function {name} is not available here.", ACCESS_DENIED_CODE)


def judge_identifier(name: str, names: EngineNames) -> Refused | None:
    if name.lower() not in names.refused_functions:
        return None
    return Refused(
        f"{name} is the name of a function that is not available here; write a column of that name with its table.",
        ACCESS_DENIED_CODE,
    )


def judge_table_function(node: Mapping[str, Any]) -> Refused | None:
    name = node["name"]
    if name not in TABLE_FUNCTIONS:
        return Refused(f"The table function {name} is not available here.", ACCESS_DENIED_CODE)
    arguments = (node.get("arguments") or {}).get("children") or []
    if name != "values" or not arguments:
        return None
    first = arguments[0]
    value = first["value"] if first["type"] == "Literal" else {}
    if first.get("name") == "tuple" or value.get("field_type", "String") != "String":
        return None
    if value and PLAIN_STRUCTURE.fullmatch(value["value"]):
        return None
    return Refused("values() takes columns as 'name Type, …', or numbers and tuples alone here.", ACCESS_DENIED_CODE)


def judge_table(parts: list[str]) -> Refused | None:
    if len(parts) == 1:
        return None  # of the current database, or a WITH's
    refused = judge_database(parts[0])
    if refused is None and parts[0] == "system" and parts[1] not in SYSTEM_TABLES:
        return Refused(f"The table {'.'.join(parts)} is not available here.", ACCESS_DENIED_CODE)
    return refused


def judge_clause(node: Mapping[str, Any], names: EngineNames) -> Refused | None:
    """A SETTINGS clause; its values stay as they are, and the engine holds them to its limits."""
    if set(node) - {"type", "changes"}:
        return Refused("A SETTINGS clause may only give values to settings here.")
    for change in node.get("changes") or []:
        if not names.setting_allowed(change["name"]):
            return refused_setting(change["name"])
    return None


def refused_setting(name: str) -> Refused:
    return Refused(f"The setting {name} can't be changed here.")


def lowered(value: str, limit: float) -> str:
    try:
        asked = float(value)
    except ValueError:
        return value  # the engine says what is wrong with it
    return value if 0 < asked <= limit else f"{limit:.15g}"
