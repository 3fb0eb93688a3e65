-- One row per part of an attempt's record. Rows arrive exactly once: the writer skips what is already there and
-- inserts under a deduplication token. Times are the record's own; recorded_at is the log's (broker's) clock.
CREATE TABLE IF NOT EXISTS tokenwire.turn_parts
(
    user                 String CODEC(ZSTD(1)),
    tenant               LowCardinality(String),
    session              String CODEC(ZSTD(1)),
    turn                 String CODEC(ZSTD(1)),
    attempt              UInt16,
    run                  String CODEC(ZSTD(1)),
    part                 UInt32,
    last                 Bool,
    prompt_id            String CODEC(ZSTD(1)),
    recorded_at          DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    seq                  UInt32,
    texts                Array(String) CODEC(ZSTD(3)),
    gaps_us              Array(UInt64) CODEC(Delta(8), ZSTD(1)),
    reason               LowCardinality(String),
    cause                LowCardinality(String),
    error_code           LowCardinality(String),
    provider             LowCardinality(String),
    model                LowCardinality(String),
    input_tokens         UInt32,
    output_tokens        UInt32,
    cached_tokens        UInt32,
    reasoning_tokens     UInt32,
    usage_estimated      Bool,
    cost_nano_usd        Int64,
    price_version        LowCardinality(String),
    text_sha256          String CODEC(ZSTD(1)),
    text_chars           UInt32,
    chunks               UInt32,
    accepted_at          Nullable(DateTime64(6, 'UTC')) CODEC(Delta(8), ZSTD(1)),
    dequeued_at          Nullable(DateTime64(6, 'UTC')) CODEC(Delta(8), ZSTD(1)),
    requested_at         Nullable(DateTime64(6, 'UTC')) CODEC(Delta(8), ZSTD(1)),
    first_chunk_at       Nullable(DateTime64(6, 'UTC')) CODEC(Delta(8), ZSTD(1)),
    published_at         Nullable(DateTime64(6, 'UTC')) CODEC(Delta(8), ZSTD(1)),
    ended_at             Nullable(DateTime64(6, 'UTC')) CODEC(Delta(8), ZSTD(1)),
    ttft_us              Nullable(Int64),
    tpot_us              Nullable(Int64),
    history_messages_cut UInt32,
    INDEX recorded_at_range recorded_at TYPE minmax GRANULARITY 1,
    INDEX accepted_at_range accepted_at TYPE minmax GRANULARITY 1,
    INDEX turn_filter turn TYPE bloom_filter GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(recorded_at)
ORDER BY (user, session, turn, attempt, run, part)
SETTINGS non_replicated_deduplication_window = 10000;

-- One row per attempt whose outcome is known. Nearly every attempt has a single part, so its stream comes from the
-- row itself; the join only brings the earlier parts of long answers.
CREATE VIEW IF NOT EXISTS tokenwire.turns AS
SELECT
    user,
    tenant,
    session,
    turn,
    attempt,
    run,
    prompt_id,
    provider,
    model,
    reason,
    cause,
    error_code,
    accepted_at,
    dequeued_at,
    requested_at,
    first_chunk_at,
    published_at,
    ended_at,
    ttft_us / 1000 AS ttft_ms,
    tpot_us / 1000 AS tpot_ms,
    input_tokens,
    output_tokens,
    cached_tokens,
    reasoning_tokens,
    usage_estimated,
    toDecimal128(cost_nano_usd, 9) / 1000000000 AS cost_usd,
    cost_nano_usd,
    price_version,
    text_sha256,
    text_chars,
    chunks,
    history_messages_cut,
    part + 1 AS parts,
    recorded_at,
    arrayConcat(earlier.earlier_texts, ending.texts) AS texts,
    arrayConcat(earlier.earlier_gaps_us, ending.gaps_us) AS gaps_us,
    arrayStringConcat(arrayConcat(earlier.earlier_texts, ending.texts)) AS text
FROM
(
    SELECT * FROM tokenwire.turn_parts WHERE last
) AS ending
ANY LEFT JOIN
(
    SELECT
        user,
        session,
        turn,
        attempt,
        run,
        arrayFlatten(arrayMap(pair -> pair.2, arraySort(pair -> pair.1, groupArray((part, texts))))) AS earlier_texts,
        arrayFlatten(arrayMap(pair -> pair.2, arraySort(pair -> pair.1, groupArray((part, gaps_us))))) AS earlier_gaps_us
    FROM tokenwire.turn_parts
    WHERE NOT last
    GROUP BY user, session, turn, attempt, run
) AS earlier
USING (user, session, turn, attempt, run);
