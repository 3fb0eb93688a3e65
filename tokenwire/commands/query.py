"""`tokenwire query`: SQL against the analytics tables, of the running line or of a server."""

from __future__ import annotations

import asyncio
import logging
import sys

import click

from tokenwire.commands.terminal_text import printable

__all__ = ["query"]


@click.command(context_settings={"ignore_unknown_options": True})  # a query may begin with a -- comment
@click.argument("sql", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a row.  [default: a table]")
def query(sql: str | None, *, as_json: bool) -> None:
    """Ask ClickHouse, read-only.

    \b
    Examples:
      tokenwire query "SELECT model, count(), avg(ttft_ms) FROM turns GROUP BY model"
      tokenwire query --json "SELECT * FROM turns LIMIT 3"
    """
    if not sql or sql == "-":
        if not sql and sys.stdin.isatty():
            raise click.UsageError('Give a query, as in: tokenwire query "SELECT count() FROM turns"')
        sql = click.get_text_stream("stdin").read()
    asyncio.run(show_rows(sql, as_json=as_json))


async def show_rows(sql: str, *, as_json: bool) -> None:
    from infra.clickhouse.queries import run_query
    from tokenwire.line.client_start import client_start

    settings = client_start()
    # The driver sets a level of its own when it is imported; what it would say of a retry is in our one line.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    click.echo(printable((await run_query(settings, sql, as_json=as_json)).rstrip("\n")))
