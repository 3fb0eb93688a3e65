-- What the sender of a prompt keeps with it; WHERE metadata['ticket'] = '4711' finds its answers.
ALTER TABLE tokenwire.turn_parts
    ADD COLUMN IF NOT EXISTS metadata Map(String, String) AFTER history_messages_cut;

CREATE OR REPLACE VIEW tokenwire.turns AS
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
    cache_write_tokens,
    usage_estimated,
    toDecimal128(cost_nano_usd, 9) / 1000000000 AS cost_usd,
    cost_nano_usd,
    toDecimal128(stated_cost_nano_usd, 9) / 1000000000 AS stated_cost_usd,
    stated_cost_nano_usd,
    price_version,
    text_sha256,
    text_chars,
    chunks,
    history_messages_cut,
    metadata,
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
