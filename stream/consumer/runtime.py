"""The poll loop every stream job runs on.

The poll thread never waits for the job, but for a moment before it pauses: it reads, hands over, settles what the job
reports done, commits the durable prefix, and keeps polling while partitions are paused.

Order of effects when partitions are taken away:

1. the job finishes what it has in hand, until one shared deadline
2. what is durable by then is committed, synchronously
3. only these partitions are fenced: their epoch ends, and completions that arrive later count for nothing
4. the job drops the rest; the next owner gets it again

Fencing before draining would throw away the record of finished work.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import orjson
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPartition

from stream import boundaries
from stream.consumer import errors
from stream.consumer.inbox import Inbox
from stream.consumer.lag import Lag
from stream.consumer.offsets import OffsetTracker
from stream.consumer.policy import STEADY, CommitPolicy, StartPolicy
from stream.consumer.records import Job, Record, TopicPartition
from stream.consumer.start import begin_now
from stream.consumer.watchdog import end_process, guard, leave_without_goodbye
from stream.kafka import connect, consumer_config, librdkafka_log, require_topics
from stream.settings import Settings
from stream.telemetry import metrics
from stream.telemetry.health import Health

_log = logging.getLogger(__name__)

READ_BATCH = 1000  # records a turn: a turn stays far below the pause and commit intervals
IDLE_POLL_S = 0.1  # how long a turn waits for a record, and so how late a stop is seen
PAUSED_TURN_S = 0.1  # how often callbacks are served while paused
# librdkafka throws prefetched records away at a pause, so a job that is full for a moment is waited for
PAUSE_GRACE_S = 0.5
LOW_WATER = 0.5  # of max_in_flight: reading resumes below it
REVOKE_SHARE = 0.2  # of max.poll.interval: the time given to finish work at a revocation
DRAIN_SHARE = 0.8  # of max.poll.interval: a longer drain at the end would cost the membership, and so the commit
CLOSE_S = 10.0  # neither the last commit nor leaving the group, milliseconds as a rule, may hang for longer
COMMIT_GUARD_S = 30.0
COMMIT_ANSWER_S = 10.0  # a commit in flight when its coordinator dies may never be answered
REPORT_S = 1.0
ANSWERING_MS = 2000


class ConsumerRuntime:
    """Runs one job on one consumer. `run` belongs to one thread, the poll thread; nothing else here is public."""

    def __init__(
        self,
        settings: Settings,
        group: str,
        topics: Sequence[str],
        job: Job,
        *,
        max_in_flight: int,
        drain_s: float,
        health: Health,
        start: StartPolicy = StartPolicy(),  # noqa: B008 - frozen
        commit: CommitPolicy = STEADY,
    ) -> None:
        self._settings = settings
        self._group = group
        self._topics = list(topics)
        self._job = job
        self._max_in_flight = max_in_flight
        self._drain_s = drain_s
        self._start = start
        self._commit_policy = commit
        self._max_poll_s = settings.kafka.max_poll_interval_ms / 1000
        self._incremental = settings.kafka.group_protocol == "consumer"

        self._inbox = Inbox()
        self._tracker = OffsetTracker()
        self._lag = Lag()
        self._health = health
        self._loop = health.loop("poll")
        self._joined = health.require("kafka group", "not joined yet")

        self._paused: str | None = None  # why
        self._closing = False
        self._commit_outstanding = False
        self._sent: dict[TopicPartition, int] = {}  # offsets in commits that were not refused
        self._acknowledged: dict[TopicPartition, int] = {}
        self._settled_since_commit = 0
        self._last_commit = time.monotonic()
        self._last_report = 0.0
        self._consumer: Consumer

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set or something fails. Drains, commits and leaves the group before it returns.

        Raises UserError (topics missing, Kafka out of reach, offsets expired), KafkaException (fatal), or what the job
        failed with.
        """
        require_topics(self._settings, self._topics)
        if self._start.new_group == "from-now":
            begin_now(self._settings, self._group, self._topics)
        config = consumer_config(self._settings, self._group)
        if (expired := self._settings.kafka.expired_offsets) is not None:
            config["auto.offset.reset"] = "earliest" if expired == "from-beginning" else "latest"
        callbacks = {"on_commit": self._on_commit, "error_cb": self._on_client_error, "stats_cb": self._on_stats}
        self._consumer = connect(Consumer, config | callbacks | {"statistics.interval.ms": 1000})
        self._job.start(self._inbox)  # one that does not start is not to be stopped either
        failed = True
        try:
            self._consumer.subscribe(
                self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            while not stop.is_set():
                self._turn()
            failed = False
        finally:
            self._close(0.0 if failed else min(self._drain_s, DRAIN_SHARE * self._max_poll_s), failed)
        if self._inbox.failure is not None:
            raise self._inbox.failure

    # --- one turn -------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._settle()
        if self._inbox.failure is not None:
            raise self._inbox.failure
        self._regulate()
        if records := self._read():
            self._job.submit(records)
        self._commit_when_due()
        self._report()
        self._loop.beat()

    def _settle(self) -> None:
        """Count what the job reports done."""
        for record in self._inbox.take():
            self._tracker.done(record)
            self._settled_since_commit += 1

    def _regulate(self) -> None:
        """Pause when the job is full or has declared a back-off; resume under the low-water mark."""
        backing_off = self._inbox.backing_off()
        if self._paused is not None:
            if backing_off is None and self._tracker.in_flight <= self._max_in_flight * LOW_WATER:
                self._resume()
            else:
                self._inbox.wait(PAUSED_TURN_S)
                self._settle()
            return
        if backing_off is not None:
            _log.warning("reading pauses for %.1f s: %s", backing_off.until - time.monotonic(), backing_off.reason)
            self._pause("back_off")
        elif self._tracker.in_flight >= self._max_in_flight:
            self._inbox.wait(PAUSE_GRACE_S)
            self._settle()
            if self._tracker.in_flight >= self._max_in_flight:
                self._pause("full")

    def _pause(self, why: str) -> None:
        self._consumer.pause(self._consumer.assignment())
        self._paused = why
        metrics.PAUSED.labels(why).set(1)

    def _resume(self) -> None:
        if self._paused is not None:
            self._consumer.resume(self._consumer.assignment())
            metrics.PAUSED.labels(self._paused).set(0)
            self._paused = None

    def _read(self) -> list[Record]:
        """What has arrived, taken in hand. While paused this only serves callbacks and errors."""
        room = max(1, min(READ_BATCH, self._max_in_flight - self._tracker.in_flight))
        messages = self._consumer.consume(room, 0)
        if not messages and self._paused is None:
            # consume() would wait for a full batch: wait for one record, the next turn takes those behind it
            first = self._consumer.poll(IDLE_POLL_S)
            messages = [first] if first is not None else []
        records = [record for message in messages if (record := self._take(message)) is not None]
        for topic, count in Counter(record.topic for record in records).items():
            metrics.RECORDS.labels(topic).inc(count)
        return records

    def _take(self, message: Message) -> Record | None:
        if (error := message.error()) is not None:
            errors.weigh(error, message, self._group)  # raises what ends the job
            return None
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        assert topic is not None
        assert partition is not None
        assert offset is not None
        epoch = self._tracker.epoch(topic, partition)
        if epoch is None:
            return None  # read just before a revocation inside the same call
        headers = cast("Sequence[tuple[str, bytes | None]]", message.headers() or ())  # what librdkafka reads is bytes
        timestamp_ms = message.timestamp()[1]
        record = Record(topic, partition, offset, epoch, timestamp_ms, message.key(), message.value(), headers)
        return record if self._tracker.add(record) else None

    # --- commits --------------------------------------------------------------------------------------------------

    def _commit_when_due(self) -> None:
        elapsed = time.monotonic() - self._last_commit
        if self._commit_outstanding and elapsed > COMMIT_ANSWER_S:
            _log.warning("an offset commit got no answer within %.0f s: committing again", COMMIT_ANSWER_S)
            self._commit_outstanding = False
            self._settled_since_commit += 1
            self._sent.clear()
        if self._commit_outstanding or not self._commit_policy.due(elapsed, self._settled_since_commit):
            return
        self._last_commit = time.monotonic()
        self._settled_since_commit = 0
        if offsets := self._beyond(self._sent, self._tracker.partitions):
            boundaries.reached("offset_commit")
            self._commit_outstanding = True
            self._consumer.commit(offsets=offsets, asynchronous=True)
            self._sent.update({TopicPartition(p.topic, p.partition): p.offset for p in offsets})

    def _commit_now(self, partitions: Iterable[TopicPartition], within_s: float) -> None:
        """Synchronously, at a revocation and at the end. A refusal loses nothing: the records come again.

        What was sent and is not acknowledged is sent again: it may be lost, and there is no later commit to mend it.
        """
        offsets = self._beyond(self._acknowledged, partitions)
        if not offsets:
            return
        boundaries.reached("offset_commit")
        try:
            with guard("the offset commit", within_s):
                answered = self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            self._on_commit(error.args[0], offsets)
        else:
            self._on_commit(None, answered)

    def _beyond(
        self, known: Mapping[TopicPartition, int], partitions: Iterable[TopicPartition]
    ) -> list[KafkaPartition]:
        """The durable prefixes that reach beyond what is known."""
        found = []
        for held in partitions:
            offset = self._tracker.committable(held)
            if offset is not None and offset > known.get(held, -1):
                found.append(KafkaPartition(held.topic, held.partition, offset))
        return found

    def _on_commit(self, error: KafkaError | None, partitions: Sequence[KafkaPartition]) -> None:
        self._commit_outstanding = False
        refused = [p for p in partitions if error is not None or p.error is not None]
        for partition in partitions:
            held = TopicPartition(partition.topic, partition.partition)
            if partition in refused:  # sent again with the next commit
                self._sent.pop(held, None)
                self._settled_since_commit += 1
            else:
                self._acknowledged[held] = partition.offset
        if refused:
            _log.warning("offsets were not committed, and will be again: %s", error or refused[0].error)
        metrics.COMMITS.labels("refused" if refused else "ok").inc()

    # --- partitions come and go -----------------------------------------------------------------------------------

    def _on_assign(self, consumer: Consumer, partitions: list[KafkaPartition]) -> None:
        budget = REVOKE_SHARE * self._max_poll_s
        self._loop.allow(budget)
        placed = self._place(consumer.committed(partitions, timeout=budget)) if partitions else []
        for p in placed:
            held = TopicPartition(p.topic, p.partition)
            self._tracker.assign(held)
            self._lag.start(held, p.offset)
            self._sent.pop(held, None)
            self._acknowledged.pop(held, None)
        if self._incremental:
            consumer.incremental_assign(placed)
        else:
            consumer.assign(placed)
        # a pause outlives an assignment in librdkafka: start clean, the next turn decides anew
        if placed:
            consumer.resume(placed)
        self._resume()
        self._joined.met()
        metrics.REBALANCES.labels("assigned").inc()
        metrics.ASSIGNED.set(len(self._tracker.partitions))
        _log.info("assigned: %s", _named(partitions))

    def _place(self, partitions: Sequence[KafkaPartition]) -> list[KafkaPartition]:
        """The committed offsets; the beginning where nobody has read yet. Raises KafkaException."""
        for partition in partitions:
            if partition.error is not None:
                raise KafkaException(partition.error)
        if unread := [partition for partition in partitions if partition.offset < 0]:
            _log.info("no committed offset, read whole: %s", _named(unread))
        for partition in unread:
            partition.offset = OFFSET_BEGINNING
        return list(partitions)

    def _on_revoke(self, consumer: Consumer, partitions: list[KafkaPartition]) -> None:
        budget = REVOKE_SHARE * self._max_poll_s
        deadline = time.monotonic() + budget
        ours = [TopicPartition(p.topic, p.partition) for p in partitions]
        self._loop.allow(2 * budget)
        if not self._closing:
            self._job.drain(ours, deadline)
            self._settle()
            self._commit_now(ours, min(COMMIT_GUARD_S, max(1.0, deadline - time.monotonic()) + budget))
        self._give_up(ours, "revoked")

    def _on_lost(self, consumer: Consumer, partitions: list[KafkaPartition]) -> None:
        """Somebody else owns them already: a commit would be refused, and must be."""
        self._give_up([TopicPartition(p.topic, p.partition) for p in partitions], "lost")

    def _give_up(self, partitions: Sequence[TopicPartition], why: str) -> None:
        unfinished = 0
        for held in partitions:
            unfinished += self._tracker.forget(held)
            self._lag.end(held)
        if not self._closing:
            self._job.abandon(partitions)
        metrics.ABANDONED.labels(why).inc(unfinished)
        metrics.REBALANCES.labels(why).inc()
        metrics.ASSIGNED.set(len(self._tracker.partitions))
        _log.info("%s: %s, %d records unfinished", why, _named(partitions), unfinished)

    # --- faults ---------------------------------------------------------------------------------------------------

    def _on_client_error(self, error: KafkaError) -> None:
        """Raised in a callback, an error would be lost between two calls: it is left for the next turn."""
        if error.fatal():
            self._inbox.fail(KafkaException(error))
        else:
            librdkafka_log.warning("%s [%s] %s", error.name(), self._group, error.str())

    def _on_stats(self, statistics: str) -> None:
        if has_joined(statistics):
            self._joined.met()

    # --- reports and the end --------------------------------------------------------------------------------------

    def _report(self) -> None:
        now = time.monotonic()
        if now - self._last_report < REPORT_S:
            return
        self._last_report = now
        metrics.IN_FLIGHT.set(self._tracker.in_flight)
        for held in self._tracker.partitions:
            _, end = self._consumer.get_watermark_offsets(KafkaPartition(held.topic, held.partition), cached=True)
            self._lag.report(held, end, self._tracker.oldest(held), self._tracker.committable(held))

    def _close(self, drain_s: float, failed: bool) -> None:
        """The job drains, the durable prefix is committed, the group is told. Within drain_s as a rule."""
        self._closing = True
        deadline = time.monotonic() + drain_s
        self._loop.allow(drain_s + 2 * CLOSE_S)
        try:
            self._job.stop(deadline)
        finally:
            self._settle()
            self._commit_now(self._tracker.partitions, CLOSE_S)
            # a member that leaves while partitions move may wait for its coordinator for ever (consumer protocol)
            on_stuck = end_process if failed or self._inbox.failure is not None else leave_without_goodbye
            with guard("leaving the consumer group", CLOSE_S, on_stuck=on_stuck):
                self._consumer.close()
            self._health.end("poll")
            self._joined.unmet("left the group")


def has_joined(statistics: str) -> bool:
    """Whether this member belongs to its group, from librdkafka's statistics: it may hold no partition at all.

    With the consumer protocol a member without partitions never leaves the join state "init": what tells is that its
    coordinator has been answering for a while (a refusal would have been an error).
    """
    group = orjson.loads(statistics).get("cgrp", {})
    if group.get("join_state") == "steady":
        return True
    return bool(group.get("state") == "up" and group.get("stateage", 0) >= ANSWERING_MS)


def _named(partitions: Sequence[KafkaPartition] | Sequence[TopicPartition]) -> str:
    """As topic[0,1,2], one for each topic."""
    numbers: dict[str, list[int]] = {}
    for place in partitions:
        numbers.setdefault(place.topic, []).append(place.partition)
    return " ".join(f"{topic}{sorted(numbers[topic])}" for topic in sorted(numbers)) or "no partitions"
