"""The references that are drawn from the sources: JSON Schema of every record, `docs/reference/`, the state machines.

`make schemas` (`python -m tokenwire.references.generated_references`, in a checkout) writes them; a test fails while
one is not what the sources say. Nothing here is written by hand twice: names, types, defaults and meanings come from
the structs, the settings, the catalogue of metrics and of close codes, and their docstrings.
"""

from __future__ import annotations

import inspect
import json
import re
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

import msgspec
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from infra.setting_fields import SettingFields
from infra.settings import ENVIRONMENT_PREFIX, Settings
from infra.targets.file_keys import TABLES, TOP_LEVEL, KeyRule
from infra.targets.presets import CHAINS, PRESETS
from infra.telemetry.metric_names import METRICS
from schemas import (
    access,
    activity,
    client_messages,
    dead_letters,
    gateway_messages,
    permits,
    prompts,
    records,
    session_events,
)
from schemas.close_codes import CLOSE_CODES
from schemas.topics import TopicNames, TopicSpec
from tokenwire.references.asyncapi_document import asyncapi_document
from tokenwire.references.markdown_blocks import first_sentence, page, paragraphs, table
from tokenwire.references.state_machines_page import machine_blocks
from tokenwire.references.struct_sections import Struct, field_meanings, struct_sections, structs_in
from tokenwire.references.typescript_types import typescript_types

__all__ = ["main", "references"]

ROOT: Final = Path(__file__).resolve().parents[2]
DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
DOCS: Final = Path("docs/reference")
HOUR_MS: Final = 3_600_000
DAY_H: Final = 24

KIND_WORDS: Final = {
    "abilities": "list of texts",
    "chain": "text",
    "dollars": "number",
    "flag": "true or false",
    "limits": "list of texts",
    "model_names": "list of texts",
    "name": "text",
    "path": "text",
    "preset": "text",
    "price": "text",
    "answer_field": "text",
    "seconds": "number",
    "targets": "list of texts, or of lists of them",
    "tenants": "list of texts",
    "unpriced": "text",
    "url": "text",
    "variable": "text",
    "whole": "whole number",
}


def references() -> dict[Path, str]:
    """The text of every generated file, by its path in the checkout."""
    schemas = json_schemas()
    return {
        **schemas,
        Path("gateway/web/messages.d.ts"): typescript_types(
            json.loads(schemas[Path("schemas/json_schema/server_messages.json")])
        ),
        DOCS / "asyncapi.json": asyncapi_document({path.stem: json.loads(text) for path, text in schemas.items()}),
        DOCS / "protocol.md": protocol_page(),
        DOCS / "events.md": events_page(),
        DOCS / "settings.md": settings_page(),
        DOCS / "metrics.md": metrics_page(),
        Path("docs/state-machines.md"): state_machines_page(),
        DOCS / "models.md": models_page(),
    }


def main() -> None:
    """Write the files that changed."""
    for relative, text in references().items():
        path = ROOT / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            print(f"wrote {relative}")


# ---- JSON Schema


def json_schemas() -> dict[Path, str]:
    described = {
        "prompts": (prompts, prompts.PromptCommand),
        "permits": (permits, permits.PermitCommand),
        "session_events": (session_events, session_events.SessionEvent),
        "records": (records, records.TurnRecord),
        "access": (access, access.AccessEvent),
        "activity": (activity, activity.SessionActivity),
        "dead_letters": (dead_letters, dead_letters.DeadLetter),
        "client_messages": (client_messages, client_messages.ClientMessage),
        "server_messages": (client_messages, gateway_messages.ServerMessage),
    }
    return {
        Path("schemas/json_schema") / f"{name}.json": json_schema(name, first_sentence(module.__doc__), subject)
        for name, (module, subject) in described.items()
    }


def json_schema(name: str, description: str, subject: Any) -> str:
    """One file: what the subject is, and each struct with the meaning of its fields."""
    (schema,), components = msgspec.json.schema_components([subject], ref_template="#/$defs/{name}")
    for definition in components.values():
        if "description" in definition:  # Python 3.13 and later keep docstrings without their indentation: so do we
            definition["description"] = paragraphs(definition["description"])
    for struct in structs_in(subject):
        properties = components[struct.__name__]["properties"]
        for field, meaning in field_meanings(struct).items():
            properties[field]["description"] = meaning
    head = {"$schema": DRAFT, "$id": f"tokenwire:{name}", "description": description}
    return json.dumps(head | schema | {"$defs": components}, indent=2, ensure_ascii=False) + "\n"


# ---- Pages


def protocol_page() -> str:
    nested: list[Struct] = [
        session_events.TurnError,
        session_events.Usage,
        prompts.ChatMessage,
        gateway_messages.SnapshotTurn,
    ]
    return page(
        "The websocket protocol",
        "`schemas/client_messages.py`, `gateway_messages.py` and `close_codes.py`",
        paragraphs(client_messages.__doc__),
        f"Connect to `/v1/connect` with subprotocol `{client_messages.SUBPROTOCOL}`; the first message is `hello`. "
        "Fields at their default are left out. JSON Schema: `schemas/json_schema/client_messages.json` and "
        "`server_messages.json`.",
        "## Over HTTP",
        "Requests without a body, with `Authorization: Bearer …`; answers are JSON, refusals a sentence. What they are "
        "for: [security](../security.md).",
        table(
            ("request", "shows", "answer"),
            [
                ("`POST /v1/token`", "a sign-in code, good once", "`token`, `user`, `expires_at_s`"),
                ("`POST /v1/ticket`", "an access token", "`ticket`, `expires_in_s`, `user`"),
                ("`POST /v1/logout`", "an access token", "`logged_out`: the user"),
            ],
        ),
        "401: what was shown is no good. 403: a page that is not allowed. 429 and 503 say in `Retry-After` when to try "
        "again. 404: tokens are made elsewhere, so there are no codes.",
        "## Client → gateway",
        *struct_sections(get_args(client_messages.ClientMessage)),
        "## Gateway → client",
        *struct_sections(get_args(gateway_messages.ServerMessage)),
        "## Objects inside messages",
        *struct_sections(nested),
        "## Close codes",
        table(
            ("code", "reason", "reconnect"),
            [(str(code.number), code.reason, "yes" if code.reconnect else "no") for code in CLOSE_CODES],
        ),
    )


def events_page() -> str:
    names = TopicNames()
    fixed = names.fixed_topics("dedicated")
    session_log = names.session_topic(typing.cast("Any", "<session key>"))
    shared = next(topic for topic in names.fixed_topics("shared") if topic not in fixed)
    return page(
        "Topics and their records",
        "the modules of `schemas/`: `topics.py`, `prompts.py`, `session_events.py`, `records.py` and others",
        "## Topics",
        table(
            ("topic", "partitions", "kept"),
            [(f"`{topic.name}`", str(topic.partitions), kept(topic)) for topic in (*fixed, session_log, shared)],
        ),
        "A session's log is a topic of its own (layout `dedicated`) or lies among others in "
        f"`{shared.name}` (layout `shared`). `TOKENWIRE_TOPIC_PREFIX` puts another word in the place of the "
        f"`{names.prefix}` of every name. Values are JSON; fields at their default are left out. JSON Schema: "
        "`schemas/json_schema/`.",
        "## Prompts and other commands",
        paragraphs(prompts.__doc__),
        *struct_sections([*get_args(prompts.PromptCommand), prompts.ChatMessage]),
        "## Commands between workers",
        paragraphs(permits.__doc__),
        *struct_sections([*get_args(permits.PermitCommand)]),
        "## A session's log",
        paragraphs(session_events.__doc__),
        *struct_sections([*get_args(session_events.SessionEvent), session_events.Usage, session_events.TurnError]),
        "## Records",
        paragraphs(records.__doc__),
        *struct_sections([records.TurnRecord, records.AttemptOutcome]),
        "## Activity",
        paragraphs(activity.__doc__),
        *struct_sections([activity.SessionActivity]),
        "## Access",
        paragraphs(access.__doc__),
        *struct_sections([*get_args(access.AccessEvent)]),
        "## Dead letters",
        paragraphs(dead_letters.__doc__),
        *struct_sections([dead_letters.DeadLetter]),
    )


def settings_page() -> str:
    sections: list[str] = []
    for title, names in settings_by_section():
        rows = [setting_row(name, Settings.model_fields[name]) for name in names]
        sections.extend((f"## {title}", table(("variable", "default", "allowed", "meaning"), rows)))
    return page(
        "Settings",
        "`infra/setting_fields.py`",
        "Each is read from the environment once, at start; all faults are listed at once. Lists are separated by "
        "commas. `OPENAI_API_KEY` stands in for `TOKENWIRE_PROVIDER_KEY`.",
        *sections,
    )


def metrics_page() -> str:
    rows = [
        (
            f"`{metric.name}`",
            metric.kind,
            ", ".join(f"`{label}`" for label in metric.labels) or "–",
            metric.meaning,
            metric.rise,
        )
        for metric in METRICS
    ]
    return page(
        "Metrics",
        "`infra/telemetry/metric_names.py`",
        "Each process shows its own under `/metrics`: the gateway beside its page, the worker on "
        "`TOKENWIRE_METRICS_PORT`, the analytics writer on the port after it.",
        table(("metric", "kind", "labels", "meaning", "what a rise means"), rows),
    )


def models_page() -> str:
    presets = [
        (
            f"`{name}`",
            preset.meaning,
            f"`{preset.base_url}`" if preset.base_url else "this machine",
            f"`{preset.key_env}`" if preset.key_env else "–",
            ", ".join(f"`{ability}`" for ability in sorted(preset.abilities)),
        )
        for name, preset in PRESETS.items()
    ]
    chains = [
        (f"`{name}`", " → ".join(" = ".join(f"`{target}`" for target in equals) for equals in entries))
        for name, entries in CHAINS.items()
    ]
    return page(
        "The keys of tokenwire.toml",
        "`infra/targets/file_keys.py` and `presets.py`",
        "How to write the file: [models.md](../models.md).",
        "## Before the first table",
        key_table(TOP_LEVEL),
        "## `[models.NAME]`",
        key_table(TABLES["models"]),
        "## `[providers.NAME]`",
        key_table(TABLES["providers"]),
        '## `[targets."PROVIDER:MODEL"]`',
        key_table(TABLES["targets"]),
        "## `[tiers.NAME]`",
        "What they mean together: [limits.md](../limits.md).",
        key_table(TABLES["tiers"]),
        "## Presets",
        table(("preset", "what", "base_url", "key_env", "abilities"), presets),
        "## Chains",
        table(("chain", "targets, in order"), chains),
    )


def key_table(rules: Mapping[str, KeyRule]) -> str:
    rows = [(f"`{key}`", KIND_WORDS[rule.kind], rule.default, rule.meaning) for key, rule in rules.items()]
    return table(("key", "holds", "default", "meaning"), rows)


def state_machines_page() -> str:
    return page(
        "State machines",
        "the `TRANSITIONS` tables of the modules named below",
        "What moves each machine and where to. The code looks moves up in the same tables.",
        *machine_blocks(),
    )


# ---- Settings and topics


def settings_by_section() -> list[tuple[str, list[str]]]:
    """The fields under each `# ---- Title` comment of the class, in order; those before the first: General."""
    sections: list[tuple[str, list[str]]] = [("General", [])]
    for line in inspect.getsource(SettingFields).splitlines():
        if title := re.match(r"    # ---- (.+)", line):
            sections.append((title[1].strip(), []))
        elif (field := re.match(r"    (\w+): ", line)) and field[1] in Settings.model_fields:
            sections[-1][1].append(field[1])
    return [section for section in sections if section[1]]


def setting_row(name: str, field: FieldInfo) -> tuple[str, ...]:
    meaning = " ".join((field.description or "").split())
    return (f"`{ENVIRONMENT_PREFIX}{name.upper()}`", setting_default(field.default), allowed_words(field), meaning)


def setting_default(value: object) -> str:
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value in ("", (), None):
        return "–"
    return f"`{','.join(value) if isinstance(value, tuple) else value}`"


def allowed_words(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(field.annotation))
    bounds = {
        name: getattr(constraint, name)
        for constraint in field.metadata
        for name in ("ge", "gt", "le", "lt")
        if getattr(constraint, name, None) is not None
    }
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    return ", ".join(f"{signs[name]} {bound:,}" for name, bound in bounds.items()) or "–"


def kept(topic: TopicSpec) -> str:
    if topic.config.get("cleanup.policy") == "compact":
        return "compacted"
    hours = int(topic.config["retention.ms"]) // HOUR_MS
    return f"{hours} h" if hours <= DAY_H else f"{hours // DAY_H} d"


if __name__ == "__main__":
    main()
