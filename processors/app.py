"""The worker process: a Faust app built from settings, and the parts that its agent hands prompts to."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import faust
import structlog
import uvloop
from faust.auth import OAuthCredentials
from faust.types import TP  # noqa: F401  # faust resolves it lazily, which fails inside its own consumer thread

from infra.awake_clock import AwakeClock
from infra.clock import Clock, SystemClock
from infra.host_names import known_names
from infra.interpreter_settings import raise_file_limit, settle_interpreter
from infra.kafka.broker_check import check_brokers
from infra.kafka.connection import aiokafka_options
from infra.kafka.log_client import LogClient
from infra.kafka.session_topics import SessionTopics
from infra.settings import Settings
from infra.targets.catalogue_watch import CatalogueHolder, Refused, Reloaded
from infra.targets.model_catalogue import Target
from infra.targets.server_facts import ServerFacts
from infra.targets.server_questions import ServerQuestions
from infra.telemetry.metric_names import (
    WORKER_APPEND_SECONDS,
    WORKER_METRICS,
    WORKER_SENT_AGAIN,
    WORKER_SESSION_TOPICS,
    WORKER_SESSION_TOPICS_MAX,
    WORKER_TURNS_QUEUED,
)
from infra.telemetry.metrics import Metrics, MetricsEndpoint
from processors.attempts.turn_runner import TurnRunner
from processors.group.ordered_commits import FaustProducer, OrderedCommitsConsumer
from processors.group.ownership import Ownership, add_prompt_agent
from processors.providers.openai_provider import OpenAIProvider
from processors.providers.provider import ChatProvider
from processors.providers.provider_reach import tell_reach
from processors.sessions.conversation import Conversations
from processors.sessions.decisions.token_count import load_encoding
from processors.sessions.session_logs import SessionLogs
from processors.targets.target_pool import TargetPool
from processors.turns.answer_scorer import AnswerScorer, load_scorer
from processors.turns.worker_parts import OwnerLimits, WorkerParts
from processors.writing.activity_teller import ActivityTeller
from processors.writing.dead_letter_writer import DeadLetterWriter
from processors.writing.log_appender import LogAppender
from schemas.codec import encode
from schemas.permits import PermitCommand
from schemas.prompt_limits import PromptLimits

__all__ = ["Worker", "build_app", "run_worker", "serve_worker"]

log = structlog.get_logger(__name__)

COMMIT_EVERY_S: Final = 0.5
DRAIN_S: Final = 6.0
STOP_S: Final = 5.0
PERMITS_KEY: Final = b"permits"
"""Key of words between workers, which go to partitions of their own choice."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A Faust app with the parts that it stands on, not yet started."""

    faust: Any
    ownership: Ownership
    parts: WorkerParts
    metrics: Metrics
    holder: CatalogueHolder
    server: ServerQuestions | None
    """For whoever answers without a file."""
    awake: AwakeClock


def build_app(settings: Settings, *, provider: ChatProvider | None = None, clock: Clock | None = None) -> Worker:
    """Build a worker. Nothing lives at module level: several can be built in one process. Raises SettingsError."""
    clock, metrics = clock or SystemClock(), Metrics(WORKER_METRICS)
    awake = AwakeClock(clock)
    appender = LogAppender(settings, clock)
    appender.on_appended = metrics.histogram(WORKER_APPEND_SECONDS).observe
    holder = CatalogueHolder(settings)
    server = questions_to(settings, holder)
    reached = partial(provider_at, holder=holder, server=server, metrics=metrics, awake=awake, settings=settings)
    pool = TargetPool(
        lambda target: provider or reached(target),
        clock,
        calls_max=settings.turns_running_max,
        send_permit=partial(send_permit, appender),
        find_target=lambda name: holder.targets.get(name),
    )
    runner = TurnRunner(
        appender=appender,
        pool=pool,
        catalogue=lambda: holder.current,
        conversations=Conversations(bytes_max=settings.history_cache_bytes_max),
        clock=clock,
        metrics=metrics,
        answer_cache_bytes_max=settings.answer_cache_bytes_max,
        line_wait_s=settings.line_wait_s,
    )
    dead_letters = DeadLetterWriter(appender, clock, metrics)
    reader = LogClient(settings, role="worker-reads", on_lost=dead_letters.write_lost)
    topics, activity = counted_topics(settings, metrics), ActivityTeller(appender, clock)
    parts = WorkerParts(
        appender=appender,
        reader=reader,
        topics=topics,
        logs=SessionLogs(
            topics=topics, appender=appender, reader=reader, activity=activity, conversations=runner.conversations
        ),
        runner=runner,
        calls=runner.calls,
        records=runner.records,
        pool=pool,
        conversations=runner.conversations,
        dead_letters=dead_letters,
        activity=activity,
        clock=clock,
        awake=awake,
        prompt_limits=partial(prompt_limits_of, settings, holder),
        limits=limits_of(settings),
        tiers=lambda: holder.tiers,
        scorer=AnswerScorer(load_scorer(settings.scorer)),
    )
    ownership, prompts = Ownership(parts), parts.names.prompts
    metrics.gauge(WORKER_TURNS_QUEUED).set_function(ownership.waiting_turns)
    app = faust_app(settings)
    app.transport.Consumer = type(
        "PromptsConsumer", (OrderedCommitsConsumer,), {"listener": ownership, "topic": prompts}
    )
    app.producer_transport.Producer = FaustProducer
    ownership.mark_finished = lambda *finished: app.consumer.mark_finished(*finished)
    add_prompt_agent(app, ownership, prompts)
    return Worker(app, ownership, parts, metrics, holder, server, awake)


def prompt_limits_of(settings: Settings, holder: CatalogueHolder) -> PromptLimits:
    """What prompts are accepted at this moment."""
    return PromptLimits(prompt_bytes_max=settings.prompt_bytes_max, models=holder.current.known_models)


def limits_of(settings: Settings) -> OwnerLimits:
    """What each partition's owner keeps to."""
    return OwnerLimits(
        session_queue_max=settings.session_queue_max,
        session_parallel_max=settings.session_parallel_max,
        attempts_max=settings.attempts_max,
        leave_grace_s=settings.leave_grace_s,
        reader_behind_bytes_max=settings.reader_behind_bytes_max,
        lease_us=round(settings.session_timeout_s * 1e6),
    )


def counted_topics(settings: Settings, metrics: Metrics) -> SessionTopics:
    """Sessions' topics, whose number is shown."""
    topics = SessionTopics(settings)
    topics.on_count = metrics.gauge(WORKER_SESSION_TOPICS).set
    metrics.gauge(WORKER_SESSION_TOPICS_MAX).set(topics.ceiling)
    return topics


async def send_permit(appender: LogAppender, partition: int, command: PermitCommand) -> None:
    await appender.append(appender.names.prompts, partition, encode(command), key=PERMITS_KEY)


def questions_to(settings: Settings, holder: CatalogueHolder) -> ServerQuestions | None:
    """For the server that the settings name, where there is one and no file."""
    if holder.loaded.source is not None or not settings.asks_server:
        return None

    def learn(facts: ServerFacts) -> None:
        holder.learn(facts)
        log.info("server_answered", preset=facts.preset or "unknown", models=facts.models_shown)
        if settings.model and facts.models and settings.model not in facts.models:
            log.warning("model_not_listed", model=settings.model, listed=facts.models_shown)

    return ServerQuestions(settings.provider_url, settings.provider_key.get_secret_value(), learn)


def provider_at(
    target: Target,
    *,
    holder: CatalogueHolder,
    server: ServerQuestions | None,
    metrics: Metrics,
    awake: AwakeClock,
    settings: Settings,
) -> OpenAIProvider:
    """Whoever answers at a target: the simulated provider, OpenAI, or any that speaks its language."""
    return OpenAIProvider(
        name=target.provider,
        api_key=holder.loaded.key_of(target).get_secret_value(),
        base_url=target.base_url,
        server=server if holder.loaded.source is None else None,
        connections_max=settings.turns_running_max,
        on_sent_again=metrics.counter(WORKER_SENT_AGAIN).labels(target=target.name).inc,
        stood_still_s=awake.stood_still_s,
    )


def reload_catalogue(holder: CatalogueHolder) -> None:
    """SIGHUP: put the file in force as it is now, or say everything that is wrong with it."""
    match holder.reload():
        case Reloaded(changed, warnings):
            log.info("models_reloaded", changed=list(changed), warnings=list(warnings))
        case Refused(faults):
            log.error("models_refused", faults=list(faults))


def faust_app(settings: Settings) -> Any:
    """The Faust app: one consumer of the prompts topic, no tables, no web server, nothing created on the broker."""
    folder = settings.home.absolute() / "faust"  # faust keeps nothing there without tables, but insists on it
    folder.mkdir(parents=True, exist_ok=True)
    return faust.App(
        settings.worker_group_name,
        broker="kafka://" + ";".join(settings.bootstrap_servers.split(",")),
        broker_client_id=settings.topic_names.member("worker-prompts"),
        broker_credentials=faust_credentials(settings),
        broker_commit_interval=COMMIT_EVERY_S,
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=settings.heartbeat_interval_s,
        broker_rebalance_timeout=max(settings.session_timeout_s * 2, 10.0),
        broker_request_timeout=max(90.0, settings.session_timeout_s),
        broker_commit_livelock_soft_timeout=86_400.0,  # an idle partition commits nothing, which is no fault
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=settings.worker_instance or None,
        datadir=str(folder),
        producer_partitioner=None,
        store="memory://",
        topic_allow_declare=False,
        topic_disable_leader=True,
        value_serializer="raw",
        web_enabled=False,
        worker_redirect_stdouts=False,
    )


def faust_credentials(settings: Settings) -> Any:
    options = aiokafka_options(settings)
    context: ssl.SSLContext | None = options.get("ssl_context")
    if "sasl_oauth_token_provider" in options:
        return OAuthCredentials(oauth_cb=options["sasl_oauth_token_provider"], ssl_context=context)
    if "sasl_mechanism" in options:
        return faust.SASLCredentials(
            mechanism=options["sasl_mechanism"],
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if context is not None else None


def run_worker(settings: Settings) -> None:
    """Run a worker in this process until SIGTERM or SIGINT; see `serve_worker`."""
    uvloop.run(serve_worker(settings, on_ready=lambda _: settle_interpreter()))


async def serve_worker(settings: Settings, *, on_ready: Callable[[int], None] | None = None) -> None:
    """Run a worker until SIGTERM or SIGINT; `on_ready` is called with the port of its metrics.

    On a signal it takes nothing more in, gives running answers DRAIN_S to end, hands the rest over and leaves.
    Raises BrokersUnfit, and what stopped it where it can't go on: the supervisor starts another.
    """
    await check_brokers(settings)
    raise_file_limit()  # a socket for each call
    worker = build_app(settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload_catalogue, worker.holder)
    endpoint = MetricsEndpoint(worker.metrics, settings.metrics_port, names=known_names(settings.allowed_hosts))
    parts = worker.parts
    worker.awake.start()
    try:
        await asyncio.to_thread(load_encoding)  # a second of CPU that must not fall into somebody's answer
        await parts.appender.start()
        await parts.reader.start()
        await parts.topics.start()
        port = await endpoint.start()
        await worker.faust.start()
        if on_ready is not None:
            on_ready(port)
        log.info("worker_ready", metrics_port=port, group=settings.worker_group_name)
        await until_stopped(worker, stop)
    finally:
        await stop_worker(worker)
        await endpoint.stop()
        worker.awake.stop()


async def until_stopped(worker: Worker, stop: asyncio.Event) -> None:
    server, targets, broken = worker.server, worker.holder.targets, worker.parts.broken
    beside: list[asyncio.Task[Any]] = [asyncio.create_task(tell_reach(targets.values()))]
    if server is not None:
        beside.append(asyncio.create_task(server.facts()))  # before the first prompt comes
    waits: set[asyncio.Task[Any]] = {
        asyncio.create_task(stop.wait()),
        asyncio.create_task(broken.wait()),
        asyncio.create_task(worker.faust.wait_until_stopped()),
    }
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (*waits, *beside):
            task.cancel()
    if broken.is_set():
        raise RuntimeError("a partition could not be worked on; see the log")
    if not stop.is_set():
        raise RuntimeError(f"the Faust app stopped by itself: {worker.faust.crash_reason!r}")


async def stop_worker(worker: Worker) -> None:
    parts = worker.parts
    await worker.ownership.drain(DRAIN_S)
    try:
        async with asyncio.timeout(STOP_S):
            await worker.faust.stop()
    except TimeoutError:
        log.warning("worker_stop_slow", after_s=STOP_S)
    await parts.pool.aclose()
    await parts.activity.aclose()
    await parts.topics.stop()
    await parts.reader.stop()
    await parts.appender.stop()
    log.info("worker_stopped")
