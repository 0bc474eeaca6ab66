"""Consumers of a benchmark, each a process of its own: they begin together and end when all records are durable."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from schemas.errors import UserError
from stream.classify.job import ClassifyJob, subscribed
from stream.classify.stub import StubAnalyzer
from stream.consumer import records as consumer
from stream.consumer.collector import collect_rarely
from stream.consumer.runtime import ConsumerRuntime
from stream.kafka import consumer_config, group_id
from stream.serve import die_with
from stream.settings import DatabaseSettings, Settings
from stream.store.session import connect
from stream.store.work import LiveModel
from stream.telemetry.health import Health

GROUP = "bench"
FILLERS = 1000  # different ones: what the job stores does not lie in the processor's cache either
READY_WITHIN_S = 60.0
LEAVE_WITHIN_S = 30.0
LOOK_EVERY_S = 0.05
WAIT_S = 3600.0  # a back-off that the start ends


@dataclass(frozen=True, slots=True)
class Tally:
    """What the members of one run share. Times are of time.monotonic(), which all processes of a machine share too."""

    expected: int
    ready: Synchronized[int]  # members that wait for the start
    durable: Synchronized[int]  # records
    begun: Synchronized[float]  # when the first record was read; 0 before
    ended: Synchronized[float]  # when the last one was durable
    start: Event
    finished: Event

    def is_ready(self) -> None:
        with self.ready.get_lock():
            self.ready.value += 1

    def reads(self) -> None:
        with self.begun.get_lock():
            self.begun.value = self.begun.value or time.monotonic()

    def stored(self, count: int) -> None:
        with self.durable.get_lock():
            self.durable.value += count
            if self.durable.value >= self.expected and not self.finished.is_set():
                self.ended.value = time.monotonic()
                self.finished.set()


def seconds_of(
    work: Callable[..., None], arguments: Sequence[tuple[Any, ...]], expected: int, ready: Callable[[Tally], bool]
) -> float:
    """Run work(tally, *each) in a process for each of `arguments`, all at once; seconds from the first record to the
    last. They start when `ready` says so. Raises UserError where one of them ends, or none becomes ready."""
    context = multiprocessing.get_context("spawn")
    tally = Tally(
        expected,
        context.Value("q", 0),
        context.Value("q", 0),
        context.Value("d", 0.0),
        context.Value("d", 0.0),
        context.Event(),
        context.Event(),
    )
    members = [context.Process(target=_member, args=(os.getpid(), work, tally, *each)) for each in arguments]
    try:
        for member in members:
            member.start()
        deadline = time.monotonic() + READY_WITHIN_S
        while not ready(tally):
            _look_after(members)
            if time.monotonic() > deadline:
                raise UserError(f"the benchmark's consumers were not ready within {READY_WITHIN_S:.0f} s")
            time.sleep(LOOK_EVERY_S)
        tally.start.set()
        while not tally.finished.wait(LOOK_EVERY_S):
            _look_after(members)
        for member in members:
            member.join(LEAVE_WITHIN_S)
    finally:
        for member in members:
            if member.is_alive():
                member.kill()
                member.join()
    return tally.ended.value - tally.begun.value


def _look_after(members: Sequence[BaseProcess]) -> None:
    for member in members:
        if member.exitcode is not None:
            raise UserError(f"a consumer of the benchmark ended early, with code {member.exitcode}")


def _member(parent: int, work: Callable[..., None], tally: Tally, *arguments: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends its members
    die_with(parent)
    logging.getLogger().addHandler(logging.NullHandler())
    collect_rarely()  # for all: a consumer that only copies gains by it too
    work(tally, *arguments)


def floor(
    tally: Tally, settings: Settings, database: DatabaseSettings, topic: str, partitions: Sequence[int], filler: int
) -> None:
    """Consume and COPY key, value and `filler` bytes of each record, and do nothing else."""
    rests = [os.urandom(filler) for _ in range(FILLERS)]
    copy_in = "COPY bench_floor (key, value, rest) FROM STDIN (FORMAT BINARY)"
    with connect(database, "bench-floor") as connection:
        for messages in batches(tally, settings, topic, partitions, settings.classify.commit_batch):
            with connection.transaction(), connection.cursor() as cursor, cursor.copy(copy_in) as copy:
                copy.set_types(["bytea"] * 3)
                for message, rest in zip(messages, cycle(rests)):
                    copy.write_row((message.key(), message.value(), rest))


def batches(
    tally: Tally, settings: Settings, topic: str, partitions: Sequence[int], most: int
) -> Iterator[list[Message]]:
    """What a floor consumes, from the common start on. A batch counts as stored when the next one is asked for."""
    client = Consumer(consumer_config(settings, "bench-floor") | {"group.protocol": "classic"})
    tally.is_ready()
    tally.start.wait()
    client.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
    while not tally.finished.is_set():
        messages = client.consume(most, 0.2)
        if not messages:
            continue
        tally.reads()
        yield messages
        client.commit(asynchronous=True)
        tally.stored(len(messages))
    client.close()


def is_balanced(admin: AdminClient, group: str, members: int, partitions: int) -> bool:
    """Whether the group has all its members, and each its share of the partitions."""
    try:
        description = admin.describe_consumer_groups([group])[group].result()
    except KafkaException:  # it is not there before its first member
        return False
    held = [len(member.assignment.topic_partitions) for member in description.members]
    return len(held) == members and min(held) >= partitions // members // 2 and sum(held) == partitions


def job(tally: Tally, settings: Settings, model: LiveModel) -> None:
    """The classify job as `reelsort serve` runs it, over the stub."""
    stop = threading.Event()
    ConsumerRuntime(
        settings,
        group_id(settings, GROUP),
        subscribed(settings),
        Counted(ClassifyJob(settings, StubAnalyzer(), model), tally, stop),
        max_in_flight=settings.classify.max_in_flight,
        drain_s=settings.classify.drain_s,
        health=Health(600.0),
    ).run(stop)


class Counted:
    """A job that reads nothing before the start, and reports what is durable to the tally."""

    def __init__(self, inner: consumer.Job, tally: Tally, stop: threading.Event) -> None:
        self._inner = inner
        self._tally = tally
        self._stop = stop

    def start(self, progress: consumer.Progress) -> None:
        self._progress = progress
        progress.back_off(WAIT_S, "the others are not there yet")
        self._inner.start(self)
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        self._tally.start.wait()
        self._progress.back_off(0.0, "all are there")
        self._tally.finished.wait()
        self._stop.set()

    def submit(self, records: Sequence[consumer.Record]) -> None:
        self._tally.reads()
        self._inner.submit(records)

    def drain(self, partitions: Collection[consumer.TopicPartition], deadline: float) -> None:
        self._inner.drain(partitions, deadline)

    def abandon(self, partitions: Collection[consumer.TopicPartition]) -> None:
        self._inner.abandon(partitions)

    def stop(self, deadline: float) -> None:
        self._inner.stop(deadline)

    def done(self, records: Collection[consumer.Record]) -> None:
        self._progress.done(records)
        self._tally.stored(len(records))

    def back_off(self, seconds: float, reason: str) -> None:
        self._progress.back_off(seconds, reason)

    def fail(self, error: BaseException) -> None:
        self._progress.fail(error)
