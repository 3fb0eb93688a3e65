from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator

import pytest
import structlog

from infra.telemetry.log_setup import PRIVATE_FIELDS, LogFormat, LogLevel, configure_logging

__all__: list[str] = []

Configure = Callable[..., io.StringIO]
CANARY = "canary-7c1e"


@pytest.fixture
def configure() -> Iterator[Configure]:
    """Configures logging into a buffer, and puts everything back afterwards."""
    root = logging.getLogger()
    handlers, level = [*root.handlers], root.level
    ours = {name: logging.getLogger(name).level for name in ("infra", "tokenwire", "__main__")}

    def into_buffer(log_format: LogFormat = "json", log_level: LogLevel = "info") -> io.StringIO:
        stream = io.StringIO()
        configure_logging(log_format, log_level, "gateway", stream=stream)
        return stream

    yield into_buffer
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in ours.items():
        logging.getLogger(name).setLevel(before)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_event_becomes_one_json_line_with_its_fields(configure: Configure) -> None:
    """Event, fields, level, logger, process and time are all there."""
    stream = configure()
    structlog.get_logger("infra.kafka").info("broker_ready", port=9092, topics=["a"])
    (line,) = lines(stream)

    assert line["event"] == "broker_ready"
    assert (line["port"], line["topics"], line["level"]) == (9092, ["a"], "info")
    assert (line["logger"], line["process"]) == ("infra.kafka", "gateway")
    assert str(line["timestamp"]).endswith("Z")


def test_below_the_level_nothing_is_written(configure: Configure) -> None:
    """A level leaves out what is less severe."""
    stream = configure(log_level="warning")
    structlog.get_logger("infra.kafka").info("broker_ready")
    structlog.get_logger("infra.kafka").warning("broker_slow")

    assert [line["event"] for line in lines(stream)] == ["broker_slow"]


def test_library_is_routed_through_and_never_at_debug(configure: Configure) -> None:
    """Libraries' lines have the same shape; what they print at debug level stays out even at ours."""
    stream = configure(log_level="debug")
    library = logging.getLogger("some_library")
    library.warning("connection to %s lost", "127.0.0.1")
    library.debug("> Authorization: %s", CANARY)
    structlog.get_logger("infra.kafka").debug("own_detail")

    assert [line["event"] for line in lines(stream)] == ["connection to 127.0.0.1 lost", "own_detail"]
    assert lines(stream)[0]["process"] == "gateway"


@pytest.mark.parametrize("field", [*sorted(PRIVATE_FIELDS), "access_token", "auth_secret", "Authorization"])
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_private_field_is_blotted_out(configure: Configure, field: str, log_format: LogFormat) -> None:
    """A field of that name never shows its value, at the top or inside."""
    stream = configure(log_format)
    structlog.get_logger("infra.kafka").info("seen", **{field: CANARY, "inside": {field: [CANARY]}})

    assert CANARY not in stream.getvalue()
    assert "[redacted]" in stream.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        f"eyJhbGciOiJIUzI1NiJ9.{CANARY}.c2lnbmF0dXJl",
        f"Authorization: Bearer {CANARY}",
        f"key sk-{CANARY}-rest was refused",
        f"https://user:{CANARY}@host:8443/",
    ],
)
def test_credential_in_a_sentence_is_blotted_out(configure: Configure, text: str) -> None:
    """What looks like a credential is hidden in messages, fields and exceptions alike."""
    stream = configure()
    logging.getLogger("some_library").error(text)
    structlog.get_logger("infra.kafka").info("seen", detail=text)
    try:
        raise ValueError(text)
    except ValueError:
        structlog.get_logger("infra.kafka").exception("failed")

    assert len(lines(stream)) == 3
    assert CANARY not in stream.getvalue()


def test_bytes_show_their_length_only(configure: Configure) -> None:
    """Bytes may be a record's value."""
    stream = configure()
    structlog.get_logger("infra.kafka").info("seen", record=CANARY.encode(), deep=[[[[[[CANARY]]]]]])

    assert lines(stream)[0]["record"] == f"<{len(CANARY)} bytes>"
    assert CANARY not in stream.getvalue()


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_control_characters_are_escaped(configure: Configure, log_format: LogFormat) -> None:
    """A value cannot clear the reader's screen nor forge a second line."""
    stream = configure(log_format)
    structlog.get_logger("infra.kafka").info("seen", reason="\x1b[2J\nforged line")

    assert "\x1b" not in stream.getvalue()
    assert len(stream.getvalue().splitlines()) == 1


def test_exception_carries_its_traceback_without_locals(configure: Configure) -> None:
    """The traceback is there; variables' values are not."""
    stream = configure()
    hidden_words = CANARY
    try:
        raise ValueError("broke")
    except ValueError:
        structlog.get_logger("infra.kafka").exception("failed")
    assert hidden_words

    assert "ValueError: broke" in str(lines(stream)[0]["exception"])
    assert CANARY not in stream.getvalue()


def test_auto_is_json_where_no_terminal_reads(configure: Configure) -> None:
    """`auto` into a file or pipe writes JSON."""
    stream = configure("auto")
    structlog.get_logger("infra.kafka").info("seen", found=None, share=0.5)

    assert (lines(stream)[0]["found"], lines(stream)[0]["share"]) == (None, 0.5)


def test_context_of_a_task_is_added(configure: Configure) -> None:
    """Fields bound to the context appear on every line below."""
    stream = configure()
    with structlog.contextvars.bound_contextvars(turn="t1"):
        structlog.get_logger("infra.kafka").info("seen")

    assert lines(stream)[0]["turn"] == "t1"
