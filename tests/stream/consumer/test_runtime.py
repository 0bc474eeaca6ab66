"""What the consumer runtime promises, on a real broker, under both group protocols."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
from confluent_kafka import TopicPartition as KafkaPartition

from schemas.errors import UserError
from stream.consumer.policy import StartPolicy
from stream.telemetry import metrics
from tests.stream.consumer.harness import Group, Hand, Member, Protocol, eventually

pytestmark = pytest.mark.stack


@pytest.fixture(params=["consumer", "classic"])
def protocol(request: pytest.FixtureRequest) -> Protocol:
    chosen: Protocol = request.param
    return chosen


@pytest.fixture
def group(kafka: str, protocol: Protocol) -> Group:
    return Group(kafka, protocol)


def test_everything_is_delivered_once_and_committed(group: Group) -> None:
    sent = group.publish(500)
    with group.member() as member:
        eventually(lambda: len(member.job.seen) >= 500, "all records arrive")
        eventually(lambda: group.all_committed(500), "all offsets are committed while running")
        sent |= group.publish(100, "later")
        eventually(lambda: len(member.job.seen) >= 600, "later records arrive")
    assert member.job.values() == sent
    assert len(member.job.seen) == 600
    assert group.all_committed(600)


def test_offsets_never_pass_a_record_that_is_not_done(group: Group) -> None:
    group.publish(100)
    job = Hand(finish=lambda record: record.offset != 20)
    job.finish_on_drain = False
    with group.member(job):
        eventually(lambda: len(job.seen) == 100, "all records arrive")
        eventually(lambda: group.committed() == [20, 20], "the prefix before the gap is committed")
    assert group.committed() == [20, 20]
    with group.member() as successor:
        eventually(lambda: len(successor.job.seen) == 60, "the suffix comes again")
    assert min(record.offset for record in successor.job.seen) == 20


def test_a_full_job_pauses_reading_and_resumes(group: Group) -> None:
    sent = group.publish(200)
    job = Hand(finish=lambda record: False)
    with group.member(job, max_in_flight=8) as member:
        for _ in range(200):
            if len(job.seen) == 200:
                break
            eventually(lambda: len(job.held) >= 4, "reading goes on below the low-water mark")
            job.complete_all()
        eventually(lambda: len(job.seen) == 200, "all records arrive")
        assert member.joined()
    assert job.values() == sent
    assert len(job.seen) == 200
    assert job.most_held <= 8


def test_a_job_slower_than_the_poll_interval_is_not_evicted(kafka: str, protocol: Protocol) -> None:
    group = Group(kafka, protocol, partitions=1, max_poll_interval_ms=3000)
    group.publish(10)
    job = Hand(finish=lambda record: False)
    with group.member(job, max_in_flight=4):
        eventually(lambda: len(job.held) == 4, "the job is full")
        first = list(job.held.values())
        threading.Event().wait(5)  # the fault itself: longer than the poll interval, with nothing done
        assert job.abandoned == []
        job.finish = lambda record: True
        job.complete(first)
        eventually(lambda: group.all_committed(10), "everything is committed under the same assignment")
    assert len(job.seen) == 10
    assert {record.epoch for record in job.seen} == {1}


def test_a_declared_back_off_holds_reading_and_counts_as_alive(group: Group) -> None:
    group.publish(6)
    with group.member() as member:
        eventually(lambda: len(member.job.seen) == 6, "every partition is read")
        member.job.progress.back_off(3600, "the database is away")
        eventually(lambda: metrics.PAUSED.labels("back_off")._value.get() == 1, "reading is paused")
        group.publish(5)
        assert len(member.job.seen) == 6
        assert not member.health.stalled()
        member.job.progress.back_off(0, "it is back")
        eventually(lambda: len(member.job.seen) == 11, "reading goes on")
        eventually(lambda: metrics.PAUSED.labels("back_off")._value.get() == 0, "and is not paused any more")


def lag(group: Group) -> list[float]:
    return [metrics.LAG_MESSAGES.labels(group.topic, str(n))._value.get() for n in range(group.partitions)]


def test_lag_counts_what_is_not_durable_and_ages(group: Group) -> None:
    group.publish(20)
    job = Hand(finish=lambda record: False)
    with group.member(job):
        eventually(lambda: len(job.seen) == 20, "read")
        eventually(lambda: lag(group) == [10, 10], "nothing is durable yet")
        eventually(lambda: metrics.LAG_SECONDS.labels(group.topic, "0")._value.get() > 0, "the oldest ages")
        job.complete_all()
        eventually(lambda: lag(group) == [0, 0], "all is durable")
        assert metrics.LAG_SECONDS.labels(group.topic, "0")._value.get() == 0


def test_members_that_join_and_leave_lose_nothing(kafka: str, protocol: Protocol) -> None:
    group = Group(kafka, protocol, partitions=4)
    sent = group.publish(400, "a")
    with group.member() as first:
        eventually(lambda: len(first.job.seen) == 400, "the first member reads all")
        first.job.finish = lambda record: False  # what is in hand at the revocation is finished by drain
        sent |= group.publish(40, "b")
        eventually(lambda: len(first.job.held) == 40, "work is in hand")
        with group.member() as second:
            eventually(lambda: first.job.drained, "the first member is asked to drain")
            eventually(second.joined, "the second member joined")
            first.job.finish = lambda record: True
            first.job.complete_all()
            sent |= group.publish(200, "c")
            eventually(lambda: first.job.values() | second.job.values() == sent, "both read")
            eventually(lambda: second.job.seen, "the second has a share")
        sent |= group.publish(200, "d")
        eventually(lambda: first.job.values() | second.job.values() == sent, "the first takes over")
    # drained work was durable and committed: nobody did it twice
    assert len(first.job.seen) + len(second.job.seen) == len(sent) == 840
    assert group.all_committed(840)


def test_work_unfinished_at_a_revocation_goes_to_the_next_owner(kafka: str, protocol: Protocol) -> None:
    group = Group(kafka, protocol, partitions=2)
    job = Hand(finish=lambda record: record.offset < 5)
    job.finish_on_drain = False
    sent = group.publish(20)
    with group.member(job):
        eventually(lambda: len(job.seen) == 20, "the first member reads all")
        stale = list(job.held.values())
        with group.member() as second:
            eventually(lambda: len(second.job.seen) >= 5, "the second member gets the unfinished suffix")
            job.progress.done(stale)  # too late: these epochs are over
            job.finish = lambda record: True
            job.complete_all()
            eventually(lambda: group.all_committed(20), "everything is committed")
    assert job.values() | second.job.values() == sent
    assert min(record.offset for record in second.job.seen) == 5


def test_a_failing_job_ends_the_loop_and_keeps_the_durable_prefix(group: Group) -> None:
    group.publish(20)
    job = Hand(finish=lambda record: record.offset < 3)
    job.finish_on_drain = False
    member = Member(group, job)
    eventually(lambda: len(job.seen) == 20, "all records arrive")
    job.progress.fail(ArithmeticError("planted"))
    member.join()
    assert isinstance(member.error, ArithmeticError)
    assert group.committed() == [3, 3]


def expire(group: Group, below: int) -> None:
    gone = [KafkaPartition(group.topic, n, below) for n in range(group.partitions)]
    for deleted in group.admin.delete_records(gone).values():
        deleted.result()


def test_expired_offsets_stop_the_job_with_what_to_do(group: Group) -> None:
    group.publish(20)
    with group.member(Hand(finish=lambda record: record.offset < 2)) as first:
        eventually(lambda: len(first.job.seen) == 20, "read")
        first.job.finish_on_drain = False
    group.publish(20)
    expire(group, below=15)
    stopped = Member(group, Hand())
    stopped.join()
    assert isinstance(stopped.error, UserError)
    assert "expired" in stopped.error.message
    assert "--from-beginning" in stopped.error.remedy
    assert "--from-now" in stopped.error.remedy
    assert group.committed() == [2, 2]
    group.configure(expired_offsets="from-beginning")  # the operator decided
    with group.member() as again:
        eventually(lambda: len(again.job.seen) == 10, "all that is left is read")
    assert {record.offset for record in again.job.seen} == set(range(15, 20))


def test_a_new_group_may_begin_now_and_never_skips_after_that(group: Group) -> None:
    group.publish(20, "old")
    now = StartPolicy(new_group="from-now")
    job = Hand(finish=lambda record: False)
    job.finish_on_drain = False
    with group.member(job, start=now) as member:
        eventually(member.joined, "joined")
        sent = group.publish(10, "new")
        eventually(lambda: len(job.seen) == 10, "records after the start arrive")
    with group.member(start=now) as again:  # nothing was committed by the first member: it must not be skipped
        eventually(lambda: len(again.job.seen) == 10, "they come again")
    assert job.values() == again.job.values() == sent


def test_a_missing_topic_is_named(group: Group) -> None:
    group.topic = "no-such-topic"
    member = Member(group, Hand())
    member.join()
    assert isinstance(member.error, UserError)
    assert "no-such-topic" in member.error.message
    assert "topics create" in member.error.remedy


def test_a_member_without_partitions_is_ready(kafka: str, protocol: Protocol) -> None:
    group = Group(kafka, protocol, partitions=1)
    with group.member() as first:
        eventually(first.joined, "the first member joined")
        with group.member() as second:
            eventually(second.joined, "the second is ready with nothing to do")


def test_a_killed_member_s_successor_gets_exactly_the_uncommitted_suffix(group: Group) -> None:
    group.publish(40)
    victim = subprocess.Popen(
        [sys.executable, "-m", "tests.stream.consumer.victim", *group.address(), "12"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert victim.stdout is not None
        assert victim.stdout.readline() == "40 read\n"
        eventually(lambda: group.committed() == [12, 12], "the durable prefix is committed")
    finally:
        victim.kill()
        victim.wait()
    with group.member() as successor:
        eventually(lambda: len(successor.job.seen) == 16, "the suffix arrives once the session of the dead is over")
    assert sorted((r.partition, r.offset) for r in successor.job.seen) == [
        (p, o) for p in (0, 1) for o in range(12, 20)
    ]
    assert group.all_committed(40)
