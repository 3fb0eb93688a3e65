"""Logs as events with fields: JSON lines for machines, aligned lines for people, both on standard error.

Three layers keep private things out, so that one slip is not a leak: the fields that carry them have names that
are never shown (`PRIVATE_FIELDS`), strings that look like credentials are blotted out wherever they stand, and
libraries never log at debug level, where they print headers and frames. Control characters are escaped: a model's
output cannot move a reader's cursor or forge a line.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Mapping
from typing import Final, Literal, TextIO, TypeAlias

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from infra.telemetry.quiet_repeats import QuietRepeats

__all__ = ["PRIVATE_FIELDS", "LogFormat", "LogLevel", "configure_logging", "without_private"]

LogFormat: TypeAlias = Literal["auto", "json", "console"]
LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]

OUR_LOGGERS: Final = ("schemas", "infra", "producers", "processors", "gateway", "tokenwire", "__main__")
REDACTED: Final = "[redacted]"
DEPTH_MAX: Final = 4

PRIVATE_FIELDS: Final = frozenset(
    {
        "api_key",
        "authorization",
        "body",
        "chunks",
        "content",
        "cookie",
        "headers",
        "input",
        "messages",
        "password",
        "prompt",
        "provider_key",
        "raw",
        "secret",
        "text",
        "texts",
        "token",
        "value",
    }
)
PRIVATE_SUFFIXES: Final = ("_token", "_secret", "_password", "_authorization")
MULTILINE_FIELDS: Final = frozenset({"exception", "stack"})

CREDENTIAL: Final = re.compile(
    r"eyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?"  # a JSON web token, with or without its signature
    r"|\bsk-[\w-]{8,}"  # a provider's key
    r"|(?<=://)[^\s/:@]+:[^\s/@]+(?=@)"  # user:password in an address
    r"|(?i:(?<=bearer )\S+)"
)
CONTROL: Final = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
CONTROL_AND_LINES: Final = CONTROL | {ord("\n"): "\\n", ord("\t"): "\\t"}


def configure_logging(
    log_format: LogFormat, log_level: LogLevel, process_name: str, *, stream: TextIO | None = None
) -> None:
    """Send the events of our loggers and the libraries' to `stream` (standard error). Call once, at the root.

    Libraries speak from `warning` up, at our `debug` level from `info` up, and say the same once in a while only.
    """
    out = stream or sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        naming(process_name),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        without_private,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = logging.StreamHandler(out)
    handler.addFilter(QuietRepeats())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                renderer(log_format, out),
            ],
        )
    )
    set_levels(handler, log_level)


def without_private(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Blot out private fields and what looks like a credential, and escape control characters (a processor)."""
    return {name: shown(name, value, depth=0) for name, value in event.items()}


def shown(name: str, value: object, *, depth: int) -> object:
    if name.startswith("_"):  # structlog's own, taken out before rendering
        return value
    if name.lower() in PRIVATE_FIELDS or name.lower().endswith(PRIVATE_SUFFIXES):
        return REDACTED
    if isinstance(value, str):
        return CREDENTIAL.sub(REDACTED, value).translate(CONTROL if name in MULTILINE_FIELDS else CONTROL_AND_LINES)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth >= DEPTH_MAX:
        return "…"
    return shown_inside(name, value, depth=depth + 1)


def shown_inside(name: str, value: object, *, depth: int) -> object:
    if isinstance(value, Mapping):
        return {str(key): shown(str(key), inner, depth=depth) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [shown(name, inner, depth=depth) for inner in value]
    return shown(name, str(value), depth=depth)


def naming(process_name: str) -> Processor:
    process_id = os.getpid()

    def add_process(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event["process"] = process_name
        event["pid"] = process_id
        return event

    return add_process


def renderer(log_format: LogFormat, out: TextIO) -> Processor:
    if log_format == "console" or (log_format == "auto" and out.isatty()):
        return structlog.dev.ConsoleRenderer(
            colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=28
        )
    return structlog.processors.JSONRenderer(ensure_ascii=False)


def set_levels(handler: logging.Handler, log_level: LogLevel) -> None:
    level = logging.getLevelNamesMapping()[log_level.upper()]
    library_level = logging.INFO if level == logging.DEBUG else max(level, logging.WARNING)
    root = logging.getLogger()
    for present in [*root.handlers]:
        root.removeHandler(present)
    root.addHandler(handler)
    root.setLevel(library_level)
    for name in OUR_LOGGERS:
        logging.getLogger(name).setLevel(level)
