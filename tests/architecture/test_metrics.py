"""Every metric has somebody who writes it, and a test that sees it change."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from infra.telemetry import metric_names
from infra.telemetry.metric_names import Metric
from tests.architecture.source_tree import PACKAGES, SourceFile, functions_of, source_files

__all__: list[str] = []

WORKER: Final = "integration/test_worker_metrics.py::test_what_a_worker_counts"
GATEWAY: Final = "integration/test_gateway_metrics.py::test_what_a_gateway_counts"
SILENT: Final = "integration/test_whole_line.py::test_silent_session_hears_a_prompt_of_another_gateway"
SLOW: Final = "integration/test_gateway.py::test_reader_slower_than_the_answer"

SEEN_BY: Final = {
    "GATEWAY_CONNECTIONS": GATEWAY,
    "GATEWAY_FRAMES": GATEWAY,
    "GATEWAY_BYTES_UNSENT": "faults/test_slow_clients.py::test_G2_peers_that_never_read",
    "GATEWAY_SLOW": SLOW,
    "GATEWAY_MODE_CHANGES": SLOW,
    "GATEWAY_BLOCKED_SECONDS": SLOW,
    "GATEWAY_CATCH_UP_READS": SLOW,
    "GATEWAY_ARCHIVE_READS": "unit/gateway/clients/test_archive_reader.py::test_many_at_once",
    "GATEWAY_REFUSED": "faults/test_gateway_access.py::test_page_of_an_address_that_is_not_allowed_is_named",
    "GATEWAY_SESSIONS": SILENT,
    "GATEWAY_RETURNS": SILENT,
    "GATEWAY_SKIPS": "unit/gateway/clients/test_session_attachments.py"
    "::test_client_that_asked_to_skip_is_taken_to_the_newest",
    "GATEWAY_EVICTIONS": "faults/test_gateway_half_open.py"
    "::test_G3_half_open_connections_are_noticed_freed_and_resumable",
    "GATEWAY_UNREADABLE": "integration/test_damaged_line.py::test_line_on_a_damaged_disk",
    "GATEWAY_HOLES": GATEWAY,
    "GATEWAY_LOGOUTS_DROPPED": "unit/gateway/access/test_access_desk.py::test_logouts_beyond_the_room_for_them",
    "GATEWAY_RELAY_SECONDS": GATEWAY,
    "WORKER_TURNS": WORKER,
    "WORKER_LIMITS_MET": "unit/processors/ledger/test_user_accounts.py::test_limit_in_shadow_refuses_nobody",
    "WORKER_TURNS_RUNNING": WORKER,
    "WORKER_TURNS_QUEUED": WORKER,
    "WORKER_TOKENS": WORKER,
    "WORKER_APPEND_SECONDS": WORKER,
    "WORKER_PROVIDER_TTFT_SECONDS": WORKER,
    "WORKER_CALL_LIMIT": "faults/test_hidden_limits.py::test_hidden_limit_is_learned",
    "WORKER_DEAD_LETTERS": "faults/test_stops_and_duplicates.py::test_r16_poison_is_dead_lettered_within_a_second",
    "WORKER_SENT_AGAIN": "integration/test_openai_provider_idle_connections.py"
    "::test_request_that_dies_with_an_idle_connection",
    "WORKER_SESSION_TOPICS": WORKER,
    "WORKER_SESSION_TOPICS_MAX": WORKER,
    "WORKER_ANSWER_CACHE": "unit/processors/attempts/test_answer_cache.py::test_same_prompt_again",
    "ANALYTICS_ROWS": "integration/test_analytics_writer.py::test_lost_answers_of_clickhouse",
    "ANALYTICS_LAG_RECORDS": "integration/test_analytics_writer.py::test_clickhouse_away_and_back",
    "ANALYTICS_INSERT_SECONDS": "integration/test_analytics_writer.py::test_lost_answers_of_clickhouse",
    "ANALYTICS_FAILURES": "integration/test_refused_rows.py::test_table_that_takes_nothing",
    "ANALYTICS_BLOCKED_SECONDS": "integration/test_refused_rows.py::test_table_that_takes_nothing",
}
"""By metric, the test that asserts its change."""

BUILDERS: Final = frozenset({"counter", "gauge", "histogram"})
WRITING: Final = r"(inc|dec|set|set_function|observe)\b"


def metrics_by_constant() -> dict[str, Metric]:
    """Each metric by the name that the sources know it by."""
    return {name: value for name, value in vars(metric_names).items() if isinstance(value, Metric)}


def text_of(source: SourceFile) -> str:
    return "\n".join(source.lines)


def built_in(statement: ast.stmt) -> set[str]:
    """The metrics that a statement builds, or takes from those that are built."""
    calls = (node for node in ast.walk(statement) if isinstance(node, ast.Call) and node.args)
    return {
        ast.unparse(call.args[0])
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr in BUILDERS
    }


def written_in(source: SourceFile, product: str) -> Iterator[str]:
    """Metrics that a file builds and that somebody writes: at once, or by the name that they are given there."""
    own = text_of(source)
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.stmt) or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        built = built_in(node)
        if built and (re.search(rf"\.{WRITING}", ast.unparse(node)) or is_kept_and_written(node, own, product)):
            yield from built


def is_kept_and_written(node: ast.stmt, own: str, product: str) -> bool:
    """Whether what an assignment keeps is written, itself or one of its labels."""
    if not isinstance(node, ast.Assign):
        return False
    name = ast.unparse(node.targets[0]).rpartition(".")[2]
    labelled = re.findall(rf"(\w+) = (?:self\.)?{name}\.labels\(", own)
    return any(is_written(each, own if each.startswith("_") else product) for each in (name, *labelled))


def is_written(name: str, text: str) -> bool:
    return re.search(rf"\b{name}(\.labels\(.*\))?\.{WRITING}", text) is not None


def test_every_metric_is_written() -> None:
    """One that is documented and never set says that all is well for ever."""
    sources = [source for source in source_files() if source.package in PACKAGES]
    product = "\n".join(map(text_of, sources))
    written = {name for source in sources for name in written_in(source, product)}

    assert sorted(metrics_by_constant().keys() - written) == []


def test_every_metric_is_seen_to_change() -> None:
    """By a test that is there, in a file that names the metric."""
    assert sorted(SEEN_BY) == sorted(metrics_by_constant())
    tests = {source.path.as_posix(): source for source in source_files()}
    missing = []
    for constant, metric in metrics_by_constant().items():
        path, _, function = f"tests/{SEEN_BY[constant]}".partition("::")
        source = tests.get(path)
        if source is None or function not in {found.name for found in functions_of(source)}:
            missing.append(f"{constant}: there is no {SEEN_BY[constant]}")
        elif metric.name not in text_of(source) and constant not in text_of(source):
            missing.append(f"{constant}: {path} does not name it")

    assert missing == []


def test_writers_are_recognised() -> None:
    """The check itself: what is written at once, by its name or a label's, and what is only built."""
    text = (
        "class C:\n    def f(self, m):\n        m.gauge(A).set(1)\n        self._b = m.counter(B)\n"
        "        self._b.labels(x=str(1)).inc()\n        c = m.counter(C)\n        self.in_c = c.labels(x='y')\n"
        "        self.in_c.inc()\n        self.d = m.gauge(D)\n        m.histogram(E)\n"
    )
    source = SourceFile(Path("gateway/made_up.py"), tuple(text.splitlines()), ast.parse(text))

    assert set(written_in(source, text)) == {"A", "B", "C"}
