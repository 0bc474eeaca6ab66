"""Topics carry what the contract says, and may have other names on a cluster."""

from __future__ import annotations

import pytest

from schemas.errors import UserError
from schemas.topics import TOPICS, VIDEO_LABELS, VIDEO_PUBLISHED, TopicNames


def test_every_event_of_a_topic_has_its_key() -> None:
    for spec in TOPICS.values():
        assert all(event.model_fields[spec.key_field].is_required() for event in spec.events)


def test_readers_of_the_newest_word_find_compacted_topics() -> None:
    compacted = {name for name, spec in TOPICS.items() if spec.config()["cleanup.policy"] == "compact"}
    assert compacted == {"author.profiles.v1", "engagement.snapshots.v1", "video.labels.v1"}
    assert all(TOPICS[name].config()["retention.ms"] == "-1" for name in compacted)
    assert TOPICS[VIDEO_PUBLISHED].config() == {"cleanup.policy": "delete", "retention.ms": "34560000000"}


def test_names_map_both_ways() -> None:
    names = TopicNames({VIDEO_LABELS: "prod.labels"})
    assert names.actual(VIDEO_LABELS) == "prod.labels"
    assert names.standard("prod.labels") == VIDEO_LABELS
    assert names.actual(VIDEO_PUBLISHED) == VIDEO_PUBLISHED
    assert all(names.standard(names.actual(each)) == each for each in TOPICS)
    with pytest.raises(KeyError):
        names.standard(VIDEO_LABELS)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"video.lables.v1": "x"}, "video.lables.v1"),
        ({VIDEO_LABELS: "two words"}, "two words"),
        ({VIDEO_LABELS: ""}, "refuses"),
        ({VIDEO_LABELS: ".."}, "refuses"),
        ({VIDEO_LABELS: "x" * 250}, "refuses"),
        ({VIDEO_LABELS: VIDEO_PUBLISHED}, "two topics video.published.v1"),
    ],
)
def test_a_mapping_that_cannot_work_is_refused(overrides: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TopicNames(overrides)
