"""The classify job on a real Kafka and a real Postgres, with a stub model: what it promises of every input."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import orjson
import psycopg
import pytest

from schemas.events import LabelDecided, ReviewRequested, ReviewWithdrawn, VideoPublished, VideoRemoved
from schemas.topics import TopicNames
from stream import dead_letters
from stream.classify.analyse import Done, PoisonError, TransientError
from stream.classify.stub import StubAnalyzer
from stream.dead_letters import Which
from stream.kafka import group_id
from stream.settings import Settings
from tests.integration.service import TRACEPARENT, Service, video
from tests.support.waiting import wait_until

pytestmark = pytest.mark.stack

STATE = """
SELECT v.video_id, v.revision, v.removed_at IS NOT NULL, c.revision, c.label_revision, c.status, c.level1, c.level2,
       (SELECT count(*) FROM predictions p WHERE p.video_id = v.video_id),
       (SELECT count(*) FROM decisions d WHERE d.video_id = v.video_id),
       (SELECT count(*) FROM review_tasks t WHERE t.video_id = v.video_id AND t.state = 'open')
  FROM videos v LEFT JOIN current_labels c USING (video_id) ORDER BY v.video_id
"""


@pytest.fixture
def service(settings: Settings, topics: dict[str, str]) -> Iterator[Service]:
    field = Service(settings)
    yield field
    field.connection.close()


class Faulty(StubAnalyzer):
    """The stub, but for videos with an odd number: those fail this way, the first `times` times each is seen."""

    def __init__(self, error: PoisonError | TransientError, times: int = 1_000_000) -> None:
        super().__init__()
        self.error = error
        self.seen: list[str] = []
        self.times = times

    def submit(self, video: VideoPublished, done: Done, *, alone: bool = False) -> None:
        self.seen.append(video.video_id)
        if int(video.video_id[1:]) % 2 and self.seen.count(video.video_id) <= self.times:
            done(self.error)
        else:
            super().submit(video, done, alone=alone)


def test_every_video_is_decided_labelled_and_announced_once(service: Service) -> None:
    service.send(*[video(number) for number in range(300)])
    with service.running():
        service.wait_for(300, "decisions")
    assert service.count("predictions") == service.count("current_labels") == service.count("videos") == 300
    announced = [LabelDecided.model_validate_json(value or b"") for _, value, _ in service.outbox("video.labels.v1")]
    assert sorted(label.video_id for label in announced) == [f"v{number:05d}" for number in range(300)]
    assert {label.label_revision for label in announced} == {1}
    requests = [ReviewRequested.model_validate_json(value or b"") for _, value, _ in service.outbox("video.review.v1")]
    routed = {each for (each,) in service.rows("SELECT video_id FROM decisions WHERE route = 'review' OR audit")}
    assert {request.video_id for request in requests} == routed != set()
    assert service.count("review_tasks", "state = 'open'") == len(requests) == len(routed)
    assert service.count("attempts") == service.count("in_hand") == 0
    assert all(headers["traceparent"] == TRACEPARENT for _, _, headers in service.outbox("video.labels.v1"))


def test_a_label_shows_what_its_route_allows_and_an_audit_shows_nothing(service: Service) -> None:
    service.send(*[video(number) for number in range(300)])
    with service.running():
        service.wait_for(300, "decisions")
    given = service.rows("SELECT status, level1 IS NULL, level2 IS NULL, confidence IS NULL FROM current_labels")
    assert {row[0]: row[1:] for row in given} == {
        "labelled": (False, False, False),
        "labelled_level1": (False, True, False),
        "in_review": (True, True, True),
    }
    assert len(set(given)) == 3
    requests = [ReviewRequested.model_validate_json(value or b"") for _, value, _ in service.outbox("video.review.v1")]
    audits = [request for request in requests if request.reasons == ("audit_sample",)]
    assert audits
    assert all(each.level1 is None and each.level2 is None and not each.top_k for each in audits)
    assert all(request.top_k for request in requests if request not in audits)


def test_every_event_three_times_leaves_the_state_of_once(service: Service) -> None:
    events = [video(number) for number in range(60)]
    with service.running():
        service.send(*events)
        service.wait_for(60, "decisions")
        once, announced = service.rows(STATE), service.outbox("video.labels.v1")
        service.send(*events, *events, video(999))
        service.wait_for(61, "decisions")
    assert service.rows(STATE)[:60] == once
    assert [row for row in service.outbox("video.labels.v1") if row[0] != "v00999"] == announced


def test_a_rewound_group_decodes_nothing_again(service: Service) -> None:
    events = [video(number) for number in range(40)]
    service.send(*events)
    with service.running():
        service.wait_for(40, "decisions")
    second = service.settings.kafka.model_copy(update={"group_prefix": f"{service.settings.kafka.group_prefix}-again"})
    service.settings = service.settings.model_copy(update={"kafka": second})
    analyzer = Faulty(PoisonError("never", "never"), times=0)
    service.send(video(100))
    with service.running(analyzer):
        service.wait_for(41, "decisions")
    assert analyzer.seen == ["v00100"]


def test_a_stored_prediction_is_decided_on_without_decoding(service: Service) -> None:
    service.send(*[video(number) for number in range(20)])
    with service.running():
        service.wait_for(20, "decisions")
    before = service.rows("SELECT video_id, level1, level2, confidence, route FROM decisions ORDER BY video_id")
    service.rows("WITH d AS (DELETE FROM decisions RETURNING 1), c AS (DELETE FROM current_labels) SELECT 1 FROM d")
    service.rows("DELETE FROM review_tasks RETURNING 1")
    service.send(*[video(number) for number in range(20)])
    analyzer = Faulty(PoisonError("never", "never"), times=0)
    with service.running(analyzer):
        service.wait_for(20, "decisions")
    assert analyzer.seen == []
    assert before == service.rows("SELECT video_id, level1, level2, confidence, route FROM decisions ORDER BY video_id")


def test_a_new_revision_takes_the_labels_place_and_an_old_one_does_not(service: Service) -> None:
    with service.running():
        service.send(*[video(number) for number in range(40)])
        service.wait_for(40, "decisions")
        service.send(*[video(number, revision=2) for number in range(40)])
        service.wait_for(80, "decisions")
        service.send(*[video(number, revision=1) for number in range(40)])
        service.wait_for(120, "decisions")
    assert set(service.rows("SELECT revision, label_revision FROM current_labels")) == {(2, 2)}
    in_force = service.rows("SELECT revision, label_revision, count(*) FROM decisions GROUP BY 1, 2 ORDER BY 1")
    assert in_force == [(0, 1, 40), (1, None, 40), (2, 2, 40)]
    assert service.count("videos", "revision = 2") == 40
    labels = [orjson.loads(value or b"") for _, value, _ in service.outbox("video.labels.v1")]
    assert sorted({(label["revision"], label["label_revision"]) for label in labels}) == [(0, 1), (2, 2)]
    about = service.rows("SELECT DISTINCT revision FROM review_tasks WHERE state = 'open'")
    assert about == [(2,)]
    withdrawn = service.count("review_tasks", "state = 'withdrawn' AND closed_why = 'superseded'")
    messages = [value for _, value, headers in service.outbox("video.review.v1") if "withdrawn" in headers["ce_type"]]
    assert len([ReviewWithdrawn.model_validate_json(value or b"") for value in messages]) == withdrawn > 0


def test_a_removal_withdraws_the_label_and_purges_what_came_from_the_media(service: Service) -> None:
    events = [video(number) for number in range(30)]
    with service.running():
        service.send(*events)
        service.wait_for(30, "decisions")
        service.send(*[removal(event) for event in events])
        service.wait_for(30, "current_labels", "status = 'withdrawn'")
        service.send(*[removal(event) for event in events], *events, video(77))  # again: adds nothing
        service.wait_for(31, "decisions")
    kept = service.rows("SELECT DISTINCT title, payload::text, media_uri FROM videos WHERE video_id <> 'v00077'")
    assert kept == [("", "{}", "")]
    assert service.count("predictions", "video_id <> 'v00077'") == 0
    assert service.count("review_tasks", "state = 'open' AND video_id <> 'v00077'") == 0
    tombstones = [row for row in service.outbox("video.labels.v1") if row[1] is None]
    assert sorted(row[0] for row in tombstones) == [event.video_id for event in events]
    assert {row[2]["reelsort_label_revision"] for row in tombstones} == {"2"}


def test_a_removal_that_comes_first_is_remembered_and_a_later_upload_comes_back(service: Service) -> None:
    early, late = video(1), video(1, revision=1, published_at=video(1).published_at + timedelta(days=3))
    with service.running():
        service.send(removal(early))
        service.wait_for(1, "videos", "removed_at IS NOT NULL")
        service.send(early, video(2))
        service.wait_for(1, "decisions")
        assert service.rows("SELECT video_id FROM decisions") == [("v00002",)]
        service.send(late)
        service.wait_for(2, "decisions")
        service.send(removal(early), video(3))  # the old removal, again
        service.wait_for(3, "decisions")
    assert service.rows("SELECT revision, removed_at FROM videos WHERE video_id = 'v00001'") == [(1, None)]
    assert service.rows("SELECT revision, status <> 'withdrawn' FROM current_labels WHERE video_id = 'v00001'") == [
        (1, True)
    ]


def test_a_value_that_is_no_event_is_a_dead_letter_and_its_neighbours_are_labelled(service: Service) -> None:
    good = [video(number) for number in range(40)]
    body = orjson.loads(video(500).model_dump_json())
    bad = {
        "nul": orjson.dumps(body | {"title": "a\x00b"}),
        "bigint": orjson.dumps(body | {"revision": 2**63}),
        "text": b"\xff not json",
        "missing": orjson.dumps({"video_id": "v"}),
    }
    service.send(*good[:20])
    service.send_raw([(name.encode(), value, [("x", b"kept")]) for name, value in bad.items()])
    service.send(*good[20:])
    with service.running():
        service.wait_for(40, "decisions")
        service.wait_for(4, "dead_letters")
    announced = {key: (value, headers) for key, value, headers in service.outbox("video.published.dlq.v1")}
    assert {key: value for key, (value, _) in announced.items()} == bad
    codes = {key: headers["reelsort_error_code"] for key, (_, headers) in announced.items()}
    assert codes == {"nul": "bad_value", "bigint": "bad_value", "text": "not_json", "missing": "missing_field"}
    for _, headers in announced.values():
        assert headers["x"] == "kept"
        assert headers["reelsort_topic"].endswith("video.published.v1")
        assert headers["reelsort_error_detail"]
        assert int(headers["reelsort_offset"]) >= 0


def test_a_poisonous_video_is_one_dead_letter_however_often_it_comes(service: Service) -> None:
    events = [video(number) for number in range(20)]
    with service.running(Faulty(PoisonError("truncated", "moov atom not found\x00"))):
        service.send(*events, *events)
        service.wait_for(10, "dead_letters")
        service.wait_for(10, "decisions")
        service.send(*events, video(50))
        service.wait_for(11, "decisions")
    letters = service.rows("SELECT video_id, code, detail FROM dead_letters ORDER BY video_id")
    assert [letter[0] for letter in letters] == [event.video_id for event in events[1::2]]
    assert {letter[1:] for letter in letters} == {("truncated", "moov atom not found\\x00")}
    assert len(service.outbox("video.published.dlq.v1")) == 10


def test_a_row_that_postgres_refuses_is_found_in_its_batch(service: Service) -> None:
    service.connection.execute("ALTER TABLE videos ADD CHECK (title <> 'refused')")
    events = [video(number, title="refused" if number in (3, 17) else "fine") for number in range(30)]
    service.send(*events)
    with service.running(commit_linger_ms=300.0):
        service.wait_for(28, "decisions")
        service.wait_for(2, "dead_letters")
    letters = service.rows("SELECT video_id, code FROM dead_letters ORDER BY video_id")
    assert letters == [("v00003", "sqlstate_23514"), ("v00017", "sqlstate_23514")]
    assert service.count("decisions") == 28
    assert service.count("attempts") == service.count("in_hand") == 0


def test_lost_connections_cost_nothing_but_time(service: Service) -> None:
    service.send(*[video(number) for number in range(3000)])
    ended = threading.Event()
    killed = 0

    def kill_sessions() -> None:
        nonlocal killed
        with psycopg.connect(service.settings.database.dsn.get_secret_value(), autocommit=True) as connection:
            while not ended.wait(0.05):
                killed += connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state <> 'idle'"
                    " AND application_name IN ('reelsort-store', 'reelsort-intake') AND datname = current_database()"
                ).rowcount

    killer = threading.Thread(target=kill_sessions)
    with service.running(commit_batch=50):
        service.wait_for(100, "decisions")
        killer.start()
        wait_until(lambda: killed >= 5, 30, what="five connections killed")
        ended.set()
        killer.join()
        service.wait_for(3000, "decisions", timeout_s=60)
    assert service.count("dead_letters") == 0
    assert service.count("current_labels", "label_revision = 1") == 3000
    assert len(service.outbox("video.labels.v1")) == 3000


def test_a_transient_fault_is_retried_later_and_then_decided(service: Service) -> None:
    analyzer = Faulty(TransientError("fetch_timeout", "no answer"), times=2)
    with service.running(analyzer, retry_base_s=60.0):
        service.send(*[video(number) for number in range(10)])
        for tries in (2, 3):
            service.wait_for(5, "outbox", "topic = 'video.published.retry.v1'")
            waits = service.rows(
                "SELECT headers ->> 'reelsort_tries', available_at - now() FROM outbox"
                " WHERE topic = 'video.published.retry.v1'"
            )
            assert {row[0] for row in waits} == {str(tries)}
            longest = timedelta(seconds=60 * 2 ** (tries - 2))
            assert all(longest / 2 - timedelta(seconds=10) < wait <= longest for _, wait in waits)
            assert service.relay("video.published.retry.v1") == 5
        service.wait_for(10, "decisions")
    assert service.count("dead_letters") == 0
    assert service.count("current_labels", "label_revision = 1") == 10


def test_retries_end_in_one_dead_letter_that_can_be_redriven(service: Service) -> None:
    analyzer = Faulty(TransientError("fetch_timeout", "no answer"), times=2)
    names = TopicNames(service.settings.kafka.topics)
    with service.running(analyzer, max_retries=1):
        service.send(video(1), video(2))
        service.wait_for(1, "outbox", "topic = 'video.published.retry.v1'")
        service.relay("video.published.retry.v1")
        service.wait_for(1, "dead_letters")
        (letter,) = dead_letters.find(service.connection, Which(), 10)
        assert (letter.video_id, letter.code, letter.attempts) == ("v00001", "fetch_timeout", 2)
        assert ".video.published.v1[" in letter.source  # where it first stood, not where its retry did
        assert dead_letters.redrive(service.connection, Which(code="other"), names).ids == []
        assert dead_letters.redrive(service.connection, Which(code="fetch_timeout"), names).ids == [letter.id]
        assert dead_letters.redrive(service.connection, Which(), names).ids == []  # it is on its way
        assert service.relay("video.published.retry.v1") == 1
        service.wait_for(2, "decisions")
    assert dead_letters.find(service.connection, Which(), 10) == []
    assert dead_letters.open_letter(service.connection, letter.id).letter.redriven_at is not None


def test_an_input_in_hand_at_a_death_runs_alone_and_a_third_death_is_its_last(service: Service) -> None:
    service.send(*[video(number) for number in range(6)])
    places, group = service.places(), group_id(service.settings, "classify")
    for number, alone in ((1, 0), (2, 2), (3, 3)):
        topic, partition, offset = places[f"v{number:05d}"]
        left_behind = "INSERT INTO in_hand (lot, consumer_group, topic, partition, offsets) VALUES (%s, %s, %s, %s, %s)"
        service.connection.execute(left_behind, [uuid4(), group, topic, partition, [offset]])
        if alone:  # by an earlier death it was known already
            counted = "INSERT INTO attempts VALUES (%s, %s, %s, %s, %s)"
            service.connection.execute(counted, [group, topic, partition, offset, alone])

    class Watched(StubAnalyzer):
        def submit(self, video: VideoPublished, done: Done, *, alone: bool = False) -> None:
            if alone:
                counted = "SELECT alone FROM attempts WHERE (topic, partition, record_offset) = (%s, %s, %s)"
                suspects.append((video.video_id, service.rows(counted, *places[video.video_id])))
            super().submit(video, done, alone=alone)

    suspects: list[tuple[str, list[tuple[int]]]] = []
    with service.running(Watched()):
        service.wait_for(5, "decisions")
        service.wait_for(1, "dead_letters")
    assert sorted(suspects) == [("v00001", [(1,)]), ("v00002", [(3,)])]  # counted before it ran
    assert service.rows("SELECT video_id, code, attempts FROM dead_letters") == [("v00003", "killed_process", 3)]
    assert service.count("attempts") == service.count("in_hand") == 0


def test_when_all_is_poison_the_breaker_holds_and_nothing_more_is_given_up(service: Service) -> None:
    class Broken(StubAnalyzer):
        mended = False

        def submit(self, video: VideoPublished, done: Done, *, alone: bool = False) -> None:
            if self.mended:
                super().submit(video, done, alone=alone)
            else:
                done(PoisonError("no_decoder", "the library is gone"))

    analyzer = Broken()
    service.send(*[video(number) for number in range(200)])
    with service.running(analyzer, breaker_window=20, breaker_pause_s=0.5, commit_batch=10):
        service.wait_for(19, "dead_letters")  # the window's twentieth is held
        wait_until(lambda: service.held_back() == 181, what="the rest in hand")
        analyzer.mended = True
        service.wait_for(181, "decisions")
    assert service.count("dead_letters") == 19
    assert service.count("attempts") == service.count("in_hand") == 0


def test_when_nothing_can_be_read_the_breaker_holds_the_offsets(service: Service) -> None:
    service.send_raw([(b"k%d" % number, b"a new format", []) for number in range(200)])
    with service.running(breaker_window=20, breaker_pause_s=0.3, commit_batch=10):
        service.wait_for(19, "dead_letters")  # the window's twentieth is held
        wait_until(lambda: service.held_back() == 181, what="the committed prefix")
    assert service.count("dead_letters") == 19
    assert service.held_back() == 181


def test_when_everything_fails_for_a_while_nobody_loses_a_retry(service: Service) -> None:
    analyzer = Faulty(TransientError("inference", "the device is gone"))
    service.send(*[video(2 * number + 1) for number in range(60)])
    with service.running(analyzer, breaker_window=20, breaker_pause_s=0.2, commit_batch=10, max_retries=0):
        service.wait_for(40, "outbox", "topic = 'video.published.retry.v1'")
    given_up = service.count("dead_letters")
    assert given_up < 20
    tries = service.rows("SELECT DISTINCT headers ->> 'reelsort_tries' FROM outbox WHERE topic LIKE '%%.retry.v1'")
    assert tries == [("1",)]


def removal(event: VideoPublished) -> VideoRemoved:
    return VideoRemoved(video_id=event.video_id, reason="asked for", removed_at=event.published_at + timedelta(hours=1))
