"""What the relay promises, between a real Postgres and a real Kafka."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from schemas.topics import REVIEW_DECISIONS, VIDEO_DEAD, VIDEO_LABELS, VIDEO_RETRY, VIDEO_REVIEW
from stream.kafka import topic_names
from stream.relay.group import shards_of
from stream.relay.outbox import Outbox, Row
from stream.relay.sender import Sender, SenderLost
from stream.settings import DatabaseSettings
from stream.telemetry import metrics
from tests.stream.relay.conftest import PATIENCE_S, Lab
from tests.support import kafka as broker
from tests.support.waiting import wait_until

pytestmark = pytest.mark.stack


def test_every_row_is_sent_once_with_its_headers_and_then_deleted(lab: Lab) -> None:
    with lab.connection.transaction():
        for n in range(300):
            lab.put(VIDEO_LABELS, f"v{n}", f"label {n}".encode(), f"event-{n}")
            if n % 3 == 0:
                lab.put(VIDEO_REVIEW, f"v{n}", f"task {n}".encode(), f"task-{n}")
    with lab.relay(batch=64):
        wait_until(lambda: lab.waiting() == 0, PATIENCE_S, what="an empty outbox")
        lab.put(VIDEO_LABELS, "late", None, "event-late")
        wait_until(lambda: lab.waiting() == 0, PATIENCE_S, what="the late row is sent too")
    expected = [(f"v{n}", f"label {n}".encode(), f"event-{n}") for n in range(300)] + [("late", None, "event-late")]
    assert sorted(lab.sent(VIDEO_LABELS), key=str) == sorted(expected, key=str)
    assert len(lab.sent(VIDEO_REVIEW)) == 100


def test_a_header_that_came_without_a_value_leaves_without_one(lab: Lab) -> None:
    lab.put(VIDEO_DEAD, "v", b"x", "event", note=None)
    with lab.relay():
        wait_until(lambda: lab.waiting() == 0, PATIENCE_S, what="an empty outbox")
    (message,) = broker.read_all(lab.settings.kafka.bootstrap, lab.topics[VIDEO_DEAD])
    assert dict(message.headers() or ()) == {"ce_id": b"event", "note": None}


def test_records_of_a_video_keep_the_order_of_their_rows(lab: Lab) -> None:
    with lab.relay(batch=16):
        for n in range(120):
            lab.put(VIDEO_LABELS, f"v{n % 4}", str(n).encode(), f"e{n}")
        wait_until(lambda: lab.waiting() == 0, PATIENCE_S, what="an empty outbox")
    for video in range(4):
        values = [int(value or b"") for key, value, _ in lab.sent(VIDEO_LABELS) if key == f"v{video}"]
        assert values == list(range(video, 120, 4))


def test_a_retry_waits_until_it_is_due_and_holds_nobody(lab: Lab) -> None:
    lab.put(VIDEO_RETRY, "v", b"again", "retry", delay_s=3600)
    lab.put(VIDEO_LABELS, "v", b"label", "label")
    with lab.relay():
        wait_until(lambda: lab.waiting(VIDEO_LABELS) == 0, PATIENCE_S, what="the label is sent")
        assert lab.waiting(VIDEO_RETRY) == 1
        lab.make_due()
        wait_until(lambda: lab.waiting() == 0, PATIENCE_S, what="the retry is sent when due")
    assert lab.sent(VIDEO_RETRY) == [("v", b"again", "retry")]


def test_a_topic_that_is_gone_holds_only_its_own_rows(lab: Lab) -> None:
    broker.delete(lab.settings.kafka.bootstrap, [lab.topics[VIDEO_DEAD]])
    for n in range(20):
        lab.put(VIDEO_DEAD, f"v{n}", b"dead", f"dead-{n}")
        lab.put(VIDEO_LABELS, f"v{n}", b"label", f"label-{n}")
    with lab.relay(shards=1):
        wait_until(lambda: lab.waiting(VIDEO_LABELS) == 0, PATIENCE_S, what="labels are sent")
        assert lab.waiting(VIDEO_DEAD) == 20, "nothing is dropped"
        assert metrics.RELAY_HELD.labels(VIDEO_DEAD)._value.get() == 1
        broker.create(lab.settings.kafka.bootstrap, [lab.topics[VIDEO_DEAD]])
        wait_until(lambda: lab.waiting() == 0, PATIENCE_S, what="the topic is tried again")
    assert len(lab.sent(VIDEO_DEAD)) == 20
    assert len(lab.sent(VIDEO_LABELS)) == 20
    assert metrics.RELAY_HELD.labels(VIDEO_DEAD)._value.get() == 0


@pytest.mark.parametrize("size", [20_000, 2_000_000], ids=["over the topic's limit", "over the client's limit"])
def test_a_record_that_is_too_large_holds_only_its_own_key(lab: Lab, size: int) -> None:
    name = lab.topics[REVIEW_DECISIONS]
    broker.delete(lab.settings.kafka.bootstrap, [name])
    broker.create(lab.settings.kafka.bootstrap, [name], config={"max.message.bytes": "10000"})
    incompressible = (
        psycopg.connect(lab.settings.database.dsn.get_secret_value())
        .execute("SELECT string_agg(sha256(n::text::bytea), '') FROM generate_series(1, %s) AS n", (size // 32,))
        .fetchone()
    )
    assert incompressible is not None
    lab.put(REVIEW_DECISIONS, "large", incompressible[0], "large")
    for n in range(20):
        lab.put(REVIEW_DECISIONS, f"v{n}", b"small", f"small-{n}")
        lab.put(VIDEO_LABELS, f"v{n}", b"label", f"label-{n}")
    with lab.relay(shards=1):
        wait_until(lambda: lab.waiting() == 1, PATIENCE_S, what="all but the large one")
    assert len(lab.sent(REVIEW_DECISIONS)) == 20
    assert len(lab.sent(VIDEO_LABELS)) == 20


def rows(count: int, first: int = 0) -> list[Row]:
    return [Row(n, VIDEO_LABELS, f"v{n}", b"label", {"ce_id": f"e{n}"}) for n in range(first, first + count)]


# closing a fenced producer says that it could not abort: that is the point
@pytest.mark.filterwarnings("ignore:Producer abort_transaction failed during close")
def test_a_zombie_s_late_records_are_never_seen(lab: Lab) -> None:
    names = topic_names(lab.settings)
    with Sender(lab.settings, f"{lab.topics[VIDEO_LABELS]}-zombie", names) as zombie:
        zombie.send(rows(3))
        with Sender(lab.settings, f"{lab.topics[VIDEO_LABELS]}-zombie", names) as successor:
            with pytest.raises(SenderLost):
                zombie.send(rows(5, first=100))
            successor.send(rows(3, first=10))
    assert sorted(ce_id for _, _, ce_id in lab.sent(VIDEO_LABELS)) == ["e0", "e1", "e10", "e11", "e12", "e2"]


@pytest.mark.filterwarnings("ignore:Producer abort_transaction failed during close")
def test_a_sender_fenced_at_its_commit_is_lost_and_ends_nothing_else(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    names, identity = topic_names(lab.settings), f"{lab.topics[VIDEO_LABELS]}-fenced"
    flush = Sender._flush

    def fence_after_flush(sender: Sender, *arguments: Any) -> None:
        flush(sender, *arguments)
        monkeypatch.undo()
        with Sender(lab.settings, identity, names):
            pass

    with Sender(lab.settings, identity, names) as sender:
        monkeypatch.setattr(Sender, "_flush", fence_after_flush)
        with pytest.raises(SenderLost):
            sender.send(rows(3))
    assert lab.sent(VIDEO_LABELS) == []


def test_shards_have_one_owner_and_pass_on_when_its_session_ends(lab: Lab) -> None:
    with Outbox.connect(lab.settings, "first") as first, Outbox.connect(lab.settings, "second") as second:
        assert first.own(shards_of(0, 4), idle_s=60)
        assert not second.own(shards_of(0, 4), idle_s=60)
        assert not second.own(shards_of(0, 8), idle_s=60), "another cut of the shards is kept out too"
        assert second.own(shards_of(1, 4), idle_s=60)
        first.close()
        wait_until(lambda: second.own(shards_of(0, 4), idle_s=60), PATIENCE_S, what="the shards are free")


def test_an_owner_that_froze_loses_its_shards(lab: Lab) -> None:
    with Outbox.connect(lab.settings, "frozen") as frozen, Outbox.connect(lab.settings, "standby") as standby:
        assert frozen.own(shards_of(0, 4), idle_s=0.5)
        wait_until(lambda: standby.own(shards_of(0, 4), idle_s=60), PATIENCE_S, what="the standby takes over")
        with pytest.raises(psycopg.OperationalError):
            frozen.still_ours()


def test_two_relays_send_each_row_once_and_the_second_takes_over(lab: Lab) -> None:
    with lab.relay(shards=2) as standby_later:
        wait_until(lambda: not standby_later.not_ready(), PATIENCE_S, what="the first is ready")
        with lab.relay(shards=2) as standby:
            wait_until(lambda: not standby.not_ready(), PATIENCE_S, what="a standby is ready")
            for n in range(50):
                lab.put(VIDEO_LABELS, f"v{n}", b"label", f"e{n}")
            wait_until(lambda: lab.waiting() == 0, PATIENCE_S, what="the first relay sends")
            _end_sessions(lab, "relay-%")  # the first loses its ownership; either may take it up again
            for n in range(50, 100):
                lab.put(VIDEO_LABELS, f"v{n}", b"label", f"e{n}")
            wait_until(lambda: lab.waiting() == 0, PATIENCE_S, what="an owner is found again")
    sent = [ce_id for _, _, ce_id in lab.sent(VIDEO_LABELS)]
    assert sorted(sent) == sorted(f"e{n}" for n in range(100))


def _end_sessions(lab: Lab, name: str) -> None:
    lab.connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name LIKE %s",
        (f"reelsort-{name}",),
    )


def test_without_postgres_the_relay_backs_off_and_says_so(lab: Lab) -> None:
    away = lab.settings.model_copy(update={"database": DatabaseSettings(dsn="postgresql://127.0.0.1:1/none")})
    nowhere = Lab(away, lab.topics, lab.connection)
    with nowhere.relay(shards=1) as health:
        wait_until(lambda: "refused" in health.not_ready().get("relay-0", ""), PATIENCE_S, what="not ready, and why")
        assert not health.stalled()
