"""Which encoding is chosen for an answer."""

from __future__ import annotations

import pytest

from infra.clickhouse.decisions.answer_packing import chosen_encoding, is_on

__all__: list[str] = []


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ("", None),
        ("identity", None),
        ("*", None),
        ("gzip, deflate, br, zstd", "zstd"),
        ("LZ4", "lz4"),
        ("zstd;q=0, gzip;q=0.5", "gzip"),
        ("gzip;q=nonsense, deflate", "deflate"),
        ("gzip;level=1", "gzip"),
        ("x-gzip,br", "br"),
    ],
)
def test_encoding_is_one_that_the_client_takes(accepted: str, chosen: str | None) -> None:
    """Of what the header names without ruling it out, the cheapest."""
    assert chosen_encoding(accepted) == chosen


def test_parameters_say_yes_or_no() -> None:
    """As ClickHouse reads them: anything but nothing, 0 and false."""
    assert [is_on(value) for value in ("1", "true", "0", "False", "")] == [True, True, False, False, False]
