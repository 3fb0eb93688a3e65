"""The catalogue of metrics: name, kind, labels and what a rise means to whoever is woken by it.

Labels take few values (a reason, a close code), never an identifier. Counters end in `_total`; units come last.
Add a metric here, then build it with `infra.telemetry.metrics.Metrics`; `docs/reference/metrics.md` is drawn from
this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

__all__ = [
    "ANALYTICS_BLOCKED_SECONDS",
    "ANALYTICS_FAILURES",
    "ANALYTICS_INSERT_SECONDS",
    "ANALYTICS_LAG_RECORDS",
    "ANALYTICS_METRICS",
    "ANALYTICS_ROWS",
    "GATEWAY_ARCHIVE_READS",
    "GATEWAY_BLOCKED_SECONDS",
    "GATEWAY_BYTES_UNSENT",
    "GATEWAY_CATCH_UP_READS",
    "GATEWAY_CONNECTIONS",
    "GATEWAY_EVICTIONS",
    "GATEWAY_FRAMES",
    "GATEWAY_HOLES",
    "GATEWAY_LOGOUTS_DROPPED",
    "GATEWAY_METRICS",
    "GATEWAY_MODE_CHANGES",
    "GATEWAY_REFUSED",
    "GATEWAY_RELAY_SECONDS",
    "GATEWAY_RETURNS",
    "GATEWAY_SESSIONS",
    "GATEWAY_SKIPS",
    "GATEWAY_SLOW",
    "GATEWAY_UNREADABLE",
    "METRICS",
    "WORKER_ANSWER_CACHE",
    "WORKER_APPEND_SECONDS",
    "WORKER_CALL_LIMIT",
    "WORKER_DEAD_LETTERS",
    "WORKER_LIMITS_MET",
    "WORKER_METRICS",
    "WORKER_PROVIDER_TTFT_SECONDS",
    "WORKER_SENT_AGAIN",
    "WORKER_SESSION_TOPICS",
    "WORKER_SESSION_TOPICS_MAX",
    "WORKER_TOKENS",
    "WORKER_TURNS",
    "WORKER_TURNS_QUEUED",
    "WORKER_TURNS_RUNNING",
    "Metric",
    "MetricKind",
]

MetricKind: TypeAlias = Literal["counter", "gauge", "histogram"]

RELAY_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
BLOCKED_BUCKETS_S: Final = (0.01, 0.1, 0.5, 1.0, 5.0, 10.0, 20.0, 60.0)
TTFT_BUCKETS_S: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric, as `/metrics` shows it."""

    name: str
    kind: MetricKind
    meaning: str
    """What it counts or measures, in one sentence."""
    rise: str
    """What a rise means and where to look."""
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets, in the metric's unit."""


# ---- Gateway
GATEWAY_CONNECTIONS: Final = Metric(
    name="tokenwire_gateway_connections",
    kind="gauge",
    meaning="Open websockets.",
    rise="More clients, or clients that reconnect without closing; compare with evictions.",
)
GATEWAY_FRAMES: Final = Metric(
    name="tokenwire_gateway_frames_total",
    kind="counter",
    labels=("direction",),
    meaning="Frames received from (in) and sent to (out) clients.",
    rise="More traffic; out far above in is normal while answers stream.",
)
GATEWAY_BYTES_UNSENT: Final = Metric(
    name="tokenwire_gateway_unsent_bytes",
    kind="gauge",
    meaning="Bytes waiting for clients that read slowly, over all connections.",
    rise="Clients or their networks cannot keep up; near the process's cap, new clients are refused.",
)
GATEWAY_SLOW: Final = Metric(
    name="tokenwire_gateway_slow_connections",
    kind="gauge",
    labels=("mode",),
    meaning="Connections that are rolled up, or served from the log, now.",
    rise="Clients or their networks cannot keep up; all of them at once: this gateway is short of CPU.",
)
GATEWAY_MODE_CHANGES: Final = Metric(
    name="tokenwire_gateway_mode_changes_total",
    kind="counter",
    labels=("mode",),
    meaning="How often a connection came to be served directly, rolled up, or from the log.",
    rise="Clients at the edge of what they can take; fast and steady: the marks lie too close together.",
)
GATEWAY_BLOCKED_SECONDS: Final = Metric(
    name="tokenwire_gateway_write_blocked_seconds",
    kind="histogram",
    buckets=BLOCKED_BUCKETS_S,
    meaning="Each time a socket was full: for how long nothing could be written.",
    rise="Clients read more slowly than their answers come.",
)
GATEWAY_CATCH_UP_READS: Final = Metric(
    name="tokenwire_gateway_catch_up_reads_total",
    kind="counter",
    meaning="Pieces of session logs read for clients that are behind.",
    rise="Slow clients, or many that come back after a while; the broker serves them from its page cache.",
)
GATEWAY_ARCHIVE_READS: Final = Metric(
    name="tokenwire_gateway_archive_reads_total",
    kind="counter",
    labels=("outcome",),
    meaning="Sessions looked up in ClickHouse, since their log did not reach back: answered, failed, or passed_over "
    "(ClickHouse had just failed, or too many waited).",
    rise="Clients come back after the logs' retention; with failed or passed_over they see only what the log holds.",
)
GATEWAY_REFUSED: Final = Metric(
    name="tokenwire_gateway_refused_total",
    kind="counter",
    labels=("where",),
    meaning="Sockets refused: at the door (503), for waiting there too long (pending), after hello (admission, 1013); "
    "requests of pages that may not connect (origin, 403), and for names that are not ours (host, 421).",
    rise="This gateway is full (sockets, files or bytes), one user has too many sockets, or somebody fills the line; "
    "origin: a page's address is missing in TOKENWIRE_GATEWAY_ORIGINS; host: a name in TOKENWIRE_ALLOWED_HOSTS (the "
    "log names both).",
)
GATEWAY_SESSIONS: Final = Metric(
    name="tokenwire_gateway_sessions",
    kind="gauge",
    labels=("state",),
    meaning="Sessions with a log of their own that clients follow here: fetched, or silent and left out of the fetch.",
    rise="fetched: more answers at once, and more work for the broker; left_out: clients that wait and cost nothing.",
)
GATEWAY_RETURNS: Final = Metric(
    name="tokenwire_gateway_sessions_returned_total",
    kind="counter",
    labels=("cause",),
    meaning="Silent sessions fetched again, by cause: prompt, activity (the worker's word), attach, look, deleted.",
    rise="prompt and activity: silent sessions speak again; look: so many are left out.",
)
GATEWAY_SKIPS: Final = Metric(
    name="tokenwire_gateway_skips_total",
    kind="counter",
    meaning="How often a slow client that asked for it was taken to the newest by a snapshot.",
    rise="Clients with `on_slow: skip` cannot keep up.",
)
GATEWAY_EVICTIONS: Final = Metric(
    name="tokenwire_gateway_evictions_total",
    kind="counter",
    labels=("code",),
    meaning="Connections that the gateway closed, by close code.",
    rise="4508: slow clients; 4429: floods; 4401: tokens run out; 4500: our fault, see the log.",
)
GATEWAY_UNREADABLE: Final = Metric(
    name="tokenwire_gateway_unreadable_ranges_total",
    kind="counter",
    meaning="Ranges of a log that this gateway could not read; each is counted once, and named in its own log.",
    rise="A broker's disk is failing, or somebody writes what nobody can read; clients were told `gap`.",
)
GATEWAY_HOLES: Final = Metric(
    name="tokenwire_gateway_holes_total",
    kind="counter",
    meaning="Records of answers that were not told, since what should come before them is not on their session's log.",
    rise="A broker lost what it had acknowledged (power loss, an unclean election), or somebody else writes the logs.",
)
GATEWAY_LOGOUTS_DROPPED: Final = Metric(
    name="tokenwire_gateway_logouts_dropped_total",
    kind="counter",
    labels=("where",),
    meaning="Logouts forgotten for want of room: of those remembered, upon which tokens as old as theirs are refused "
    "(remembered), or before other gateways were told of later tokens that they end (untold).",
    rise="More users log out within a token's life than are remembered; users with older tokens have to sign in again. "
    "untold: Kafka takes no words while many log out.",
)
GATEWAY_RELAY_SECONDS: Final = Metric(
    name="tokenwire_gateway_relay_seconds",
    kind="histogram",
    buckets=RELAY_BUCKETS_S,
    meaning="From a record's stamp by its writer to the frame handed to a client's socket.",
    rise="The broker or this gateway is short of CPU, or the clocks of two machines drifted apart.",
)

# ---- Worker
WORKER_TURNS: Final = Metric(
    name="tokenwire_worker_turns_total",
    kind="counter",
    labels=("reason",),
    meaning="Turns ended, by reason.",
    rise="error or incomplete: the provider fails or stalls; rejected or expired: look at who sends.",
)
WORKER_LIMITS_MET: Final = Metric(
    name="tokenwire_worker_limits_met_total",
    kind="counter",
    labels=("limit", "effect"),
    meaning="Prompts and attempts that a user's limit refused (`refused`), or would have (`shadow`), by limit.",
    rise="Users need more than their tier allows, or one of them sends in a loop.",
)
WORKER_TURNS_RUNNING: Final = Metric(
    name="tokenwire_worker_turns_running",
    kind="gauge",
    meaning="Turns whose answer is being produced.",
    rise="More load or slower answers; at turns_running_max the rest waits.",
)
WORKER_TURNS_QUEUED: Final = Metric(
    name="tokenwire_worker_turns_queued",
    kind="gauge",
    meaning="Turns taken in that wait for their session or for a place at a target.",
    rise="Sessions send faster than they are answered, or the worker is full: add a worker.",
)
WORKER_TOKENS: Final = Metric(
    name="tokenwire_worker_tokens_total",
    kind="counter",
    labels=("kind",),
    meaning="Tokens paid for: input, output.",
    rise="More use, and more cost; compare with turns for the price of one.",
)
WORKER_APPEND_SECONDS: Final = Metric(
    name="tokenwire_worker_append_seconds",
    kind="histogram",
    buckets=RELAY_BUCKETS_S,
    meaning="From handing records to the producer to the broker's acknowledgement of all of them.",
    rise="The broker is slow or unreachable; records grow meanwhile, nothing is lost.",
)
WORKER_PROVIDER_TTFT_SECONDS: Final = Metric(
    name="tokenwire_worker_provider_ttft_seconds",
    kind="histogram",
    buckets=TTFT_BUCKETS_S,
    meaning="From the request to the provider to the first content chunk of its answer.",
    rise="The provider is slow or queues our requests.",
)
WORKER_CALL_LIMIT: Final = Metric(
    name="tokenwire_worker_call_limit",
    kind="gauge",
    labels=("target",),
    meaning="Calls at once that a target was seen to take from this worker; +Inf: no limit was seen.",
    rise="The target takes more; a fall: it queues, slows down or refuses, and what is over the limit waits in line.",
)
WORKER_SENT_AGAIN: Final = Metric(
    name="tokenwire_worker_requests_sent_again_total",
    kind="counter",
    labels=("target",),
    meaning="Requests that died unread with a connection that had idled, and went out once more in the same attempt.",
    rise="The provider, or a proxy before it, closes idle connections sooner than we do.",
)
WORKER_DEAD_LETTERS: Final = Metric(
    name="tokenwire_worker_dead_letters_total",
    kind="counter",
    labels=("reason",),
    meaning="Records that could not be processed, by reason; they lie on tokenwire.deadletters.",
    rise="A producer sends what does not follow the schema, or prompts crash workers.",
)
WORKER_SESSION_TOPICS: Final = Metric(
    name="tokenwire_worker_session_topics",
    kind="gauge",
    meaning="Topics of sessions on the cluster, as known when this worker made or deleted one; 0 before.",
    rise="More sessions were begun than deleted; at tokenwire_worker_session_topics_max none can begin.",
)
WORKER_SESSION_TOPICS_MAX: Final = Metric(
    name="tokenwire_worker_session_topics_max",
    kind="gauge",
    meaning="Topics of sessions that the cluster may hold (TOKENWIRE_SESSION_TOPICS_MAX).",
    rise="The setting was raised.",
)

WORKER_ANSWER_CACHE: Final = Metric(
    name="tokenwire_worker_answer_cache_total",
    kind="counter",
    labels=("outcome",),
    meaning="Answers of models with cache_s: given again without a call (hit), asked for (miss).",
    rise="hit: calls that were spared; miss alone: prompts differ, answers are too old, or the memory is too small.",
)

# ---- Analytics
ANALYTICS_ROWS: Final = Metric(
    name="tokenwire_analytics_rows_total",
    kind="counter",
    labels=("table",),
    meaning="Rows inserted, by table.",
    rise="More turns end; no rise while turns end means that the writer stands still.",
)
ANALYTICS_LAG_RECORDS: Final = Metric(
    name="tokenwire_analytics_lag_records",
    kind="gauge",
    meaning="Records on the log that are not in ClickHouse yet.",
    rise="ClickHouse is slow or down; the log keeps the records for 7 days.",
)
ANALYTICS_INSERT_SECONDS: Final = Metric(
    name="tokenwire_analytics_insert_seconds",
    kind="histogram",
    buckets=RELAY_BUCKETS_S,
    meaning="Duration of one insert.",
    rise="ClickHouse merges too much or its disk is slow.",
)
ANALYTICS_FAILURES: Final = Metric(
    name="tokenwire_analytics_failures_total",
    kind="counter",
    labels=("kind",),
    meaning="Inserts that failed and are tried again (insert), inserts that were refused for what a row holds and are "
    "tried in pieces (rows), records that do not decode (decode).",
    rise="insert: ClickHouse is unreachable or refuses; rows: the refused row is among the dead letters; decode: a "
    "writer of another version is about.",
)
ANALYTICS_BLOCKED_SECONDS: Final = Metric(
    name="tokenwire_analytics_blocked_seconds",
    kind="gauge",
    meaning="For how long ClickHouse has taken no rows; 0 while it does.",
    rise="ClickHouse is down, out of memory or disk, read-only, or merges too slowly; records wait on their log for 7 "
    "days, then they are lost. `/readyz` beside these metrics says the code.",
)

GATEWAY_METRICS: Final = (
    GATEWAY_CONNECTIONS,
    GATEWAY_FRAMES,
    GATEWAY_BYTES_UNSENT,
    GATEWAY_SLOW,
    GATEWAY_MODE_CHANGES,
    GATEWAY_BLOCKED_SECONDS,
    GATEWAY_CATCH_UP_READS,
    GATEWAY_ARCHIVE_READS,
    GATEWAY_SESSIONS,
    GATEWAY_RETURNS,
    GATEWAY_SKIPS,
    GATEWAY_REFUSED,
    GATEWAY_EVICTIONS,
    GATEWAY_UNREADABLE,
    GATEWAY_HOLES,
    GATEWAY_LOGOUTS_DROPPED,
    GATEWAY_RELAY_SECONDS,
)
WORKER_METRICS: Final = (
    WORKER_TURNS,
    WORKER_LIMITS_MET,
    WORKER_TURNS_RUNNING,
    WORKER_TURNS_QUEUED,
    WORKER_TOKENS,
    WORKER_APPEND_SECONDS,
    WORKER_PROVIDER_TTFT_SECONDS,
    WORKER_CALL_LIMIT,
    WORKER_DEAD_LETTERS,
    WORKER_SENT_AGAIN,
    WORKER_SESSION_TOPICS,
    WORKER_SESSION_TOPICS_MAX,
    WORKER_ANSWER_CACHE,
)
ANALYTICS_METRICS: Final = (
    ANALYTICS_ROWS,
    ANALYTICS_LAG_RECORDS,
    ANALYTICS_INSERT_SECONDS,
    ANALYTICS_FAILURES,
    ANALYTICS_BLOCKED_SECONDS,
)
METRICS: Final[tuple[Metric, ...]] = (*GATEWAY_METRICS, *WORKER_METRICS, *ANALYTICS_METRICS)
"""Every metric of every process."""
