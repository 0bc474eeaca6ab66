"""The job on a real Kafka with five partitions: what is told is what a tally of the same actions says."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from typing import Any

import psutil
import pytest
from faust.tables.recovery import Recovery
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer
from faust.types import TP

from schemas.errors import UserError
from schemas.topics import ENGAGEMENT_ACTIONS, ENGAGEMENT_SNAPSHOTS
from stream.settings import Settings
from stream.signals.holes import Holes
from stream.signals.state import OFFSETS_PER_GENERATION, decode
from stream.signals.table import VideoTable
from stream.signals.topics import changelog_name, prepare
from stream.signals.worker import Worker
from stream.telemetry import metrics
from tests.stream.signals.conftest import PARTITIONS, PATIENCE_S, Field, Job
from tests.support import kafka as broker
from tests.support.engagement import action_of, some_actions
from tests.support.waiting import wait_until

pytestmark = pytest.mark.stack


def outcomes(outcome: str) -> float:
    return metrics.ACTIONS.labels(outcome)._value.get()


def test_final_snapshots_are_those_of_a_tally_of_the_same_actions(field: Field) -> None:
    field.publish(some_actions(1, 1500))
    with field.job():
        field.publish(some_actions(2, 1500, first=1500))
        field.await_told()
    places = {message.key(): message.partition() for message in field.read(ENGAGEMENT_ACTIONS)}
    assert len(set(places.values())) == PARTITIONS
    assert places == {message.key(): message.partition() for message in field.read(ENGAGEMENT_SNAPSHOTS)}
    for snapshot in field.snapshots():
        assert snapshot.seq < OFFSETS_PER_GENERATION, "the generation is 0"


def test_the_table_comes_back_from_the_changelog_alone(field: Field) -> None:
    field.publish(some_actions(3, 1000))
    with field.job():
        field.await_told()
    ends = broker.end_offsets(field.bootstrap, field.topic(ENGAGEMENT_ACTIONS))
    assert field.committed() == ends, "actions would be read again, and prove nothing"
    repeated = outcomes("repeated")
    with field.job():
        field.publish(some_actions(4, 500, first=1000))
        field.await_told()
    assert outcomes("repeated") == repeated


def test_an_idle_video_is_not_told_of_again(field: Field) -> None:
    field.publish(some_actions(5, 300))
    with field.job():
        field.await_told()
        wait_until(lambda: all(not decode(value).dirty for value in field.table().values()), PATIENCE_S)
    told = len(field.snapshots())
    busy = [action_of(number, "busy") for number in range(3)]
    with field.job():
        field.publish(busy)
        field.await_told()
    assert {snapshot.video_id for snapshot in field.snapshots()} >= {"busy"}
    assert len([each for each in field.snapshots() if each.video_id != "busy"]) == told


def test_what_was_dirty_at_the_end_is_told_right_after_recovery(field: Field) -> None:
    never = field.with_signals(late_s=3600.0)
    field.publish([action_of(number, f"v{number % 7}") for number in range(30)])
    with field.job(never):
        wait_until(lambda: len(field.table()) == 7, PATIENCE_S, what="everything is counted")
        assert field.told() == {}, "no threshold is crossed"
    with field.job(never):
        field.await_told()


def test_a_threshold_is_told_without_waiting_for_the_timer(field: Field) -> None:
    with field.job(field.with_signals(late_s=3600.0)):
        field.publish([action_of(number) for number in range(10)])
        field.await_told()


def test_a_higher_generation_counts_anew_and_outranks_what_was_told(field: Field) -> None:
    field.publish(some_actions(6, 400))
    with field.job():
        field.await_told()
    before = len(field.snapshots())
    raised = field.with_signals(generation=1)
    try:
        with field.job(raised):
            wait_until(lambda: len(field.snapshots()) > before, PATIENCE_S, what="videos are told of again")
            field.await_told()
        newest = {snapshot.video_id: snapshot.seq for snapshot in field.snapshots()}
        assert all(seq >= OFFSETS_PER_GENERATION for seq in newest.values())
    finally:
        broker.delete(field.bootstrap, [changelog_name(raised)])


def test_poison_is_counted_and_named_and_its_neighbours_do_not_notice(
    field: Field, caplog: pytest.LogCaptureFixture
) -> None:
    before = {code: outcomes(code) for code in ("not_json", "tombstone", "missing_field", "key_mismatch")}
    secret = b'{"secret": "do not log me"'
    with caplog.at_level(logging.WARNING), field.job():
        field.publish_raw(
            [(b"v0", secret), (b"v0", None), (b"v0", b"{}"), (b"v1", action_of(1, "v0").model_dump_json().encode())]
        )
        field.publish([action_of(number, f"v{number % 5}") for number in range(100)])
        field.publish_raw([(None, secret)] * 200)
        field.await_told()
        wait_until(lambda: outcomes("not_json") - before["not_json"] == 201, PATIENCE_S)
    assert {code: outcomes(code) - count for code, count in before.items() if code != "not_json"} == {
        "tombstone": 1,
        "missing_field": 1,
        "key_mismatch": 1,
    }
    named = [record for record in caplog.records if "no action" in record.getMessage()]
    assert 1 <= len(named) <= 30
    assert "do not log me" not in caplog.text


def test_a_video_without_actions_expires_after_its_last_snapshot(field: Field) -> None:
    """By event time: an hour passes when the newest action of the partition says so."""
    partitions = {message.key(): message.partition() for message in _placed(field)}
    by_partition = {partition: key.decode() for key, partition in partitions.items() if key is not None}
    field.publish([action_of(number, "old") for number in range(3)])
    with field.job(field.with_signals(expire_after_h=1.0)):
        wait_until(lambda: b"old" in field.table(), PATIENCE_S)
        home = next(m.partition() for m in field.read(ENGAGEMENT_ACTIONS) if m.key() == b"old")
        elsewhere = next(number for number in by_partition if number != home)
        field.publish([action_of(4000, by_partition[elsewhere])])
        field.publish([action_of(3599, by_partition[home])])
        field.await_told()
        assert b"old" in field.table()
        field.publish([action_of(3602, by_partition[home])])
        wait_until(lambda: b"old" not in field.table(), PATIENCE_S, what="the video expires")
        assert by_partition[home].encode() in field.table()
        field.await_told()
        field.publish([action_of(9000, "old")])
        wait_until(lambda: b"old" in field.table(), PATIENCE_S, what="it is counted anew")


def _placed(field: Field) -> list[broker.Message]:
    """A video in every partition."""
    field.publish([action_of(0, f"p{number}") for number in range(40)])
    return field.read(ENGAGEMENT_ACTIONS)


def test_an_action_in_flight_at_a_crash_is_not_lost(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    """faust-streaming#606: offsets acknowledged behind a gap carry the commit past it."""
    held, crash = threading.Event(), threading.Event()
    write = VideoTable.write

    async def slow(self: VideoTable, key: bytes, value: bytes, partition: int) -> object:
        if key != b"slow" or crash.is_set():
            return await write(self, key, value, partition)
        held.set()
        await asyncio.to_thread(crash.wait, PATIENCE_S)
        raise OSError("the power is gone")

    monkeypatch.setattr(VideoTable, "write", slow)
    with field.job(field.with_signals(batch=1), fails="the power is gone") as running:
        field.publish([action_of(number, f"v{number % 20}") for number in range(100)])
        field.await_told()
        wait_until(lambda: sum(field.committed().values()) == 100, PATIENCE_S, what="all is committed")
        field.publish([action_of(200, "slow")])
        assert held.wait(PATIENCE_S)
        field.publish([action_of(number, f"v{number % 20}") for number in range(300, 400)])
        reached = broker.end_offsets(field.bootstrap, field.topic(ENGAGEMENT_ACTIONS))
        place = next(m for m in field.read(ENGAGEMENT_ACTIONS) if m.key() == b"slow")
        assert place.offset() < reached[place.partition()] - 1, "actions wait behind it"
        crash.set()
        running.join()
    assert field.committed()[place.partition()] <= place.offset()
    with field.job():
        field.await_told()


def test_actions_are_read_after_a_recovery_though_no_offset_was_ever_committed(
    field: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that was killed before its first commit: Faust reads actions beside the changelog, throws them away, and
    goes back to committed offsets alone."""

    async def uncommitted(*_: object, **__: object) -> bool:
        return True

    field.publish(some_actions(14, 600))
    with monkeypatch.context() as patch:
        patch.setattr(Consumer, "_commit", uncommitted)
        with field.job(field.with_signals(late_s=3600.0)):
            wait_until(lambda: len(field.table()) > 0, PATIENCE_S, what="something is counted")
    assert field.committed() == {}
    ends = broker.end_offsets(field.bootstrap, field.topic(ENGAGEMENT_ACTIONS))
    with field.job():
        field.await_told()
        wait_until(lambda: field.committed() == ends, PATIENCE_S, what="all of it is read and committed")


def test_two_workers_share_and_one_takes_over_from_the_killed(field: Field) -> None:
    field.publish(some_actions(7, 1000))
    with field.process() as victim, field.job() as survivor:
        wait_until(lambda: 0 < len(_assigned()) < PARTITIONS, PATIENCE_S, what="both have partitions")
        field.publish(some_actions(8, 1000, first=1000))
        victim.kill()
        field.publish(some_actions(9, 1000, first=2000))
        field.await_told()
        assert survivor.ready
        assert metrics.ASSIGNED._value.get() == PARTITIONS


def test_a_changelog_that_is_fetched_before_faust_takes_it_is_fetched_again(
    field: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fetch that outlives a rebalance may bring what the recovery has just gone back to, before it is resumed: Faust
    throws that away, and would wait for it ever after."""
    fetch, seek = AIOKafkaConsumerThread._fetch_records, AIOKafkaConsumerThread._seek_wait
    getmany, go_back = Consumer._getmany, Recovery._seek_offsets
    sought, fetched = threading.Event(), threading.Event()
    in_vain: list[TP] = []

    async def outlive(self: AIOKafkaConsumerThread, consumer: Any, tps: set[TP], timeout: float, **limit: Any) -> Any:
        records = await fetch(self, consumer, tps, PATIENCE_S, **limit)
        if self.consumer.flow_active or sought.is_set():
            return records
        await asyncio.to_thread(sought.wait, PATIENCE_S)
        return await consumer._fetcher.fetched_records(tps, PATIENCE_S, **limit)

    async def tell_sought(self: AIOKafkaConsumerThread, consumer: Any, places: dict[TP, int]) -> None:
        if any(map(self.consumer._is_changelog_tp, places)):
            sought.set()
        await seek(self, consumer, places)

    async def tell_fetched(self: Consumer, active_partitions: set[TP], timeout: float) -> Any:
        records = await getmany(self, active_partitions, timeout)
        if sought.is_set() and not fetched.is_set():
            in_vain.extend(tp for tp in records if self._is_changelog_tp(tp) and not self.flow_active)
            fetched.set()
        return records

    async def wait(self: Recovery, consumer: Consumer, tps: set[TP], offsets: Any, title: str) -> None:
        await go_back(self, consumer, tps, offsets, title)
        await asyncio.to_thread(fetched.wait, PATIENCE_S)

    field.publish(some_actions(20, 1000))
    with field.job():
        field.await_told()
        monkeypatch.setattr(AIOKafkaConsumerThread, "_fetch_records", outlive)
        monkeypatch.setattr(AIOKafkaConsumerThread, "_seek_wait", tell_sought)
        monkeypatch.setattr(Consumer, "_getmany", tell_fetched)
        monkeypatch.setattr(Recovery, "_seek_offsets", wait)
        with field.process():
            wait_until(lambda: 0 < len(_assigned()) < PARTITIONS, PATIENCE_S, what="both have partitions")
            assert in_vain
            field.publish(some_actions(21, 500, first=1000))
            field.await_told()


def test_a_recovery_that_a_rebalance_overtakes_owns_nothing(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its partitions may be another worker's by the time it knows what to read: the next recovery says what is ours."""
    highwaters, give_up, recovered = Consumer.highwaters, Worker.give_up, Worker.recovered
    asked, revoked = threading.Event(), threading.Event()
    owned: list[int] = []

    async def overtaken(self: Consumer, *tps: TP) -> Any:
        ends = await highwaters(self, *tps)
        if not asked.is_set() and not any(map(self._is_changelog_tp, tps)):
            asked.set()
            await asyncio.to_thread(revoked.wait, PATIENCE_S)
        return ends

    async def tell(self: Worker) -> None:
        await give_up(self)
        if asked.is_set():
            revoked.set()

    async def note(self: Worker, begin: Any, ends: Any) -> None:
        owned.append(len(begin))
        await recovered(self, begin, ends)

    monkeypatch.setattr(Consumer, "highwaters", overtaken)
    monkeypatch.setattr(Worker, "give_up", tell)
    monkeypatch.setattr(Worker, "recovered", note)
    field.publish(some_actions(22, 1000))
    running = Job(field.settings)
    try:
        assert asked.wait(PATIENCE_S)
        with field.process():
            wait_until(lambda: running.ready, PATIENCE_S, what="the table is recovered")
            assert 0 < len(_assigned()) < PARTITIONS
            field.await_told()
    finally:
        running.end()
    assert running.failure is None
    assert max(owned) < PARTITIONS


def _assigned() -> range:
    return range(int(metrics.ASSIGNED._value.get()))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_in_order_and_nothing_but_the_admin_port_listens(
    field: Field, number: signal.Signals
) -> None:
    field.publish(some_actions(10, 500))
    with field.process() as process:
        field.await_told()
        listening = [c for c in psutil.Process(process.pid).net_connections() if c.status == psutil.CONN_LISTEN]
        assert len(listening) == 1
        process.send_signal(number)
        _, log = process.communicate(timeout=25)
    assert process.returncode == 0, log
    assert "signals has ended" in log
    assert all(line.startswith("{") for line in log.splitlines()), log
    assert field.committed() == broker.end_offsets(field.bootstrap, field.topic(ENGAGEMENT_ACTIONS))


def test_a_changelog_that_does_not_fit_the_actions_is_refused(field: Field) -> None:
    broker.create(field.bootstrap, [changelog_name(field.settings)], partitions=PARTITIONS + 1)
    with pytest.raises(UserError, match="torn apart"):
        prepare(field.settings)


def test_actions_made_anew_are_refused_instead_of_skipped(field: Field) -> None:
    field.publish(some_actions(11, 100))
    with field.job():
        field.await_told()
    topic = field.topic(ENGAGEMENT_ACTIONS)
    broker.delete(field.bootstrap, [topic])
    broker.create(field.bootstrap, [topic], partitions=PARTITIONS)
    with pytest.raises(UserError, match="made anew"), field.job(fails="made anew"):
        pass


def test_actions_that_expired_unread_are_an_operators_decision(field: Field) -> None:
    field.publish(some_actions(12, 100))
    with field.job():
        field.await_told()
    field.publish(some_actions(13, 100, first=100))
    topic = field.topic(ENGAGEMENT_ACTIONS)
    broker.delete_records(field.bootstrap, topic)
    with pytest.raises(UserError, match="expired unread"):
        prepare(field.settings)
    kafka = field.settings.kafka.model_copy(update={"expired_offsets": "from-beginning"})
    prepare(field.settings.model_copy(update={"kafka": kafka}))


def test_a_missing_topic_is_named(settings: Settings) -> None:
    with pytest.raises(UserError, match=r"engagement\.actions\.v1"):
        prepare(settings)


def test_records_that_faust_passes_over_end_the_job_and_holes_of_the_log_do_not(field: Field) -> None:
    field.publish([action_of(number, "v") for number in range(10)])
    topic = field.topic(ENGAGEMENT_ACTIONS)
    partition = field.read(ENGAGEMENT_ACTIONS)[0].partition()
    assert partition is not None
    with pytest.raises(UserError, match="passed over the actions 3 to 4"):
        Holes(field.settings, topic).check(partition, 3, 5)
    broker.delete_records(field.bootstrap, topic)
    field.publish([action_of(10, "v")])
    Holes(field.settings, topic).check(partition, 10, 10)


def test_a_codec_that_cannot_be_read_is_named(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiokafka.codec.cramjam", None)
    with field.job(fails="codec") as running:
        broker.produce(field.bootstrap, field.topic(ENGAGEMENT_ACTIONS), [(b"v", b"{}" * 100)] * 50, compression="lz4")
        running.join()
