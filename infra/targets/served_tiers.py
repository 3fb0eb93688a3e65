"""The tiers of one file, and who has which.

A file that says nothing of tiers, users or a default limits nobody: everybody is `open`. As soon as it says any of
it, who is known neither by a token nor by the users file has the `default_tier`, and without one is a stranger.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, cast, get_args

from infra.targets.file_tables import CheckedTable, FileTables, Findings
from infra.targets.file_values import did_you_mean, shown
from infra.targets.users_file import read_users
from schemas.tiers import LIMIT_NAMES, OPEN, SHIPPED_TIERS, LimitName, Tier, Tiers, Unpriced

__all__ = ["tiers_of"]

NANO: Final = Decimal(10**9)
USD_KEY: Final = "usd_per_month"
USD_LIMIT: Final[LimitName] = "nano_usd_per_month"
SECTION_KEYS: Final = ("tiers", "default_tier", "users")


def tiers_of(
    document: Mapping[str, Any], tables: FileTables, findings: Findings, *, folder: Path, models: Collection[str]
) -> Tiers:
    """Build the tiers. Faults go to `findings`. `folder`: where the file is; `models`: those that the file lists."""
    if not any(key in document for key in SECTION_KEYS):
        return Tiers()
    built = {name: tier_of(name, table, findings, models) for name, table in tables.tiers.items()}
    tiers = {**SHIPPED_TIERS, **built}
    listed = document.get("tiers", {})
    known = {*tiers, *(listed if isinstance(listed, dict) else ())}
    top = tables.top
    default = top.values.get("default_tier")
    if default is not None and default not in known:
        findings.fault(
            "default_tier", f"names the tier {shown(default)}, which is not there", did_you_mean(default, tiers)
        )
    path = top.values.get("users")
    users = read_users(folder / path, known, findings) if path is not None else {}
    if default is None and path is None and not top.states("default_tier"):
        remedy = f"users whose tokens name no tier are refused; add default_tier to let them in, such as {OPEN.name}"
        findings.warn("the file", f"has neither default_tier nor users: {remedy}")
    return Tiers(tiers=tiers, default=default, users=users)


def tier_of(name: str, table: CheckedTable, findings: Findings, models: Collection[str]) -> Tier:
    check_together(table, findings, models)
    values = table.values
    limits: dict[LimitName, int] = {limit: values[limit] for limit in LIMIT_NAMES if limit in values}
    if USD_KEY in values:
        limits[USD_LIMIT] = int(Decimal(str(values[USD_KEY])) * NANO)
    shadow = frozenset(limit_of(key) for key in values.get("shadow", ()))
    return Tier(
        name=name,
        limits=limits,
        bucket_tokens_per_s=values.get("bucket_tokens_per_s", 0),
        shadow=shadow,
        models=tuple(values.get("models", ())),
        unpriced=cast(Unpriced, values.get("unpriced", get_args(Unpriced)[0])),
    )


def check_together(table: CheckedTable, findings: Findings, models: Collection[str]) -> None:
    """What is wrong between the keys of a tier; keys that are faulty by themselves are passed over."""
    for key, other, example in (
        ("bucket_tokens", "bucket_tokens_per_s", "bucket_tokens_per_s = 10"),
        ("bucket_tokens_per_s", "bucket_tokens", "bucket_tokens = 5_000"),
    ):
        if table.states(key) and not table.states(other):
            findings.fault(table.place, f"has {key} without {other}", f"add {example}, or take {key} out")
    for key in table.values.get("shadow", ()):
        if not table.states(key):
            remedy = f"add {key}, or take it out of shadow"
            findings.fault(f"{table.place} shadow", f"names {key}, which the tier does not limit", remedy)
    for model in table.values.get("models", ()):
        if model not in models:
            findings.fault(
                f"{table.place} models",
                f"names the model {shown(model)}, which is not there",
                did_you_mean(model, models),
            )


def limit_of(key: str) -> LimitName:
    return USD_LIMIT if key == USD_KEY else cast(LimitName, key)
