"""`tokenwire migrate`: topics and tables, made ready for the processes of this version."""

from __future__ import annotations

import asyncio
import json

import click

__all__ = ["migrate"]


@click.command()
@click.option("--topics-only", is_flag=True, help="Leave the database alone.")
@click.option("--json", "as_json", is_flag=True, help="Tell what was done as one JSON object.")
def migrate(topics_only: bool, as_json: bool) -> None:
    """Create topics, bring ClickHouse tables up to date.

    `tokenwire up` does this by itself; a cluster wants it once per version. Running it again changes nothing.

    \b
    Example:
      TOKENWIRE_KAFKA=kafka-1:9092 TOKENWIRE_CLICKHOUSE=https://… tokenwire migrate
    """
    topics, applied = asyncio.run(run_migrate(topics_only=topics_only))
    if as_json:
        click.echo(json.dumps({"topics": topics, "migrations_applied": applied}))
        return
    click.echo(f"{len(topics)} topics are there: {', '.join(topics)}")
    if not topics_only:
        click.echo(f"Applied to the database: {', '.join(applied) or 'nothing, it is up to date'}")


async def run_migrate(*, topics_only: bool) -> tuple[list[str], list[str]]:
    from infra.clickhouse.connection import ClickHouseConnection
    from infra.clickhouse.migrate import migrate as migrate_tables
    from infra.kafka.topic_admin import ensure_topics
    from tokenwire.line.client_start import client_start

    settings = client_start()
    topics = [spec.name for spec in settings.fixed_topics]
    connection = None if topics_only else ClickHouseConnection(settings)  # says what is missing before anything is made
    await ensure_topics(settings, settings.fixed_topics)
    if connection is None:
        return topics, []
    await connection.open()
    try:
        return topics, await migrate_tables(connection)
    finally:
        await connection.close()
