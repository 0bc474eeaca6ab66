"""Metric names and labels keep to the rules that dashboards rely on."""

from __future__ import annotations

import pytest
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from stream.telemetry import metrics

ALL = [found for found in vars(metrics).values() if isinstance(found, MetricWrapperBase)]
UNBOUNDED = {"video_id", "video", "author_id", "author", "offset", "host", "key", "trace_id"}


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric._name)
def test_names_have_the_prefix_and_a_unit_that_is_base(metric: MetricWrapperBase) -> None:
    assert metric._name.startswith("reelsort_")
    assert not metric._name.endswith(("_ms", "_millis", "_minutes"))
    assert isinstance(metric, Counter | Gauge | Histogram)


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric._name)
def test_no_label_grows_with_the_data(metric: MetricWrapperBase) -> None:
    assert not UNBOUNDED & set(metric._labelnames)
