"""The figures as a person reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from benchmarks.gateway.everyone import Everyone
from benchmarks.gateway.idle import LEFT_RATIO_MAX, Idle
from benchmarks.gateway.plain import Plain, Side
from benchmarks.gateway.processes import OTHERS
from benchmarks.gateway.search import verdict
from benchmarks.gateway.slow import Slow
from benchmarks.gateway.slow_readers import Outcome
from benchmarks.gateway.steady import Memory, Steady
from benchmarks.gateway.storm import Storm
from benchmarks.gateway.wave import LATER_S, Wave

__all__ = ["lines_of"]


def lines_of(seen: Steady | Everyone | Slow | Storm | Plain | Idle) -> Iterator[str]:
    """What was seen, line by line."""
    match seen:
        case Steady():
            yield f"steady, {seen.layout} layout"
            yield from memory_lines(seen.memory)
            if seen.wave is not None:
                yield from wave_lines(seen.wave)
            if seen.trials:
                yield from search_lines(seen.trials, seen.highest)
        case Everyone():
            yield f"everyone, {seen.layout} layout: a token every {seen.pace.token_ms:g} ms for each reader"
            yield from memory_lines(seen.memory)
            yield from search_lines(seen.trials, seen.highest)
            yield from wave_lines(seen.highest or seen.trials[-1])
        case Slow():
            yield from slow_lines(seen)
        case Storm():
            yield from storm_lines(seen)
        case Idle():
            yield f"idle, {seen.layout} layout: {seen.seconds:g} s"
            yield from memory_lines(seen.memory)
            words = f"{seen.growth_mb_per_min:+.3f} MB/min ({seen.growth_mb_per_min_max:g} allowed)"
            yield row("growth", f"{words}, {seen.cut_off:,} clients cut off")
        case Plain():
            yield f"plain, {seen.layout} layout"
            for side in seen.sides:
                yield from side_lines(side)


def row(name: str, text: str) -> str:
    return f"  {name:<22}{text}"


def spread(values: Sequence[float]) -> str:
    return " / ".join(f"{each:,.1f}" for each in values)


def memory_lines(memory: Memory) -> Iterator[str]:
    yield row(
        "gateway memory",
        f"{memory.fresh:.0f} MiB fresh, {memory.start:.0f} before the clients, {memory.connected:.0f} with "
        f"{memory.clients:,} connected",
    )
    yield row("idle connection", f"{memory.kib_per_idle_connection:.1f} KiB resident")
    slabs = memory.slab_mib_connected - memory.slab_mib_start
    grown = memory.socket_mib_connected - memory.socket_mib_start
    yield row("kernel sockets", f"{grown:.1f} MiB more of buffers, {slabs:.0f} of objects, for both ends of all")
    if memory.kib_per_streaming_connection:
        yield row("while streaming", f"{memory.kib_per_streaming_connection:.1f} KiB a connection, at most")
    if memory.left:
        verdict_word = "within" if memory.left_ratio <= LEFT_RATIO_MAX else "above"
        yield row(
            "after all left",
            f"{memory.left:.0f} MiB, {memory.left_ratio:.2f} × the start ({verdict_word} {LEFT_RATIO_MAX}), "
            f"{memory.read_after_leaving_s:.0f} s later",
        )


def wave_lines(wave: Wave) -> Iterator[str]:
    yield row(
        "records",
        f"{wave.records:,} of {wave.tokens_per_record} tokens at {wave.records_per_s:,.0f}/s "
        f"(asked {wave.records_per_s_asked:,.0f}/s) to {wave.streaming:,} readers",
    )
    yield row(
        "lost",
        f"{wave.tokens_lost:,} of {wave.tokens:,} tokens, {wave.records_lost:,} of {wave.records:,} records",
    )
    yield row(
        "faults",
        f"{wave.hole_tokens:,} tokens in holes, {wave.duplicate_tokens:,} twice, {wave.wrong_texts:,} wrong texts",
    )
    yield row("answers", f"{wave.answers_ended:,} of {wave.streaming:,} ended, the last {wave.late_s:.2f} s late")
    yield row("relay, ms", f"{spread(wave.relay_ms)}  (on the log → at the client; p50, p90, p99, largest)")
    yield row("given → client, ms", f"{spread(wave.given_ms)}  (handed to the producer → at the client)")
    yield row("acknowledged, ms", f"{spread(wave.acknowledged_ms)}  (p50, p99 of the producer)")
    frame_us = 1e6 * wave.gateway_cpu_s / max(1, wave.frames)
    yield row(
        "gateway",
        f"{wave.per_core_s(wave.frames):,.0f} frames and {wave.per_core_s(wave.tokens - wave.tokens_lost):,.0f} tokens "
        f"per second of CPU; {frame_us:.0f} µs a frame, {wave.frames:,} frames",
    )
    yield row("CPU, % of a core", ", ".join(f"{name} {used:.0f}" for name, used in wave.cpu_percent.items()))
    if wave.saturated_clients:
        yield row("", "a client process was saturated: what is slow may be the clients (--client-processes)")
    yield row(
        "most seen", f"{wave.resident_mib_most:.0f} MiB resident, {wave.socket_mib_most:.1f} MiB of kernel sockets"
    )


def search_lines(trials: Sequence[Wave], best: Wave | None) -> Iterator[str]:
    for wave in trials:
        yield row("tried", f"{wave.streaming:,} readers, {wave.records_per_s_asked:,.0f} records/s: {verdict(wave)}")
    if best is None:
        yield row("highest", "none of them")
    else:
        rate = best.records_per_s
        yield row(
            "highest kept up with",
            f"{best.streaming:,} readers, {rate:,.0f} records/s, {rate * best.tokens_per_record:,.0f} tokens/s",
        )


def outcome_line(outcome: Outcome) -> str:
    return (
        f"{outcome.whole:,} of {outcome.clients:,} got the whole answer, {outcome.tokens_lost:,} tokens lost, "
        f"{outcome.hole_tokens:,} in holes, {outcome.duplicate_tokens:,} twice; {outcome.returned:,} came back "
        f"(codes: {counts(outcome.close_codes)}; {outcome.with_told_cursor:,} with the cursor they were told)"
    )


def counts(of: Mapping[str, float]) -> str:
    return ", ".join(f"{number:,.0f} × {name}" for name, number in sorted(of.items())) or "none"


def slow_lines(seen: Slow) -> Iterator[str]:
    plan = seen.plan
    yield f"slow, {seen.layout} layout: {plan.still:,} never read, {plan.slow:,} read 1 KB/s"
    yield from memory_lines(seen.memory)
    pairs = zip(seen.waves(), seen.p99_ratios, seen.later_p99_ratios, strict=True)
    for number, ((beside, without), ratio, later) in enumerate(pairs, start=1):
        yield row(
            f"pair {number}",
            f"p99 {without.relay_ms[2]:,.1f} ms without, {beside.relay_ms[2]:,.1f} ms with: {ratio:.2f}; "
            f"after {LATER_S:.0f} s {without.later_ms[2]:,.1f} and {beside.later_ms[2]:,.1f} ms: {later:.2f}; "
            f"lost {without.tokens_lost:,} and {beside.tokens_lost:,}; at most {without.resident_mib_most:.0f} and "
            f"{beside.resident_mib_most:.0f} MiB; other programs took {without.cpu_percent[OTHERS]:.0f} and "
            f"{beside.cpu_percent[OTHERS]:.0f} % of a core",
        )
    yield row("p99 ratio", f"{seen.p99_ratio:.2f}, the median of {len(seen.p99_ratios)}")
    yield row("… found out", f"{seen.later_p99_ratio:.2f}, of what was written after the first {LATER_S:.0f} s")
    yield row("unsent", f"{seen.unsent_mib_most:.1f} MiB at most, of {seen.unsent_mib_max:.0f} allowed")
    yield row("served otherwise", counts(seen.modes) + " (changes of mode)")
    yield row("closed by gateway", counts(seen.closed) + " (by code)")
    for name, outcome in (("never read", seen.still), ("1 KB/s", seen.slow)):
        yield row(name, outcome_line(outcome))
    for name, outcome in (("never read, held", seen.held_still), ("1 KB/s, held", seen.held_slow)):
        yield row(name, outcome_line(outcome))
    if seen.beside:
        yield "  the last wave with them:"
        yield from wave_lines(seen.beside[-1])


def storm_lines(seen: Storm) -> Iterator[str]:
    yield f"storm, {seen.layout} layout: {seen.clients:,} clients cut off, back over {seen.over_s:g} s"
    yield from memory_lines(seen.memory)
    yield row("resumed", f"{seen.resumed:,} of {seen.cut:,}, the last after {seen.resumed_within_s:.1f} s")
    yield row("attach, ms", f"{spread(seen.attach_ms)}  (p50, p90, p99, largest; refusals included)")
    answers = ", ".join(f"{number:,} {word}" for word, number in sorted(seen.recovered.items()))
    yield row("answered", f"{answers}; {seen.tries - seen.resumed:,} tries in vain")
    if seen.wave is not None:
        yield from wave_lines(seen.wave)


def side_lines(side: Side) -> Iterator[str]:
    yield f"{side.design}:"
    yield from memory_lines(side.memory)
    yield from wave_lines(side.wave)
    yield "  with slow and cut clients beside:"
    yield from wave_lines(side.beside)
    yield row("never read", outcome_line(side.still))
    yield row("cut off", outcome_line(side.cut))
    if side.trials:
        yield from search_lines(side.trials, side.highest)
