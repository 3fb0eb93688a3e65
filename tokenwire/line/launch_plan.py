"""The children of `tokenwire up`: which processes, with which environment, ready when, in which order."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from gateway.process.decisions.stop_times import gateway_stop_s
from infra.embedded.child_spec import ChildSpec, ReadyProbe
from infra.embedded.decisions.child_environment import ChildRole, child_environment
from infra.interpreter_settings import RETURNING_ALLOCATOR
from infra.ports import LOOPBACK, ListenAddress
from infra.settings import Settings, setting_variables
from tokenwire.line.line_ports import LinePorts

__all__ = ["BROKER", "BrokerStart", "LaunchPlan"]

BROKER: Final = "kafka"
BROKER_STOP_S: Final = 10.0
WORKER_STOP_S: Final = 10.0
READY_S: Final = 90.0
BROKER_READY_S: Final = 600.0
"""A broker opens the logs of all sessions before it is ready; killed half-way, it begins anew with more to mend."""

Thing = TypeVar("Thing")


@dataclass(frozen=True, slots=True)
class BrokerStart:
    """An embedded broker: the command of its Java process, when it is ready, and the ports that were chosen for it."""

    command: Sequence[str]
    ready: ReadyProbe
    chosen_ports: tuple[ListenAddress, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchPlan:
    """Everything that decides the children. `settings` are the effective ones, layout included."""

    settings: Settings
    ports: LinePorts
    kafka: str
    """Bootstrap servers."""
    provider: bool
    """Whether the simulated provider is one of the children."""
    simulated: bool
    """Whether every answer is made up."""
    answers_from: str
    """Who answers, for people."""
    own_environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What this process was given: of it, each child gets its part."""
    key_variables: frozenset[str] = frozenset()
    """Those of it that hold the models' keys."""

    @property
    def environment(self) -> dict[str, str]:
        """What every child is told to find the others."""
        settings, ports = self.settings, self.ports
        found = {
            "TOKENWIRE_HOME": str(settings.home.absolute()),
            "TOKENWIRE_TOPIC_LAYOUT": settings.topic_layout,
            "TOKENWIRE_PROVIDER_PORT": str(ports.provider),
            "TOKENWIRE_GATEWAY_PORT": str(ports.gateways[0]),
        }
        if settings.config is not None:
            found["TOKENWIRE_CONFIG"] = str(settings.config.absolute())
        if settings.auth_jwks is not None:
            found["TOKENWIRE_AUTH_JWKS"] = str(settings.auth_jwks.absolute())
        if not settings.clickhouse:
            found["TOKENWIRE_ANALYTICS_PORT"] = str(ports.analytics)
        if not settings.kafka:
            found |= self.own_kafka
        return found

    def given(self, role: ChildRole, **more: str) -> dict[str, str]:
        """All that a child of ours is given."""
        handed_on = child_environment(
            self.own_environment,
            role,
            settings=setting_variables(),
            worker_variables=self.key_variables.union(self.settings.worker_variables),
            signs_by_cloud=self.settings.kafka_sasl_mechanism == "AWS_MSK_IAM",
        )
        return handed_on | self.environment | more

    @property
    def own_kafka(self) -> dict[str, str]:
        """Where children find the embedded brokers, how many topics these carry, and how many replicas a topic has."""
        topics_max = {"TOKENWIRE_SESSION_TOPICS_MAX": str(self.settings.session_topics_ceiling)}
        if "," not in self.kafka:
            return topics_max | {"TOKENWIRE_KAFKA_PORT": self.kafka.rpartition(":")[2]}
        replication = str(self.settings.kafka_replication)
        return topics_max | {"TOKENWIRE_KAFKA": self.kafka, "TOKENWIRE_KAFKA_REPLICATION": replication}

    def children(self, brokers: Sequence[BrokerStart]) -> list[ChildSpec]:
        """In the order of their needs. Without brokers the cluster is somebody else's."""
        specs = self.brokers(brokers)
        needs = tuple(spec.name for spec in specs)
        if self.provider:
            specs.append(self.simulated_provider())
        specs.append(self.analytics(needs))
        if not self.settings.clickhouse:
            specs.append(self.reader())
        specs.extend(self.workers(needs))
        specs.extend(self.gateways((*needs, *(spec.name for spec in specs if spec.name.startswith("worker")))))
        return specs

    def brokers(self, starts: Sequence[BrokerStart]) -> list[ChildSpec]:
        """The Java processes themselves. Several start at once: they need each other."""
        return [
            ChildSpec(
                name=name,
                argv=tuple(start.command),
                environment=child_environment(self.own_environment, "broker", settings=()),
                ready=start.ready,
                ready_deadline_s=BROKER_READY_S,
                stop_deadline_s=BROKER_STOP_S,
                chosen_ports=start.chosen_ports,
            )
            for name, start in named(BROKER, starts)
        ]

    def simulated_provider(self) -> ChildSpec:
        """Ready when it lists its models."""
        ready = f"http://{LOOPBACK}:{self.ports.provider}/v1/models"
        return ChildSpec(
            name="provider",
            argv=own_command("provider"),
            environment=self.given("provider"),
            ready=ready,
            chosen_ports=self.chosen(self.ports.provider),
        )

    def analytics(self, needs: tuple[str, ...]) -> ChildSpec:
        """Ready when its metrics answer: its tables are made by then."""
        metrics_port = str(self.ports.analytics_metrics - 1)  # the writer's is the next one
        return ChildSpec(
            name="analytics",
            argv=own_command("analytics"),
            environment=self.given("analytics", TOKENWIRE_METRICS_PORT=metrics_port),
            ready=f"http://{LOOPBACK}:{self.ports.analytics_metrics}/metrics",
            depends_on=needs,
            ready_deadline_s=READY_S,
            chosen_ports=self.chosen(self.ports.analytics_metrics),
        )

    def reader(self) -> ChildSpec:
        """Ready when it answers. Nobody needs it, and queries may end it: it is never given up."""
        return ChildSpec(
            name="reader",
            argv=own_command("reader"),
            environment=self.given("reader"),
            ready=f"http://{LOOPBACK}:{self.ports.analytics}/ping",
            depends_on=("analytics",),
            ready_deadline_s=READY_S,
            chosen_ports=self.chosen(self.ports.analytics),
            dispensable=True,
        )

    def workers(self, needs: tuple[str, ...]) -> list[ChildSpec]:
        """Ready when their metrics answer; whether a prompt could be answered is for a gateway's /readyz to say."""
        return [
            ChildSpec(
                name=name,
                argv=own_command("worker"),
                environment=self.given("worker", TOKENWIRE_METRICS_PORT=str(port)),
                ready=f"http://{LOOPBACK}:{port}/metrics",
                depends_on=needs,
                ready_deadline_s=READY_S,
                stop_deadline_s=WORKER_STOP_S,
                chosen_ports=self.chosen(port),
            )
            for name, port in named("worker", self.ports.worker_metrics)
        ]

    def gateways(self, needs: tuple[str, ...]) -> list[ChildSpec]:
        """Ready when a prompt could be answered."""
        return [
            ChildSpec(
                name=name,
                argv=own_command("gateway"),
                environment=self.given("gateway", TOKENWIRE_GATEWAY_PORT=str(port), **RETURNING_ALLOCATOR),
                ready=f"{self.gateway_address(port)}/readyz",
                depends_on=needs,
                ready_deadline_s=READY_S,
                stop_deadline_s=gateway_stop_s(self.settings.gateway_drain_s),
                chosen_ports=self.chosen(port, host=self.settings.gateway_host),
            )
            for name, port in named("gateway", self.ports.gateways)
        ]

    def chosen(self, *ports: int, host: str = LOOPBACK) -> tuple[ListenAddress, ...]:
        """Those of a child's ports that no setting names, and where it will listen on them."""
        return tuple(ListenAddress(host, port) for port in ports if port in self.ports.chosen)

    def gateway_address(self, port: int) -> str:
        """Where this machine finds a gateway."""
        host = self.settings.gateway_host
        return f"http://{LOOPBACK if host in ('0.0.0.0', '::', '') else host}:{port}"


def own_command(name: str) -> tuple[str, ...]:
    """Our command line under this very Python. -P: a folder called `gateway` where the user stands is not ours."""
    return (sys.executable, "-P", "-m", "tokenwire", name)


def named(kind: str, each: Sequence[Thing]) -> list[tuple[str, Thing]]:
    """One child goes by its kind; several are numbered."""
    if len(each) == 1:
        return [(kind, each[0])]
    return [(f"{kind}-{place}", thing) for place, thing in enumerate(each, start=1)]
