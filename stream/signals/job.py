"""The signals job: actions are added up by video, and what has changed enough is told. This module wires the parts."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import faust
from aiokafka.errors import IllegalStateError, KafkaError, UnsupportedCodecError
from faust.exceptions import FaustError
from faust.streams import Stream
from faust.transport.consumer import Consumer
from faust.types import TP, ChannelT, EventT, StreamT

from schemas.errors import ExitCode, UserError
from schemas.topics import ENGAGEMENT_ACTIONS, TopicNames
from stream.consumer.watchdog import end_process, guard, leave_without_goodbye
from stream.settings import Settings
from stream.signals.client import new_app
from stream.signals.recovery import RecoveryWatch
from stream.signals.table import VideoTable
from stream.signals.topics import prepare
from stream.signals.worker import TELL_AT_ONCE, Worker
from stream.telemetry import metrics
from stream.telemetry.health import Condition, Health

_log = logging.getLogger(__name__)

NAME = "signals"
TICK_S = 0.1
DRAIN_S = 10.0  # for what is in hand to become durable, and its offsets to be committed
LEAVE_S = 12.0  # for Faust's services to end after that; then nothing is left to do


def run(settings: Settings, stop: threading.Event, health: Health) -> None:
    """Until `stop` is set. Raises UserError where something it needs is missing, in the way or out of reach."""
    recovered = health.require("recovery")  # before anything is waited for: until then nobody is ready
    with tempfile.TemporaryDirectory(prefix="reelsort-signals-") as scratch:
        app = new_app(settings, Path(scratch))
        partitions = prepare(settings)
        asyncio.run(SignalsJob(settings, app, partitions, health, recovered).run(stop))


class SignalsJob:
    """One app, one agent, one worker."""

    def __init__(
        self, settings: Settings, app: faust.App, partitions: int, health: Health, recovered: Condition
    ) -> None:
        self._settings = settings
        self._app = app
        self._partitions = partitions
        self._health = health
        self._topic = TopicNames(settings.kafka.topics).actual(ENGAGEMENT_ACTIONS)
        self._failure: asyncio.Future[None]
        self._recovery = RecoveryWatch(recovered, settings.signals.recovery_alarm_s)

    async def run(self, stop: threading.Event) -> None:
        self._failure = asyncio.get_running_loop().create_future()
        self._table = VideoTable(self._app, self._partitions)
        self._app.tables.add(self._table)
        self._worker = Worker(self._settings, self._app, self._table)
        self._declare_agent()
        self._table.on_recover(self._recovered)
        self._app.on_partitions_revoked.connect(self._revoked, weak=False)
        tasks = [
            asyncio.create_task(self._guarded(work))
            for work in (self._start, self._tell_forever, self._sweep_forever, self._watch)
        ]
        try:
            while not stop.is_set() and not self._failure.done():
                await asyncio.sleep(TICK_S)
            if self._failure.done():
                self._failure.result()
        finally:
            await self._end(tasks)

    # --- what Faust calls

    def _declare_agent(self) -> None:
        """Concurrency 1, in order, and no offset is acknowledged that an earlier one does not precede: Faust may commit
        past a gap of unacknowledged ones (faust-streaming#606).

        A round is whatever has come while the last one was written, and a moment more: the more actions of one video
        it holds, the fewer writes. It is taken from the channel, as Faust's own take() is not for us: an event that
        arrives while a round is handed over was seen to be replaced by a later one.
        """
        # raw: what is no action is ours to count, where Faust would crash its agent
        topic = self._app.topic(self._topic, key_serializer="raw", value_serializer="raw", allow_empty=True)

        async def actions(stream: StreamT[bytes]) -> None:
            await self._guarded(partial(self._read, cast(ChannelT[bytes], cast(Stream[bytes], stream).channel)))
            await asyncio.Event().wait()  # a failure ends the job: an agent that returns is started again

        self._app.agent(topic, name="actions", concurrency=1)(actions)

    async def _read(self, channel: ChannelT[bytes]) -> None:
        batch, linger_s = self._settings.signals.batch, self._settings.signals.linger_s
        while True:
            events: list[EventT[Any]] = [await channel.get()]
            recovery = self._worker.recoveries
            if channel.queue.qsize() < batch - 1:
                await asyncio.sleep(linger_s)
            if recovery != self._worker.recoveries:
                continue  # read beside the changelog: it is read again
            while len(events) < batch and not channel.empty():
                events.append(channel.queue.get_nowait())
            await self._worker.take(events)

    async def _revoked(self, *_: Any, **__: Any) -> None:
        metrics.REBALANCES.labels("revoked").inc()
        self._recovery.begins()
        await self._guarded(self._worker.give_up)

    async def _recovered(self) -> None:
        await self._guarded(self._take_over)

    async def _take_over(self) -> None:
        """What is assigned is ours, unless a rebalance has overtaken its recovery: the next one says what is."""
        rebalance = self._table.rebalance

        def is_overtaken() -> bool:
            return self._app.rebalancing_count != rebalance

        if is_overtaken():
            return
        # until Faust is done; what was read by now is thrown away, and read again
        consumer = cast(Consumer, self._app.consumer)
        consumer.stop_flow()
        self._app.flow_control.clear()
        actions = [tp for tp in consumer.assignment() if tp.topic == self._topic]
        try:
            begin = await consumer.seek_to_committed() if actions else {}
            ends = await consumer.highwaters(*actions)
        except IllegalStateError:  # of a partition that is no longer assigned
            if is_overtaken():
                return
            raise
        if not is_overtaken():
            await self._worker.recovered({tp: begin[tp] for tp in actions}, ends)
            metrics.REBALANCES.labels("assigned").inc()
            metrics.ASSIGNED.set(len(self._worker.owned))
            self._recovery.ends()

    # --- loops

    async def _start(self) -> None:
        """Returns once the first recovery is done, or is cancelled."""
        await self._app.start()

    async def _tell_forever(self) -> None:
        loop = self._health.loop("snapshots")
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._worker.something_changed.wait(), TICK_S)
            self._worker.something_changed.clear()
            while await self._worker.tell() == TELL_AT_ONCE:
                loop.beat()
            loop.beat()

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(self._settings.signals.sweep_s)
            if not self._recovery.going_on:
                await self._worker.sweep()

    async def _watch(self) -> None:
        """Beats for the actions while they are read, or none are left; and looks whether Faust is well."""
        loop = self._health.loop("actions")
        lag = Lag(self._app, self._topic)
        while True:
            self._recovery.check()
            if self._app.crashed:
                raise self._app.crash_reason or RuntimeError("Faust ended without a word")
            if self._recovery.going_on or lag.is_moving(self._worker):
                loop.beat()
            self._worker.measure()
            await asyncio.sleep(TICK_S)

    # --- the end

    async def _guarded(self, work: Callable[[], Awaitable[object]]) -> None:
        """Whatever fails ends the job: Faust would restart an agent, and go on after what it was given."""
        try:
            await work()
        except Exception as error:
            if not self._failure.done():
                self._failure.set_exception(_explained(error))

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._health.end("actions")
        self._health.end("snapshots")
        failed = self._failure.done()
        if failed:
            _log.error("ending, since: %s", self._failure.exception())
        else:
            try:
                await asyncio.wait_for(self._drain(), DRAIN_S)
            except TimeoutError:
                _log.warning("what was in hand is not durable after %.0f s: it is read again", DRAIN_S)
        with guard("leaving the group", LEAVE_S, end_process if failed else leave_without_goodbye):
            await self._app.stop()

    async def _drain(self) -> None:
        """A round in hand is finished, and its offsets committed; what is dirty is told after the next start."""
        joined = bool(self._worker.owned)
        await self._worker.give_up()
        if joined:
            await self._app.consumer.commit()


class Lag:
    """Whether the actions are read, as fast as may be: a consumer that stands still with work before it is stuck."""

    def __init__(self, app: faust.App, topic: str) -> None:
        self._app = app
        self._topic = topic
        self._read: dict[int, int] = {}

    def is_moving(self, worker: Worker) -> bool:
        behind = 0
        for partition in worker.owned:
            end = self._app.consumer.highwater(TP(self._topic, partition)) or 0
            missing = max(0, end - worker.read.get(partition, end))
            metrics.LAG_MESSAGES.labels(self._topic, str(partition)).set(missing)
            behind += missing
        moved, self._read = worker.read != self._read, dict(worker.read)
        return moved or not behind


def _explained(error: BaseException) -> BaseException:
    if isinstance(error, UnsupportedCodecError):
        return UserError(
            f"actions come in a codec that cannot be read: {error}",
            "install the package cramjam, which aiokafka needs for all but gzip, or publish with gzip",
        )
    if isinstance(error, KafkaError | FaustError | OSError):
        return UserError(
            f"Kafka ended the signals job: {type(error).__name__}: {error}",
            "nothing is lost: start it again once the cluster answers",
            ExitCode.UNREACHABLE,
        )
    return error
