"""The topics of sessions: created in batches, remembered in bounded memory, named by their Kafka topic id.

A topic's id changes when it is deleted and created anew, so it serves as the *epoch* of a cursor: an offset of the
old topic can't pass for one of the new. Creating is idempotent: gateways and workers may both ask.

    SessionTopicsError
    ├── SessionTopicsUnavailable    `ClusterUnavailable`; the same may work later
    └── SessionTopicRefused         the cluster will not have it until somebody acts; the sentence says what to do
        └── SessionTopicsFull       there are as many as may be; the same may work once some are gone
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog
from aiokafka.errors import KafkaConnectionError, KafkaError
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.error import KafkaError as AdminError

from infra.async_waits import done_at_last
from infra.decisions.backoff import Backoff
from infra.kafka.cluster_directory import ClusterDirectory
from infra.kafka.cluster_errors import ClusterUnavailable
from infra.kafka.connection import aiokafka_options, librdkafka_options, new_admin
from infra.kafka.decisions.topic_ceiling import FULL_RETRY_S, ROOM, TopicCount, is_count_due
from infra.kafka.decisions.topic_refusal import RefusalSpell, remedy, spell_of
from infra.kafka.node_connection import connection_options
from infra.kafka.topic_admin import new_topic
from infra.settings import Settings
from schemas.identifiers import SessionKey
from schemas.topics import LogPlace, TopicSpec

__all__ = [
    "SessionLog",
    "SessionTopicRefused",
    "SessionTopics",
    "SessionTopicsError",
    "SessionTopicsFull",
    "SessionTopicsUnavailable",
]

log = structlog.get_logger(__name__)

CREATE_BATCH_MAX: Final = 500
REMEMBERED_MAX: Final = 20_000
ADMIN_TIMEOUT_S: Final = 10.0
DESCRIBE_BACKOFF: Final = Backoff(0.1)
"""Before nobody's answer is asked for again."""
ASK_DEADLINE_S: Final = 15.0
LAG_PAUSES_S: Final = (0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""Between looks at metadata that is behind what the controller has said."""


class SessionTopicsError(Exception):
    """A session's topic could not be had."""


class SessionTopicsUnavailable(SessionTopicsError, ClusterUnavailable):
    """The cluster did not create or describe a session's topic in time; temporary."""


class SessionTopicRefused(SessionTopicsError):
    """The cluster refuses a session's topic, and will refuse it again (`decisions/topic_refusal.py`)."""


class SessionTopicsFull(SessionTopicRefused):
    """We refuse to make another topic (`decisions/topic_ceiling.py`). Field: retry_after_s."""

    def __init__(self, topics: int, ceiling: int) -> None:
        super().__init__(
            f"No session can begin: the cluster holds {topics} topics of sessions, and TOKENWIRE_SESSION_TOPICS_MAX "
            f"allows {ceiling}. {ROOM}"
        )
        self.retry_after_s = FULL_RETRY_S


@dataclass(frozen=True, slots=True)
class SessionLog:
    """Where a session's log is, and which incarnation of it."""

    place: LogPlace
    epoch: str


class SessionTopics:
    """Finds and creates session topics. One asker task gathers what arrives while a batch is under way."""

    def __init__(self, settings: Settings) -> None:
        self._names = settings.topic_names
        self._layout = settings.topic_layout
        self._replication = settings.topic_replication
        self._retention_h = settings.session_retention_h
        self.ceiling = settings.session_topics_ceiling
        self._count: TopicCount | None = None
        """Of the topics of this line's sessions, as far as they were counted."""
        self.on_count: Callable[[int], None] = lambda topics: None
        """Told how many there are, whenever that has become known."""
        self._options = librdkafka_options(settings)
        asking = aiokafka_options(settings)
        client_id = self._names.member("topics")
        self.directory = ClusterDirectory(
            settings.bootstrap_servers, connection_options(asking, client_id=client_id, timeout_s=ADMIN_TIMEOUT_S)
        )
        self._known: OrderedDict[str, SessionLog] = OrderedDict()
        self.waiting: dict[SessionKey, asyncio.Future[SessionLog]] = {}
        self._wake = asyncio.Event()
        self._asker: asyncio.Task[None] | None = None
        self._admin: AdminClient | None = None
        self._spell: RefusalSpell | None = None
        """The cluster's newest refusal, and for how long it has been repeated; None since the last success."""

    async def start(self) -> None:
        """Connect lazily and start the asker. Raises BrokerTokenUnavailable."""
        self._admin = await asyncio.to_thread(new_admin, self._options)
        self._asker = asyncio.create_task(self.create_what_waits(), name="session-topics")

    async def stop(self) -> None:
        """End the asker; whoever still waits gets SessionTopicsUnavailable."""
        if self._asker is not None:
            self._asker.cancel()
            await asyncio.gather(self._asker, return_exceptions=True)
        fail_all(list(self.waiting.values()), SessionTopicsUnavailable("stopping"))
        self.waiting.clear()
        self._admin = None
        await self.directory.close()

    async def ensure(self, key: SessionKey) -> SessionLog:
        """The session's log, created if absent. Raises SessionTopicsError.

        Cancellation: the topic may still be created; asking again finds it.
        """
        found = self.remembered(key)
        if found is not None:
            return found
        future = self.waiting.get(key)
        if future is None:
            future = self.waiting[key] = asyncio.get_running_loop().create_future()
            self._wake.set()
        try:
            async with asyncio.timeout(ASK_DEADLINE_S):
                return await asyncio.shield(future)
        except TimeoutError:
            raise SessionTopicsUnavailable("the cluster did not answer in time") from None

    async def find(self, key: SessionKey) -> SessionLog | None:
        """The session's log if it exists. Raises SessionTopicsError."""
        return (await self.find_all([key])).get(key)

    async def find_all(self, keys: Sequence[SessionKey]) -> dict[SessionKey, SessionLog]:
        """The logs of those sessions that have one. Raises SessionTopicsError."""
        found = {key: known for key in keys if (known := self.remembered(key)) is not None}
        places = {key: self.place(key) for key in keys if key not in found}
        epochs = await self.describe({place.topic for place in places.values()})
        new = {key: self.remember(key, epochs[place.topic]) for key, place in places.items() if place.topic in epochs}
        return found | new

    async def is_gone(self, session_log: SessionLog) -> bool:
        """Whether the cluster says that this log's topic id is no more: deleted, perhaps created anew.

        No answer says nothing; neither does a topic without a leader.
        """
        topic = session_log.place.topic
        try:
            return (await self.describe([topic])).get(topic) != session_log.epoch
        except SessionTopicsError:
            return False

    def place(self, key: SessionKey) -> LogPlace:
        """Where the session's log is, if it is there."""
        return self._names.session_place(key, self._layout)

    async def delete(self, key: SessionKey) -> None:
        """Delete a session's own topic; nothing happens where it shares one. Raises SessionTopicsError.

        Metadata lags behind the answer to a deletion as well: whoever asks next must not find what is gone.
        """
        if self._layout == "dedicated":
            topic = self._names.session_place(key, self._layout).topic
            refused = await asyncio.to_thread(self.delete_topic, topic)
            if refused is not None:
                raise self.fault_of(refused.code(), words_of(refused))
            if self._count is not None:
                self.note_count(self._count.made(-1))
            for pause_s in LAG_PAUSES_S:
                await asyncio.sleep(pause_s)
                if topic not in await self.describe([topic]):
                    break
        self.forget(key)

    def forget(self, key: SessionKey) -> None:
        """Ask the cluster again next time: the topic was deleted or created anew."""
        self._known.pop(self.memory_key(key), None)

    def remembered(self, key: SessionKey) -> SessionLog | None:
        found = self._known.get(self.memory_key(key))
        if found is None:
            return None
        self._known.move_to_end(self.memory_key(key))
        return (
            found if not found.place.shared else SessionLog(self._names.session_place(key, self._layout), found.epoch)
        )

    def remember(self, key: SessionKey, epoch: str) -> SessionLog:
        found = SessionLog(self._names.session_place(key, self._layout), epoch)
        self._known[self.memory_key(key)] = found
        while len(self._known) > REMEMBERED_MAX:
            self._known.popitem(last=False)
        return found

    def memory_key(self, key: SessionKey) -> str:
        return self._names.shared_sessions if self._layout == "shared" else key

    async def create_what_waits(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self.waiting:
                keys = list(self.waiting)[:CREATE_BATCH_MAX]
                futures = {key: self.waiting.pop(key) for key in keys}
                fault: SessionTopicsError = SessionTopicsUnavailable("stopping")
                try:
                    await self.answer(futures)
                except (SessionTopicsError, KafkaException) as error:
                    log.warning("session_topics_unavailable", sessions=len(keys), reason=str(error))
                    fault = error if isinstance(error, SessionTopicsError) else SessionTopicsUnavailable(str(error))
                finally:
                    fail_all(list(futures.values()), fault)

    async def answer(self, futures: dict[SessionKey, asyncio.Future[SessionLog]]) -> None:
        """Most are there, and to ask about them is cheap; to create each is work for the controller."""
        places = {key: self._names.session_place(key, self._layout) for key in futures}
        epochs = await self.describe({place.topic for place in places.values()})
        missing = [key for key, place in places.items() if place.topic not in epochs]
        faults = await self.created(missing) if missing and self._layout == "dedicated" else {}
        epochs |= await self.described({places[key].topic for key in missing} - faults.keys())
        for key, future in futures.items():
            topic = places[key].topic
            if topic not in epochs:
                absent = SessionTopicsUnavailable("the topic was not there after it was created")
                fail_all([future], faults.get(topic, absent))
            elif not future.done():
                future.set_result(self.remember(key, epochs[topic]))

    async def created(self, keys: list[SessionKey]) -> dict[str, SessionTopicsError]:
        """Create these sessions' topics; why not, for each that was not created. Raises SessionTopicsUnavailable."""
        specs = [self._names.session_topic(key, session_retention_h=self._retention_h) for key in keys]
        count = await self.counted(len(specs))
        made, beyond = specs[: count.room(self.ceiling)], specs[count.room(self.ceiling) :]
        refused = await asyncio.to_thread(self.create, made) if made else {}
        self.note_count(count.made(len(made) - len(refused)))
        if len(refused) < len(made):
            self._spell = None
        faults = {topic: self.fault_of(error.code(), words_of(error)) for topic, error in refused.items()}
        faults |= {spec.name: SessionTopicsFull(count.topics, self.ceiling) for spec in beyond}
        if faults:
            log.warning("session_topics_not_created", sessions=len(faults), reason=str(next(iter(faults.values()))))
        return faults

    async def counted(self, wanted: int) -> TopicCount:
        """How many there are, before so many are made. Raises SessionTopicsUnavailable."""
        now_s = asyncio.get_running_loop().time()
        if self._count is None or is_count_due(self._count, wanted, self.ceiling, now_s):
            return TopicCount(await asyncio.to_thread(self.count_topics), now_s)
        return self._count

    def note_count(self, count: TopicCount) -> None:
        """Say so, once, when it draws near to what may be."""
        was_near = self._count is not None and self._count.is_near(self.ceiling)
        self._count = count
        self.on_count(count.topics)
        if count.is_near(self.ceiling) and not was_near:
            log.warning("session_topics_nearly_full", topics=count.topics, topics_max=self.ceiling, remedy=ROOM)

    def count_topics(self) -> int:
        """Ask the cluster for all names. Raises SessionTopicsUnavailable."""
        try:
            topics = self.client().list_topics(timeout=ADMIN_TIMEOUT_S).topics
        except KafkaException as error:
            raise SessionTopicsUnavailable("no answer about how many topics there are") from error
        return sum(topic.startswith(self._names.session_topics) for topic in topics)

    def fault_of(self, code: int, words: str) -> SessionTopicsError:
        """What a broker's error means for whoever waits."""
        self._spell = spell_of(self._spell, code, asyncio.get_running_loop().time())
        to_do = remedy(self._spell)
        if to_do is None:
            return SessionTopicsUnavailable(words)
        return SessionTopicRefused(f"The cluster refuses a session's topic: {words.rstrip('.')}. {to_do}")

    async def described(self, topics: set[str]) -> dict[str, str]:
        """Topic ids, asked again for a while: metadata lags behind the answer to a creation."""
        epochs: dict[str, str] = {}
        for pause_s in LAG_PAUSES_S:
            await asyncio.sleep(pause_s)
            epochs |= await self.describe(topics - epochs.keys())
            if topics <= epochs.keys():
                break
        return epochs

    def create(self, specs: list[TopicSpec]) -> dict[str, AdminError]:
        """Create topics; the broker's error for each that it did not create. Raises SessionTopicsUnavailable."""
        topics = [new_topic(spec, self._replication) for spec in specs]
        refused = {}
        for topic, future in self.client().create_topics(topics, request_timeout=ADMIN_TIMEOUT_S).items():
            try:
                future.result(timeout=ADMIN_TIMEOUT_S)
            except KafkaException as error:
                if error.args[0].code() != AdminError.TOPIC_ALREADY_EXISTS:
                    refused[topic] = error.args[0]
            except TimeoutError as error:
                raise SessionTopicsUnavailable("no answer to a topic's creation") from error
        return refused

    def delete_topic(self, topic: str) -> AdminError | None:
        """Delete a topic; the broker's error where it did not. Raises SessionTopicsUnavailable."""
        for future in self.client().delete_topics([topic], request_timeout=ADMIN_TIMEOUT_S).values():
            try:
                future.result(timeout=ADMIN_TIMEOUT_S)
            except KafkaException as error:
                if error.args[0].code() != AdminError.UNKNOWN_TOPIC_OR_PART:
                    return error.args[0]
            except TimeoutError as error:
                raise SessionTopicsUnavailable("no answer to a topic's deletion") from error
        return None

    async def describe(self, topics: Collection[str]) -> dict[str, str]:
        """The ids of those that exist, through a short outage. Raises SessionTopicsError."""
        if not topics:
            return {}
        try:
            async with asyncio.timeout(ADMIN_TIMEOUT_S):
                ask = partial(self.directory.topic_ids, topics)
                return await done_at_last(ask, DESCRIBE_BACKOFF, (KafkaConnectionError, OSError, TimeoutError))
        except TimeoutError as error:
            raise SessionTopicsUnavailable("no answer about topics") from error
        except KafkaError as error:
            code = getattr(error, "errno", 0)  # only what a broker says has one
            raise self.fault_of(code, f"no answer about topics: {error}") from error

    def client(self) -> AdminClient:
        if self._admin is None:
            raise SessionTopicsUnavailable("not started")
        return self._admin


def words_of(error: AdminError) -> str:
    return f"{error.name()}, {error.str()}"


def fail_all(futures: list[asyncio.Future[SessionLog]], fault: SessionTopicsError) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(fault)
            future.exception()  # a waiter that was cancelled leaves nobody to read it
