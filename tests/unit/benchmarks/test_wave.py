"""What a wave makes of the clients' accounts."""

from __future__ import annotations

from array import array
from pathlib import Path

from benchmarks.gateway.load import Load
from benchmarks.gateway.wave import LATER_S, Wave, account, quantiles, relayed

__all__: list[str] = []

LOAD = Load(run="r", turn="t", streaming=3, records_per_s=5, tokens_per_record=4, seconds=2, layout="shared")


def new_wave() -> Wave:
    return Wave(
        design="tokenwire",
        streaming=3,
        tokens_per_record=4,
        records_per_s_asked=5,
        records_per_s=5,
        records=LOAD.records,
        tokens=LOAD.tokens,
    )


def whole(number: int) -> dict[str, int]:
    records = LOAD.records_of(number)
    faultless = {"holes": 0, "duplicates": 0, "wrong": 0, "ended": 1}
    return {"number": number, "records": records, "received": 4 * records} | faultless


def test_records_are_dealt_out_in_turns() -> None:
    """Ten records for three readers."""
    assert [LOAD.records_of(number) for number in range(3)] == [4, 3, 3]


def test_wave_without_faults_is_whole() -> None:
    """Nothing lost, every answer ended; clients beyond the readers do not count."""
    wave = new_wave()
    account(wave, LOAD, [whole(0), whole(1), whole(2), {"number": 7}])

    assert wave.is_whole
    assert wave.kept_up


def test_hole_in_mid_stream_is_lost_although_the_end_came() -> None:
    """One reader misses a record in the middle and gets another twice: neither hides the other."""
    wave = new_wave()
    faulty = whole(1) | {"records": 2, "received": 8, "holes": 4, "duplicates": 4}
    account(wave, LOAD, [whole(0), faulty, whole(2)])

    assert (wave.records_lost, wave.tokens_lost, wave.hole_tokens, wave.duplicate_tokens) == (1, 4, 4, 4)
    assert not wave.is_whole


def test_times_of_records_are_joined(tmp_path: Path) -> None:
    """From being given and from being on the log; a record without a stamp has no relay time."""
    file = tmp_path / "wave"
    given, appended = array("q", range(0, 10_000, 1_000)), array("q", [0, *range(2_000, 11_000, 1_000)])
    file.write_bytes(given.tobytes() + appended.tobytes())
    Path(f"{file}.0").write_bytes(array("q", [0, 5_000, 1, 5_000]).tobytes())
    Path(f"{file}.1").write_bytes(array("q", [9, 11_000]).tobytes())
    wave = new_wave()
    relayed(wave, LOAD, file, processes=2)

    assert wave.given_ms == quantiles([5.0, 4.0, 2.0])
    assert wave.relay_ms == quantiles([3.0, 1.0])
    assert wave.later_ms == quantiles([])
    assert list(tmp_path.iterdir()) == []


def test_times_of_what_was_written_later(tmp_path: Path) -> None:
    """Only of records that were given after the first seconds."""
    file, later_us = tmp_path / "wave", int(LATER_S * 1e6)
    given = array("q", [0, later_us - 1, *(later_us + number for number in range(8))])
    file.write_bytes(given.tobytes() + given.tobytes())
    Path(f"{file}.0").write_bytes(array("q", [0, 9_000, 1, later_us + 4_999, 2, later_us + 2_000]).tobytes())
    wave = new_wave()
    relayed(wave, LOAD, file, processes=1)

    assert wave.relay_ms == quantiles([5.0, 2.0])
    assert wave.later_ms == quantiles([2.0])
