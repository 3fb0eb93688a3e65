"""The children of `tokenwire up`.

Covers: gateway.process.decisions.stop_times.
"""

from __future__ import annotations

from dataclasses import replace

from gateway.process.decisions.stop_times import CLOSING_S, FAREWELLS_S, gateway_leave_s
from infra.embedded.child_spec import ChildSpec, check_order
from infra.interpreter_settings import RETURNING_ALLOCATOR
from infra.ports import ListenAddress
from infra.settings import load_settings
from tokenwire.line.launch_plan import BrokerStart, LaunchPlan
from tokenwire.line.line_ports import LinePorts


async def never_ready() -> bool:
    return False


def plan(
    *,
    workers: int = 1,
    gateways: int = 1,
    provider: bool = True,
    servers: str = "127.0.0.1:9092",
    chosen: frozenset[int] = frozenset(),
    **environment: str,
) -> LaunchPlan:
    settings = load_settings({f"TOKENWIRE_{name.upper()}": value for name, value in environment.items()})
    ports = LinePorts(
        gateways=tuple(range(8080, 8080 + gateways)),
        provider=8090,
        analytics=8123,
        worker_metrics=tuple(range(9470, 9470 + workers)),
        analytics_metrics=9465,
        chosen=chosen,
    )
    return LaunchPlan(
        settings=settings, ports=ports, kafka=servers, provider=provider, simulated=provider, answers_from="x"
    )


def children(plan: LaunchPlan, *, brokers: int = 1) -> dict[str, ChildSpec]:
    specs = plan.children([BrokerStart(["java", "kafka.Kafka"], never_ready)] * brokers)
    check_order(tuple(specs))
    return {spec.name: spec for spec in specs}


def test_whole_line_has_six_processes_in_the_order_of_their_needs() -> None:
    """Broker first, gateways last; children run under this Python and ignore where the user stands."""
    specs = children(plan())

    assert list(specs) == ["kafka", "provider", "analytics", "reader", "worker", "gateway"]
    assert specs["gateway"].argv[1:] == ("-P", "-m", "tokenwire", "gateway")
    assert specs["gateway"].ready == "http://127.0.0.1:8080/readyz"
    assert set(specs["gateway"].depends_on) == {"kafka", "worker"}
    assert [name for name, spec in specs.items() if spec.dispensable] == ["reader"]


def test_several_workers_and_gateways_have_ports_of_their_own() -> None:
    """Names are numbered, ports differ."""
    specs = children(plan(workers=2, gateways=2))

    assert {"worker-1", "worker-2", "gateway-1", "gateway-2"} <= specs.keys()
    assert specs["gateway-2"].environment["TOKENWIRE_GATEWAY_PORT"] == "8081"
    assert specs["worker-2"].environment["TOKENWIRE_METRICS_PORT"] == "9471"


def test_three_brokers_start_at_once_and_everybody_is_told_of_all() -> None:
    """None waits for another; the rest wait for all, know all addresses and give topics three replicas."""
    cluster = plan(servers="127.0.0.1:1,127.0.0.1:2,127.0.0.1:3", kafka_brokers="3", kafka_replication="3")
    specs = children(cluster, brokers=3)

    names = ("kafka-1", "kafka-2", "kafka-3")
    assert all(specs[name].depends_on == () for name in names)
    assert set(names) <= set(specs["worker"].depends_on)
    assert all(specs[name].ready_deadline_s >= 600 for name in names), "it may have thousands of logs to open"
    assert cluster.environment["TOKENWIRE_KAFKA"] == cluster.kafka
    assert cluster.environment["TOKENWIRE_KAFKA_REPLICATION"] == "3"
    assert cluster.environment["TOKENWIRE_SESSION_TOPICS_MAX"] == "5000"
    assert "TOKENWIRE_KAFKA_PORT" not in cluster.environment


def test_children_find_each_other_by_their_environment() -> None:
    """Chosen ports and layout reach every child; the home is absolute, whatever was given."""
    environment = plan(topic_layout="shared", home="some/where").environment

    assert environment["TOKENWIRE_TOPIC_LAYOUT"] == "shared"
    assert environment["TOKENWIRE_KAFKA_PORT"] == "9092"
    assert environment["TOKENWIRE_SESSION_TOPICS_MAX"] == "5000"
    assert environment["TOKENWIRE_HOME"].startswith("/")


def test_cluster_and_server_of_somebody_else_are_left_to_them() -> None:
    """No broker among the children, no provider, and no port of theirs is set."""
    outside = plan(provider=False, kafka="kafka:9092", clickhouse="http://clickhouse:8123/tokenwire")
    specs = children(outside, brokers=0)

    assert list(specs) == ["analytics", "worker", "gateway"]
    assert not {"TOKENWIRE_KAFKA_PORT", "TOKENWIRE_ANALYTICS_PORT"} & outside.environment.keys()


def test_S21_each_child_is_given_its_part_of_our_environment() -> None:
    """The models' keys reach workers, what signs reaches gateways; what they find each other by, all but the broker."""
    own = {"PATH": "/bin", "GROQ_KEY": "k", "SCORER": "s", "TOKENWIRE_CURSOR_SECRET": "c", "MAIL_PASSWORD": "m"}
    whole = replace(plan(worker_variables="SCORER"), own_environment=own, key_variables=frozenset({"GROQ_KEY"}))
    found = {name: {*spec.environment} for name, spec in children(whole).items()}
    told = {*whole.environment}

    assert found["kafka"] == {"PATH"}
    assert found["provider"] == {"PATH"} | told
    assert found["analytics"] == found["provider"] | {"TOKENWIRE_METRICS_PORT"}
    assert found["worker"] == found["analytics"] | {"GROQ_KEY", "SCORER"}
    assert found["gateway"] == found["provider"] | {"TOKENWIRE_CURSOR_SECRET"} | RETURNING_ALLOCATOR.keys()


def test_gateway_on_every_address_is_asked_on_loopback() -> None:
    """0.0.0.0 is where to listen, not where to go."""
    assert plan(gateway_host="0.0.0.0").gateway_address(80) == "http://127.0.0.1:80"


def test_gateway_may_use_its_whole_window() -> None:
    """Whoever stops it waits for the last slot, the goodbyes and the end, however long the window is."""
    for drain_s in (0.0, 5.0, 30.0, 600.0):
        gateway = children(plan(gateway_drain_s=str(drain_s)))["gateway"]
        assert gateway.stop_deadline_s > gateway_leave_s(drain_s) >= drain_s + CLOSING_S + FAREWELLS_S


def test_each_child_is_told_of_the_ports_that_were_chosen_for_it() -> None:
    """Only of its own, and of none that a setting names."""
    chosen = frozenset({8080, 8090, 8123, 9465, 9471})
    told = plan(workers=2, gateways=2, chosen=chosen, gateway_host="0.0.0.0")
    broker = BrokerStart(["java"], never_ready, (ListenAddress("127.0.0.1", 20_000),))
    found = {spec.name: [tuple(each) for each in spec.chosen_ports] for spec in told.children([broker])}

    assert found == {
        "kafka": [("127.0.0.1", 20_000)],
        "provider": [("127.0.0.1", 8090)],
        "analytics": [("127.0.0.1", 9465)],
        "reader": [("127.0.0.1", 8123)],
        "worker-1": [],
        "worker-2": [("127.0.0.1", 9471)],
        "gateway-1": [("0.0.0.0", 8080)],
        "gateway-2": [],
    }
