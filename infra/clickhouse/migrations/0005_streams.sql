-- `turns` is one row per attempt without its stream: a question that touches no text and no gap reads no other row for it.
-- `turn_streams` is the same with texts and gaps, which a long answer has in several rows.
CREATE OR REPLACE VIEW tokenwire.turn_streams AS
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
    arrayConcat(arrayFlatten(arrayMap(each -> each.2, arrayFilter(each -> each.1 < ending.part, stream))), ending.texts)
        AS texts,
    arrayConcat(arrayFlatten(arrayMap(each -> each.3, arrayFilter(each -> each.1 < ending.part, stream))), ending.gaps_us)
        AS gaps_us,
    arrayStringConcat(
        arrayConcat(arrayFlatten(arrayMap(each -> each.2, arrayFilter(each -> each.1 < ending.part, stream))), ending.texts)
    ) AS text
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
        arraySort(each -> each.1, groupArray((part, texts, gaps_us))) AS stream
    FROM tokenwire.turn_parts
    WHERE NOT last
    GROUP BY user, session, turn, attempt, run
) AS earlier
USING (user, session, turn, attempt, run);

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
    recorded_at
FROM tokenwire.turn_parts
WHERE last;
