"""What runs on one machine only is asked for by name where it is missing."""

from __future__ import annotations

import sys

import pytest

from infra.embedded_parts import EmbeddedPart, EmbeddedPartsMissing, require_embedded

__all__: list[str] = []


def test_parts_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence for all: what, how to install it, and the settings that name somebody else's."""
    for module in ("jgo", "chdb"):
        monkeypatch.setitem(sys.modules, module, None)  # as Python notes a module that can't be found

    with pytest.raises(EmbeddedPartsMissing) as caught:
        require_embedded(EmbeddedPart.BROKER, EmbeddedPart.ENGINE)

    assert caught.value.missing == (EmbeddedPart.BROKER, EmbeddedPart.ENGINE)
    assert str(caught.value) == (
        "Not installed here: the embedded Kafka broker and the embedded ClickHouse. Install what runs on one machine "
        "with pip install 'tokenwire[embedded]', or set TOKENWIRE_KAFKA and TOKENWIRE_CLICKHOUSE to use a cluster's."
    )


def test_other_part_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is asked for is looked for."""
    monkeypatch.setitem(sys.modules, "chdb", None)

    require_embedded(EmbeddedPart.BROKER)
    with pytest.raises(EmbeddedPartsMissing, match="TOKENWIRE_CLICKHOUSE"):
        require_embedded(EmbeddedPart.BROKER, EmbeddedPart.ENGINE)
