"""The words every process shares: identifiers, events, limits, topics and the one reading of a session's log.

Reads and writes nothing; every module in here is pure: values in, values out. An event crosses a process border
only as bytes made by `schemas.codec`, under a name made by `schemas.topics`.
"""

__all__: list[str] = []
