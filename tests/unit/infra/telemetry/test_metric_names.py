from __future__ import annotations

import re

from infra.telemetry import metric_names
from infra.telemetry.metric_names import METRICS, Metric

__all__: list[str] = []

IDENTIFIERS = {"user", "session", "turn", "run", "prompt_id", "connection", "topic"}


def test_names_are_unique_and_say_their_kind() -> None:
    """Counters end in _total, histograms in their unit, all begin with tokenwire_."""
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert re.fullmatch(r"tokenwire_(gateway|worker|analytics|producer|infra)_[a-z0-9_]+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert metric.kind != "histogram" or (metric.name.endswith("_seconds") and metric.buckets)


def test_every_metric_says_what_a_rise_means() -> None:
    """Meaning and rise are whole sentences."""
    for metric in METRICS:
        assert metric.meaning.endswith(".")
        assert metric.rise.endswith(".")


def test_labels_are_never_identifiers() -> None:
    """A label takes few values; an identifier would make a time series per user."""
    for metric in METRICS:
        assert not IDENTIFIERS & set(metric.labels)


def test_catalogue_holds_every_metric_of_the_module() -> None:
    """A metric that is defined is also in METRICS."""
    defined = {value.name for value in vars(metric_names).values() if isinstance(value, Metric)}

    assert defined == {metric.name for metric in METRICS}
