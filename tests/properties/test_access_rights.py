"""The table of rights: on every line, in both layouts, what must hold whoever changes it (row S10)."""

from __future__ import annotations

from typing import get_args

import hypothesis.strategies as st
from hypothesis import assume, given

from infra.kafka.decisions.access_rights import Right, Role, acl_arguments, rights_of
from schemas.identifiers import SessionId, UserId, session_key_of
from schemas.topics import PREFIX_PATTERN, Layout, TopicNames

lines = st.builds(TopicNames, st.from_regex(PREFIX_PATTERN, fullmatch=True).filter(lambda prefix: len(prefix) < 100))
layouts = st.sampled_from(get_args(Layout))
roles = st.sampled_from([*Role])
GROUP = "a-group-of-workers"


def allowed(names: TopicNames, layout: Layout, topic: str) -> set[tuple[Role, str]]:
    """Who may do what with a topic, as a broker would judge by the rules."""
    return {
        (role, operation)
        for role in Role
        for right in rights_of(role, names, layout, worker_group=GROUP)
        if right.resource == "topic" and (topic.startswith(right.name) if right.prefixed else topic == right.name)
        for operation in right.operations
    }


@given(lines, layouts)
def test_S10_workers_alone_write_what_readers_take_for_answers(names: TopicNames, layout: Layout) -> None:
    """And the journal; logouts and tickets are between gateways."""
    log = names.session_place(session_key_of(UserId("alice"), SessionId("s1")), layout).topic

    assert {role for role, operation in allowed(names, layout, log) if operation == "Write"} == {Role.WORKER}
    assert {role for role, operation in allowed(names, layout, names.turns) if operation in ("Read", "Write")} == {
        Role.WORKER
    }
    assert (Role.GATEWAY, "Create") not in allowed(names, layout, log)
    for topic in (names.access, names.tickets):
        assert {role for role, operation in allowed(names, layout, topic) if operation in ("Read", "Write")} == {
            Role.GATEWAY
        }


@given(lines, layouts)
def test_S10_each_group_has_members_of_one_role(names: TopicNames, layout: Layout) -> None:
    """And the worker's user can't join the analytics' one, nor any other."""
    members = [
        (role, right.name)
        for role in Role
        for right in rights_of(role, names, layout, worker_group=GROUP)
        if right.resource == "group" and "Read" in right.operations
    ]

    assert members == [(Role.WORKER, GROUP), (Role.ANALYTICS, names.member("analytics"))]


@given(lines, lines, layouts, layouts)
def test_S10_rules_of_a_line_reach_no_other(
    names: TopicNames, others: TopicNames, layout: Layout, theirs: Layout
) -> None:
    """Also where one prefix begins with the other."""
    assume(names.prefix != others.prefix and not others.prefix.startswith(names.session_topics))
    for spec in others.fixed_topics(theirs):
        assert allowed(names, layout, spec.name) == set()


@given(lines, layouts)
def test_S10_what_migrate_makes_is_what_there_must_be(names: TopicNames, layout: Layout) -> None:
    """Nobody else makes a fixed topic, and only where sessions have topics of their own is one made later."""
    makers = {spec.name: allowed(names, layout, spec.name) for spec in names.fixed_topics(layout)}
    later = [
        right
        for role in Role
        for right in rights_of(role, names, layout, worker_group=GROUP)
        if right.prefixed or "Delete" in right.operations
    ]

    assert all({role for role, what in who if what == "Create"} == {Role.MIGRATE} for who in makers.values())
    assert {right.name for right in later} == ({names.session_topics} if layout == "dedicated" else set())


def test_arguments_of_kafka_acls() -> None:
    """Literal names are its default; a prefix and the cluster say so."""
    assert acl_arguments(Right("topic", "t.prompts", ("Write",)), "User:w") == (
        "--add --allow-principal User:w --operation Write --topic t.prompts"
    )
    assert acl_arguments(Right("topic", "t.session.", ("Read", "Create"), prefixed=True), "User:g").endswith(
        "--operation Read --operation Create --topic t.session. --resource-pattern-type prefixed"
    )
    assert acl_arguments(Right("cluster", "kafka-cluster", ("DescribeConfigs",)), "User:m").endswith(
        "DescribeConfigs --cluster"
    )
