"""What an orchestrator and Prometheus get from the admin port."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx
import pytest

from schemas.errors import UserError
from stream.settings import AdminSettings
from stream.telemetry import metrics
from stream.telemetry.admin import serving
from stream.telemetry.health import Health


@pytest.fixture
def health() -> Health:
    return Health(stall_s=60)


@pytest.fixture
def client(health: Health) -> Iterator[httpx.Client]:
    with (
        serving(AdminSettings(), health) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        yield client


def test_ready_is_503_with_the_reasons_until_every_condition_is_met(health: Health, client: httpx.Client) -> None:
    model = health.require("model", "loading")
    refused = client.get("/readyz")
    assert refused.status_code == 503
    assert refused.json() == {"ready": False, "faults": {"model": "loading"}}
    model.met()
    assert client.get("/readyz").json() == {"ready": True, "faults": {}}


def test_live_is_503_when_a_loop_has_stopped(client: httpx.Client, health: Health) -> None:
    loop = health.loop("poll")
    assert client.get("/livez").status_code == 200
    loop.allow(-61)
    assert client.get("/livez").status_code == 503
    assert "poll" in client.get("/livez").json()["faults"]


def test_metrics_are_in_prometheus_text(client: httpx.Client) -> None:
    metrics.RECORDS.labels("video.published.v1").inc()
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'reelsort_consumer_records_total{topic="video.published.v1"}' in answer.text


def test_another_path_is_not_found(client: httpx.Client) -> None:
    assert client.get("/admin").status_code == 404


def test_a_taken_port_is_one_clear_sentence(health: Health) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(UserError, match=f"127.0.0.1:{port} cannot be opened"),
            serving(AdminSettings(port=port), health),
        ):
            pass
