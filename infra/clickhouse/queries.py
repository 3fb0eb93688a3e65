"""One question to ClickHouse, for `tokenwire query`: over the read-only endpoint, or at the server of the settings.

Answers are the engine's own text: a table for people, JSON lines for programs, or whatever FORMAT the statement
names. A server's own user decides what may run there; the request asks it to be read-only all the same.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError as DriverError
from clickhouse_connect.driver.exceptions import OperationalError

from infra.clickhouse.decisions.reader_access import READER_NAME
from infra.clickhouse.errors import ClickHouseRefused, ClickHouseUnavailable
from infra.clickhouse.reader_token import reader_token
from infra.ports import LOOPBACK
from infra.settings import Settings

__all__ = ["reading_access", "run_query"]

CONNECT_S: Final = 5
ANSWER_GRACE_S: Final = 10
TABLE_FORMAT: Final = "PrettyCompactMonoBlock"
JSON_FORMAT: Final = "JSONEachRow"


async def run_query(settings: Settings, sql: str, *, as_json: bool = False) -> str:
    """The answer as text. Raises ClickHouseUnavailable (nothing listens), ClickHouseRefused (what is wrong).

    Cancellation: the engine may go on with the query until its own limit.
    """
    return await asyncio.to_thread(asked, settings, sql, JSON_FORMAT if as_json else TABLE_FORMAT)


def asked(settings: Settings, sql: str, answer_format: str) -> str:
    try:
        client = connected(settings)
        try:
            raw = client.raw_query(sql.rstrip().rstrip(";"), transport_settings={"X-ClickHouse-Format": answer_format})
        finally:
            client.close()
    except OperationalError as error:
        raise ClickHouseUnavailable(absent_message(settings)) from error
    except (DriverError, OSError) as error:
        raise ClickHouseRefused(spoken(error), code=int(getattr(error, "code", 0) or 0)) from error
    return raw.decode(errors="replace")


def connected(settings: Settings) -> Client:
    wait_s = int(settings.analytics_query_s) + ANSWER_GRACE_S
    return clickhouse_connect.get_client(
        connect_timeout=CONNECT_S,
        send_receive_timeout=wait_s,
        **reading_access(settings, query_s_max=settings.analytics_query_s),
    )


def reading_access(settings: Settings, *, query_s_max: float) -> dict[str, Any]:
    """How a client that only reads finds the database: the server of the settings, or the embedded endpoint.

    Reads the endpoint's token, and makes one where there is none yet. Raises SecretDamaged, OSError.
    """
    if settings.clickhouse_to_read:
        return {
            "dsn": settings.clickhouse_to_read,
            "autogenerate_session_id": False,
            "settings": {"readonly": 2, "max_execution_time": query_s_max},
        }
    return {
        "host": LOOPBACK,
        "port": settings.analytics_port,
        "username": READER_NAME,
        "password": reader_token(settings.home),
        "autogenerate_session_id": False,
    }


def absent_message(settings: Settings) -> str:
    if settings.clickhouse_to_read:
        return "No ClickHouse answers at the address of TOKENWIRE_CLICKHOUSE; check it, and that the server runs."
    return (
        f"Nothing answers at {LOOPBACK}:{settings.analytics_port}: start `tokenwire up` (or `tokenwire reader`), "
        "or set TOKENWIRE_ANALYTICS_PORT to the port it printed."
    )


def spoken(error: Exception) -> str:
    """The engine's words without the client's frame around them."""
    text = str(error)
    start = text.rfind("DB::Exception: ")
    said = text[start + len("DB::Exception: ") :] if start >= 0 else text
    return said.split(" (for url", 1)[0].strip()
