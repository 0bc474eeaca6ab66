"""The rescore job on a real Kafka and a real Postgres, over a stub: what it promises of profiles and snapshots."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta

import orjson
import psycopg
import pytest
from confluent_kafka.admin import AdminClient
from prometheus_client import REGISTRY
from psycopg import sql

from schemas.events import AuthorProfile, EngagementSnapshot
from schemas.topics import AUTHOR_PROFILES, ENGAGEMENT_SNAPSHOTS, VIDEO_DEAD, VIDEO_LABELS
from stream.classify.stub import LEVEL1
from stream.kafka import group_id
from stream.rescore.job import NAME, SUBSCRIBED
from stream.settings import Settings
from tests.integration.service import START, Service, video
from tests.support.expected import IN_FORCE, Published, final, published
from tests.support.kafka import read_all
from tests.support.waiting import wait_until

pytestmark = pytest.mark.stack

VIDEOS = [video(number) for number in range(60)]
PROFILES = [
    AuthorProfile(
        author_id=f"a{author}",
        seq=seq,
        main_vertical=LEVEL1[(author + seq) % 4],
        verified=True,
        updated_at=START - timedelta(hours=seq),
    )
    for author in range(7)
    for seq in (1, 2)
]


def snapshot(number: int, plays: int = 5000) -> EngagementSnapshot:
    return EngagementSnapshot(
        video_id=f"v{number:05d}",
        seq=plays,
        plays=plays,
        completion_rate=0.9,
        audience={LEVEL1[number % 4]: 1.0},
        window_end=START,
    )


@pytest.fixture
def service(settings: Settings, topics: dict[str, str]) -> Iterator[Service]:
    field = Service(settings)
    yield field
    field.connection.close()


@pytest.fixture
def labelled(service: Service) -> Service:
    """All VIDEOS decided by their content."""
    service.send(*VIDEOS)
    with service.running():
        service.wait_for(len(VIDEOS), "decisions")
    return service


def await_rest(service: Service) -> None:
    """Until the offsets of all profiles and snapshots are committed."""
    for topic in SUBSCRIBED:
        wait_until(lambda topic=topic: service.held_back(topic, NAME) == 0, what=f"the end of {topic}")


def in_force(service: Service) -> dict[str, Published]:
    return {video_id: Published(*rest) for video_id, *rest in service.rows(IN_FORCE)}


def expected(snapshots: list[EngagementSnapshot], profiles: list[AuthorProfile]) -> dict[str, Published]:
    return {
        each.video_id: published(
            final(
                each,
                [profile for profile in profiles if profile.author_id == each.author_id],
                [known for known in snapshots if known.video_id == each.video_id],
            )
        )
        for each in VIDEOS
    }


def test_profiles_and_snapshots_move_labels_and_each_move_is_announced_once(labelled: Service) -> None:
    before = in_force(labelled)
    snapshots = [snapshot(number) for number in range(0, 60, 2)]
    with labelled.rescoring(), labelled.relaying():
        labelled.send(*snapshots, *PROFILES, *snapshots)
        await_rest(labelled)
        wait_until(lambda: labelled.count("outbox") == 0, what="an empty outbox")
    after = in_force(labelled)
    assert after == expected(snapshots, PROFILES)
    assert sum(after[video_id] != before[video_id] for video_id in after) > 10
    announced: dict[str, set[tuple[int, bytes | str | None]]] = {}
    for message in read_all(labelled.settings.kafka.bootstrap, labelled.settings.kafka.topics[VIDEO_LABELS]):
        label = orjson.loads(message.value() or b"")
        announced.setdefault(label["video_id"], set()).add(
            (label["label_revision"], dict(message.headers() or ())["ce_id"])
        )
    for video_id, newest in labelled.rows("SELECT video_id, label_revision FROM current_labels"):
        assert sorted(revision for revision, _ in announced[video_id]) == list(range(1, newest + 1))


def test_evidence_that_comes_before_its_video_waits_for_it(service: Service) -> None:
    snapshots = [snapshot(number) for number in range(60)]
    with service.rescoring():
        service.send(*PROFILES, *snapshots)
        await_rest(service)
    service.send(*VIDEOS)
    with service.running():
        service.wait_for(len(VIDEOS), "decisions")
    assert in_force(service) == expected(snapshots, PROFILES)
    assert set(service.rows("SELECT label_revision FROM current_labels")) == {(1,)}


def test_a_value_that_is_no_event_is_one_dead_letter_and_the_job_goes_on(labelled: Service) -> None:
    good, profile = orjson.loads(snapshot(1).model_dump_json()), orjson.loads(PROFILES[0].model_dump_json())
    bad_snapshots = {
        b"text": (b"\xff not json", "not_json"),
        b"huge": (orjson.dumps(good | {"video_id": "huge", "plays": 2**63}), "bad_value"),
        b"bare": (orjson.dumps({"video_id": "bare"}), "missing_field"),
        b"other": (orjson.dumps(good), "key_mismatch"),
    }
    bad_profiles = {
        b"nul": (orjson.dumps(profile | {"author_id": "nul", "certification": "a\x00b"}), "bad_value"),
        b"list": (b"[]", "bad_value"),
    }
    labelled.send_raw([(key, value) for key, (value, _) in bad_snapshots.items()], ENGAGEMENT_SNAPSHOTS)
    labelled.send_raw([(key, value) for key, (value, _) in bad_profiles.items()], AUTHOR_PROFILES)
    snapshots = [snapshot(number) for number in range(60)]
    labelled.send(*PROFILES, *snapshots)
    with labelled.rescoring():
        await_rest(labelled)
    again = labelled.settings.kafka.model_copy(update={"group_prefix": f"{labelled.settings.kafka.group_prefix}-again"})
    labelled.settings = labelled.settings.model_copy(update={"kafka": again})
    with labelled.rescoring():  # a rewound group reads all of it once more
        await_rest(labelled)
    codes = {key: code for key, (_, code) in (bad_snapshots | bad_profiles).items()}
    letters = labelled.rows("SELECT key, code FROM dead_letters")
    assert len(letters) == len(codes)
    assert {bytes(key): code for key, code in letters} == codes
    assert sorted(key.encode() for key, _, _ in labelled.outbox(VIDEO_DEAD)) == sorted(codes)
    assert in_force(labelled) == expected(snapshots, PROFILES)


def test_a_tombstone_is_passed_over_and_takes_nothing_away(labelled: Service) -> None:
    snapshots = [snapshot(number) for number in range(60)]
    with labelled.rescoring():
        labelled.send(*PROFILES, *snapshots)
        await_rest(labelled)
        kept = in_force(labelled)
        labelled.send_raw([(f"a{author}".encode(), None) for author in range(7)], AUTHOR_PROFILES)
        labelled.send_raw([(each.video_id.encode(), None) for each in VIDEOS], ENGAGEMENT_SNAPSHOTS)
        labelled.send(snapshot(0, plays=5001))  # behind its tombstone, like what is read after it
        await_rest(labelled)
    assert labelled.count("dead_letters") == 0
    assert labelled.count("author_profiles") == len(PROFILES)
    assert in_force(labelled) == kept == expected(snapshots, PROFILES)


def test_while_postgres_is_away_the_job_backs_off_and_nothing_dies(labelled: Service) -> None:
    snapshots = [snapshot(number) for number in range(60)]
    with labelled.rescoring():
        labelled.send(snapshot(0, plays=1))
        await_rest(labelled)
        try:
            shut(labelled, True)
            labelled.send(*PROFILES, *snapshots)
            wait_until(
                lambda: REGISTRY.get_sample_value("reelsort_consumer_paused", {"why": "back_off"}) == 1,
                what="a declared pause",
            )
            assert labelled.held_back(ENGAGEMENT_SNAPSHOTS, NAME) + labelled.held_back(AUTHOR_PROFILES, NAME) == 74
        finally:
            shut(labelled, False)
        await_rest(labelled)
    assert labelled.count("dead_letters") == 0
    assert in_force(labelled) == expected(snapshots, PROFILES)


def shut(service: Service, away: bool) -> None:
    """The job's database takes nobody in and ends the job's sessions, or is open again."""
    with psycopg.connect(service.settings.database.dsn.get_secret_value(), autocommit=True, dbname="postgres") as other:
        name = service.connection.info.dbname
        allowed = sql.SQL("false" if away else "true")
        other.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(sql.Identifier(name), allowed))
        if away:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = %s AND application_name LIKE 'reelsort-%%'",
                [name],
            )


def test_a_stop_finishes_what_is_in_hand_and_commits_it(service: Service) -> None:
    service.send(*[snapshot(number) for number in range(5000)])
    with service.rescoring(commit_batch=100):
        service.wait_for(300, "engagement_snapshots")
        begun = time.monotonic()
    assert time.monotonic() - begun < service.settings.rescore.drain_s
    stored = service.count("engagement_snapshots")
    assert service.held_back(ENGAGEMENT_SNAPSHOTS, NAME) == 5000 - stored


def test_two_members_share_the_partitions_and_end_where_one_does(labelled: Service) -> None:
    snapshots = [snapshot(number) for number in range(60)]
    admin = AdminClient({"bootstrap.servers": labelled.settings.kafka.bootstrap})
    group = group_id(labelled.settings, NAME)

    def shares() -> list[int]:
        description = admin.describe_consumer_groups([group])[group].result()
        return [len(member.assignment.topic_partitions) for member in description.members]

    with labelled.rescoring(commit_batch=5):
        with labelled.rescoring(commit_batch=5):
            wait_until(lambda: len(shares()) == 2 and min(shares()) >= 2 and sum(shares()) == 6, what="fair shares")
            labelled.send(*snapshots, *PROFILES, *snapshots)
            await_rest(labelled)
        # one that leaves while partitions move may wait for its coordinator for ever, and end this process
        wait_until(lambda: shares() == [6], what="the other one has them all")
    assert in_force(labelled) == expected(snapshots, PROFILES)
    made = labelled.rows("SELECT count(*), max(label_revision) FROM decisions GROUP BY video_id")
    assert all(count == newest for count, newest in made)


def test_lag_and_what_was_decided_again_show_as_metrics(labelled: Service) -> None:
    before = rescored()
    with labelled.rescoring():
        labelled.send(*[snapshot(number) for number in range(60)])
        await_rest(labelled)
        topic = labelled.settings.kafka.topics[ENGAGEMENT_SNAPSHOTS]
        wait_until(lambda: lags(topic) == {"0": 0.0, "1": 0.0, "2": 0.0}, what="the lag of each partition")
    again = labelled.count("decisions", "trigger = 'engagement'")
    assert rescored() - before == again > 0


def rescored() -> float:
    return sum(
        sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == "reelsort_rescored_total"
    )


def lags(topic: str) -> dict[str, float]:
    return {
        sample.labels["partition"]: sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == "reelsort_consumer_lag_messages" and sample.labels["topic"] == topic
    }
