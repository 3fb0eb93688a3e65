"""Makes the rules of `decisions/access_rights.py` at a cluster with an authorizer, and users that show a password.

Making what is there changes nothing, so it may run at every start. It takes nothing away: rules that are there beyond
the table are told, because whoever made them may need them.

    AccessNotMade   the cluster refused or did not answer; the sentence says what to do
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from infra.kafka.connection import librdkafka_options, new_admin
from infra.kafka.decisions.access_rights import Right, Role, rights_of
from infra.settings import Settings

__all__ = ["AccessNotMade", "line_rights", "make_access"]

ANSWER_S: Final = 30.0
SCRAM_ITERATIONS: Final = 4_096
"""Kafka's own default; each new connection of a client reckons so often, and the passwords are random."""
USER: Final = "User:"
RESOURCES: Final = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP, "cluster": ResourceType.BROKER}
OPERATIONS: Final = {
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "Create": AclOperation.CREATE,
    "Delete": AclOperation.DELETE,
    "Describe": AclOperation.DESCRIBE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
}


class AccessNotMade(Exception):
    """Whoever asked may not give rights, or the cluster has no authorizer, or it did not answer."""


def line_rights(settings: Settings, role: Role) -> tuple[Right, ...]:
    """All that a role may do on the line of these settings."""
    group = settings.worker_group_name
    return rights_of(role, settings.topic_names, settings.topic_layout, worker_group=group)


def make_access(
    settings: Settings, principals: Mapping[Role, str], passwords: Mapping[Role, str]
) -> dict[Role, list[str]]:
    """Give each role's principal its rights, make a SCRAM-SHA-512 user for each role with a password; blocks.

    Returns what each principal may do beyond the table. Raises AccessNotMade, BrokerTokenUnavailable.
    """
    admin = new_admin(librdkafka_options(settings))
    try:
        make_users(admin, {principals[role].removeprefix(USER): password for role, password in passwords.items()})
        wanted = {
            role: [rule for right in line_rights(settings, role) for rule in rules_of(right, principal)]
            for role, principal in principals.items()
        }
        for answer in admin.create_acls([rule for rules in wanted.values() for rule in rules]).values():
            answer.result(ANSWER_S)
        return {
            role: sorted(told(rule) for rule in rules_for(admin, principals[role]) - set(rules))
            for role, rules in wanted.items()
        }
    except KafkaException as error:
        raise AccessNotMade(
            f"The brokers at {settings.bootstrap_servers} did not give the rights: {error.args[0].str()}. Ask as a "
            "super user, and have an authorizer on the brokers (authorizer.class.name)."
        ) from error
    except TimeoutError:
        raise AccessNotMade(f"The brokers at {settings.bootstrap_servers} gave no answer about rights.") from None


def make_users(admin: AdminClient, passwords: Mapping[str, str]) -> None:
    kind = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, SCRAM_ITERATIONS)
    users = [UserScramCredentialUpsertion(user, kind, password.encode()) for user, password in passwords.items()]
    for answer in admin.alter_user_scram_credentials(users).values() if users else ():
        answer.result(ANSWER_S)


def rules_for(admin: AdminClient, principal: str) -> set[Any]:
    anything = AclBindingFilter(
        ResourceType.ANY, None, ResourcePatternType.ANY, principal, None, AclOperation.ANY, AclPermissionType.ANY
    )
    return set(admin.describe_acls(anything).result(ANSWER_S))


def rules_of(right: Right, principal: str) -> list[AclBinding]:
    pattern = ResourcePatternType.PREFIXED if right.prefixed else ResourcePatternType.LITERAL
    return [
        AclBinding(
            *(RESOURCES[right.resource], right.name, pattern, principal, "*"),
            *(OPERATIONS[operation], AclPermissionType.ALLOW),
        )
        for operation in right.operations
    ]


def told(rule: AclBinding) -> str:
    return f"{rule.permission_type.name} {rule.operation.name} {rule.restype.name} {rule.name}"
