"""What the pipeline stands on: settings, clock, Kafka and ClickHouse access, the embedded engines, telemetry.

Reads the environment (once, in `infra.settings`); writes only below `TOKENWIRE_HOME`. Imports nothing but
`schemas`. Guarantees: every wait has a deadline, every child process has an owner that outlives it.
"""

__all__: list[str] = []
