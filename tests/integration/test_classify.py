"""The classify job on a real Kafka and a real Postgres, with the stub model: what it promises of every input."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
import pytest

from schemas.events import LabelDecided, ReviewRequested
from stream.settings import Settings
from tests.integration.service import TRACEPARENT, Service, video

pytestmark = pytest.mark.stack


@pytest.fixture
def service(settings: Settings, topics: dict[str, str]) -> Iterator[Service]:
    field = Service(settings)
    yield field
    field.connection.close()


def test_every_video_is_decided_labelled_and_announced_once(service: Service) -> None:
    service.send(*[video(number) for number in range(300)])
    with service.running():
        service.wait_for(300, "decisions")
    assert service.count("predictions") == service.count("current_labels") == service.count("videos") == 300
    announced = [LabelDecided.model_validate_json(value or b"") for _, value, _ in service.outbox("video.labels.v1")]
    assert sorted(label.video_id for label in announced) == [f"v{number:05d}" for number in range(300)]
    assert {label.label_revision for label in announced} == {1}
    requested = {
        ReviewRequested.model_validate_json(value or b"").video_id for _, value, _ in service.outbox("video.review.v1")
    }
    routed = {
        video_id for (video_id,) in service.rows("SELECT video_id FROM decisions WHERE route = 'review' OR audit")
    }
    assert requested == routed != set()
    assert service.count("review_tasks", "state = 'open'") == len(routed)
    assert service.count("attempts") == 0
    assert all(headers["traceparent"] == TRACEPARENT for _, _, headers in service.outbox("video.labels.v1"))
