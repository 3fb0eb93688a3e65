"""Runs readers' queries on the embedded engine, each in a session of its own that cannot write.

A session costs 0.3 ms, so every query gets a new one: no SET, USE or limit of one reader ever reaches another.
Threads, waiting queries, time, memory and the size of an answer are bounded. An abandoned query is killed by the mark
at its head: chDB has no other way to end a call that runs.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

import structlog

from infra.clickhouse.decisions.engine_names import EngineNames, EngineQueries
from infra.clickhouse.decisions.native_blocks import UnknownLength, with_protocol_version
from infra.clickhouse.decisions.read_policy import (
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
from infra.clickhouse.engine_files import READER_MEMORY_BYTES_MAX, READER_THREADS_MAX, EngineFiles
from infra.clickhouse.errors import ClickHouseError, ClickHouseRefused, ClickHouseUnavailable, ResultTooLarge

__all__ = ["Answer", "EmbeddedReader", "ReadRequest", "ReaderLimits"]

log = structlog.get_logger(__name__)

SYNTAX_ERROR: Final = 62
NOT_IMPLEMENTED: Final = 48
TIMEOUT_EXCEEDED: Final = 159
TOO_MANY_QUERIES: Final = 202
RESULT_TOO_LARGE: Final = 396
GRACE_S: Final = 3.0
"""Time that the engine has to notice its own limit before the query is killed."""
STOP_S: Final = 2.0
NATIVE: Final = "native"
STREAMABLE: Final = frozenset({NATIVE, "tabseparated", "tsv", "csv", "rowbinary", "jsoneachrow"})
"""Formats whose blocks can stand behind each other; the others are made whole, within the query's memory."""
ERROR_CODE: Final = re.compile(r"Code: (\d+)\.")
MARK: Final = re.compile(r"/\* reader:\w+ \*/ ")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderLimits:
    """What readers may use together."""

    queries_max: int = 4
    """Queries that run at once."""
    waiting_max: int = 16
    """Queries that may wait for a place; further ones are refused."""
    query_s_max: float = 30.0
    """Longest time of one query; also the longest wait for a place."""
    answer_bytes_max: int = 67_108_864
    """Largest answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRequest:
    """One query as a client sent it."""

    sql: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Values of {name:Type} in the text, escaped as in ClickHouse's HTTP interface."""
    settings: Mapping[str, str] = field(default_factory=dict)
    database: str = "tokenwire"
    default_format: str = "TabSeparated"
    protocol_version: int = 0
    """What the client knows of the format Native (`client_protocol_version`); 0: it has not said."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The bytes of an answer and the format they are in."""

    body: bytes
    format: str
    rows_read: int
    bytes_read: int


class EmbeddedReader:
    """Queries on the engine of these files, which this process has open by then: `bring_up`, called in the thread of
    each query, sees to that."""

    def __init__(self, files: EngineFiles, limits: ReaderLimits, bring_up: Callable[[], None] = lambda: None) -> None:
        self._limits = limits
        self._bring_up = bring_up
        self._settings_max = {
            "max_execution_time": limits.query_s_max,
            "max_memory_usage": READER_MEMORY_BYTES_MAX,
            "max_threads": READER_THREADS_MAX,
        }
        options = {
            "config-file": str(files.config),
            "readonly": "2",
            "max_execution_time": f"{limits.query_s_max:g}",
            "max_memory_usage": str(READER_MEMORY_BYTES_MAX),
        }
        plain = {"config-file": str(files.config)}
        self._address = f"{files.data}?{urlencode(options, safe='/')}"
        self._control_address = f"{files.data}?{urlencode(plain, safe='/')}"
        self._threads = ThreadPoolExecutor(max_workers=limits.queries_max, thread_name_prefix="reader")
        self._control = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reader-control")
        self._places = asyncio.Semaphore(limits.queries_max)
        self.waiting = 0
        self.running: set[asyncio.Future[Answer]] = set()
        self._stopped = False
        self._names: EngineNames | None = None
        """Read with the first query."""

    async def stop(self) -> None:
        """Kill what runs and end the threads. Queries that come later are refused."""
        self._stopped = True
        running = set(self.running)  # which empties itself, perhaps while they are killed
        for task in running:
            task.cancel()
        if running:
            await self.kill("/* reader:")
            await asyncio.wait(running, timeout=STOP_S)
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._control.shutdown(wait=False, cancel_futures=True)

    async def read(self, request: ReadRequest) -> Answer:
        """Run one reading statement.

        Raises ClickHouseRefused (also for what does more than read), ClickHouseUnavailable, ResultTooLarge.
        Cancellation: the query is killed; its place is free once it has ended.
        """
        await self.take_place()
        if self._stopped:
            self._places.release()
            raise ClickHouseUnavailable("The endpoint is stopping.")
        mark = f"/* reader:{secrets.token_hex(12)} */"
        work = asyncio.get_running_loop().run_in_executor(self._threads, self.answer, request, mark)
        self.running.add(work)
        work.add_done_callback(self.give_place)
        try:
            return await asyncio.wait_for(asyncio.shield(work), self._limits.query_s_max + GRACE_S)
        except TimeoutError:
            await self.kill(mark)
            raise ClickHouseRefused("The query took too long and was stopped.", code=TIMEOUT_EXCEEDED) from None
        except asyncio.CancelledError:
            await asyncio.shield(self.kill(mark))
            raise

    async def take_place(self) -> None:
        busy = ClickHouseUnavailable(
            f"{self._limits.queries_max} queries run and {self._limits.waiting_max} wait; try again later.",
            code=TOO_MANY_QUERIES,
        )
        if self._places.locked() and self.waiting >= self._limits.waiting_max:
            raise busy
        self.waiting += 1
        try:
            await asyncio.wait_for(self._places.acquire(), self._limits.query_s_max)
        except TimeoutError:
            raise busy from None
        finally:
            self.waiting -= 1

    def give_place(self, work: asyncio.Future[Answer]) -> None:
        self.running.discard(work)
        self._places.release()
        if not work.cancelled() and work.exception() is not None:
            return  # its reader hears of it, or has left

    async def kill(self, mark: str) -> None:
        quoted = mark.replace("'", "")
        sql = f"KILL QUERY WHERE startsWith(query, '{quoted}') ASYNC"
        await asyncio.get_running_loop().run_in_executor(self._control, self.run_control, sql)

    def run_control(self, sql: str) -> None:
        session = chdb_connect(self._control_address)
        try:
            session.query(sql, "TabSeparated")
        except RuntimeError as error:
            log.warning("query_not_killed", error=str(error)[:200])
        finally:
            session.close()

    def answer(self, request: ReadRequest, mark: str) -> Answer:
        """In a thread: judge the statement and run it in a session of its own."""
        self._bring_up()
        session = open_session(self._address)
        try:
            canonical = canonical_text(session, request.sql)
            self.prepare(session, request)
            verdict = self.verdict(session, canonical, request)
            output = verdict.format or request.default_format
            marked = f"{mark} {canonical}".encode(errors="surrogateescape")  # a literal may hold any byte
            version = request.protocol_version if output.lower() == NATIVE else 0
            if verdict.streams and output.lower() in STREAMABLE:
                return self.streamed(session, marked, output, request.parameters, version)
            return self.whole(session, marked, output, request.parameters, version)
        except RuntimeError as error:
            raise translated(error) from error
        finally:
            session.close()

    def verdict(self, session: Any, canonical: str, request: ReadRequest) -> Allowed:
        """Raises ClickHouseRefused for what is not on the lists."""
        heed(judge_format(request.default_format))
        found = judge_text(canonical)
        if isinstance(found, ToParse):
            tree = tree_of(session, found.text)
            found = judge_tree(tree, self.known_names(session), request.parameters, streams=found.streams)
        if isinstance(found, Refused):
            raise ClickHouseRefused(found.reason, code=found.code)
        return found

    def known_names(self, session: Any) -> EngineNames:
        if self._names is None:  # two threads may both ask, for the same answer
            asked = (EngineQueries.functions, EngineQueries.combinators, EngineQueries.settings)
            self._names = EngineNames.of(*(rows_of(session, sql) for sql in asked))
        return self._names

    def prepare(self, session: Any, request: ReadRequest) -> None:
        """The session's database and settings; it is read-only already, so neither can undo that."""
        settings = judge_settings(request.settings, self.known_names(session), self._settings_max)
        if isinstance(settings, Refused):
            raise ClickHouseRefused(settings.reason, code=settings.code)
        for name, value in settings.items():
            session.query(f"SET {name} = '{escaped(value)}'", "TabSeparated")
        if request.database:
            heed(judge_database(request.database))
            session.query(f"USE `{request.database}`", "TabSeparated")

    def streamed(self, session: Any, sql: bytes, output: str, parameters: Mapping[str, str], version: int) -> Answer:
        stream = session.send_query(sql, output, params=dict(parameters))
        body, rows_read, bytes_read = bytearray(), 0, 0
        for block in stream:
            body += native_of(block.bytes(), version)
            rows_read += block.rows_read()
            bytes_read += block.bytes_read()
            if len(body) > self._limits.answer_bytes_max:
                stream.cancel()
                raise self.too_large()
        return Answer(bytes(body), output, rows_read, bytes_read)

    def whole(self, session: Any, sql: bytes, output: str, parameters: Mapping[str, str], version: int) -> Answer:
        result = session.query(sql, output, params=dict(parameters))
        if result.size() > self._limits.answer_bytes_max:  # before it is copied
            raise self.too_large()
        body = native_of(result.bytes() or b"", version)
        return Answer(body, output, result.rows_read(), result.bytes_read())

    def too_large(self) -> ClickHouseError:
        return ResultTooLarge(
            f"The answer is larger than {self._limits.answer_bytes_max} bytes: ask for fewer columns or rows "
            "(WHERE, LIMIT), or aggregate.",
            code=RESULT_TOO_LARGE,
        )


def native_of(blocks: bytes, version: int) -> bytes:
    """Blocks as the client's version has them. Raises ClickHouseRefused."""
    try:
        return with_protocol_version(blocks, version)
    except (UnknownLength, RecursionError) as error:
        raise ClickHouseRefused(
            f"The format Native can't hold this answer for this client ({str(error)[:100]}): make that column text by "
            "toString() or toJSONString(), or name it last.",
            code=NOT_IMPLEMENTED,
        ) from error


def chdb_connect(address: str) -> Any:
    import chdb  # of the extra `embedded`; whoever opened the engine has asked for it

    return chdb.connect(address)


def open_session(address: str) -> Any:
    try:
        return chdb_connect(address)
    except RuntimeError as error:
        raise ClickHouseUnavailable(plain_message(str(error)), code=code_of(str(error))) from error


def heed(refused: Refused | None) -> None:
    if refused is not None:
        raise ClickHouseRefused(refused.reason, code=refused.code)


def canonical_text(session: Any, sql: str) -> str:
    """The engine's one-line text of a statement. Raises ClickHouseRefused for bad syntax and for more than one."""
    asking = f"SELECT formatQuerySingleLine('{escaped(sql)}')".encode(errors="surrogateescape")
    try:
        raw: bytes = session.query(asking, "TSVRaw").bytes()
    except RuntimeError as error:
        head = str(error).split(": In scope SELECT formatQuerySingleLine", 1)[0]
        raise ClickHouseRefused(plain_message(head), code=code_of(str(error)) or SYNTAX_ERROR) from error
    return raw.decode(errors="surrogateescape").removesuffix("\n")


def tree_of(session: Any, text: str) -> dict[str, Any]:
    """The engine's tree of a statement. Raises ClickHouseRefused where it has none, or one that is not whole."""
    asking = f"WITH parseQueryToJSON('{escaped(text)}') AS tree SELECT tree, formatQueryFromJSON(tree)"
    try:
        raw: bytes = session.query(asking.encode(errors="surrogateescape"), "JSONCompactEachRow").bytes()
        tree, again = json.loads(raw.decode(errors="surrogateescape"))
        if again != text:
            raise ClickHouseRefused("This statement can't be judged, so it is not available here.", code=READONLY_CODE)
        parsed: dict[str, Any] = json.loads(tree)
    except (RuntimeError, RecursionError) as error:
        log.info("statement_without_tree", code=code_of(str(error)))
        raise ClickHouseRefused(
            "Only reading is allowed here, by statements that the engine can show as a tree.", code=READONLY_CODE
        ) from error
    return parsed


def rows_of(session: Any, sql: str) -> list[list[str]]:
    raw: bytes = session.query(sql, "JSONCompactEachRow").bytes()
    return [json.loads(line) for line in raw.splitlines()]


def escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0")


def translated(error: RuntimeError) -> ClickHouseError:
    text = str(error)
    return ClickHouseRefused(plain_message(text), code=code_of(text))


def plain_message(text: str) -> str:
    """ClickHouse's own words, said once: chDB wraps them in further `Code: … DB::Exception:`."""
    start = text.rfind("DB::Exception: ")
    said = text[start + len("DB::Exception: ") :] if start >= 0 else text
    return MARK.sub("", said).strip()


def code_of(text: str) -> int:
    found = ERROR_CODE.search(text)
    return int(found[1]) if found else 0
