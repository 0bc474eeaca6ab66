"""The workers that `reelsort bench signals` measures, each in a process of its own, over the same actions.

job    the signals job, as `reelsort serve` runs it
naive  the same rules in Faust's own manner: an event at a time, a table write and an acknowledgement for each
floor  an agent that reads, and does nothing: what Faust itself takes for an event
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import faust
from faust.streams import Stream
from faust.types import EventT, StreamT

from schemas.events import EngagementAction
from schemas.topics import ENGAGEMENT_ACTIONS, ENGAGEMENT_SNAPSHOTS, TopicNames
from schemas.wire import Headers, decode_event
from stream.bench.stream_members import Tally
from stream.settings import Settings
from stream.signals import job as signals
from stream.signals.client import new_app
from stream.signals.state import acknowledged, decode, encode, fold, message_of, snapshot_of
from stream.signals.topics import prepare
from stream.telemetry import metrics
from stream.telemetry.health import Health

LOOK_EVERY_S = 0.02
OUTCOMES = ("applied", "repeated", "outdated")


def job(tally: Tally, settings: Settings, told: str) -> None:
    with _watching(
        tally, told, lambda: sum(metrics.ACTIONS.labels(outcome)._value.get() for outcome in OUTCOMES)
    ) as stop:
        signals.run(settings, stop, Health(600.0))


def naive(tally: Tally, settings: Settings, told: str) -> None:
    """Faust's own table, which takes the partition from the event at hand, and its own acknowledgements."""
    names = TopicNames(settings.kafka.topics)
    app = new_app(settings, Path(tempfile.gettempdir()))
    table = app.Table("videos", partitions=prepare(settings), key_type=bytes, value_type=bytes)
    snapshots = app.topic(names.actual(ENGAGEMENT_SNAPSHOTS), key_serializer="raw", value_serializer="raw")
    counted = Counted()

    async def actions(stream: StreamT[bytes]) -> None:
        async for event in _events(stream):
            message = event.message
            action = decode_event(ENGAGEMENT_ACTIONS, message.key, message.value, cast(Headers, message.headers))
            key = message.key
            assert key is not None
            stored = table.get(key)
            video = None if stored is None else decode(stored)
            numbered = [(message.offset, cast(EngagementAction, action))]
            video = fold(video, message.partition, numbered, int(time.time() * 1000)).video
            if video.crossed:
                record = message_of(snapshot_of(video, key.decode(), settings.signals.generation))
                await snapshots.send(key=record.key, value=record.value, headers=[*record.headers])
                video = acknowledged(video, video, settings.signals.generation)
            table[key] = encode(video)
            counted.count += 1

    _agent(app, names, actions)
    _run(app, tally, told, counted)


def floor(tally: Tally, settings: Settings, told: str) -> None:
    app = new_app(settings, Path(tempfile.gettempdir()))
    counted = Counted()

    async def actions(stream: StreamT[bytes]) -> None:
        async for _ in stream:
            counted.count += 1

    _agent(app, TopicNames(settings.kafka.topics), actions)
    _run(app, tally, told, counted)


class Counted:
    count = 0


class _watching:
    """Tells the tally what is counted, and sets the event when all is. The clock begins when something is counted for
    the first time: then `told` holds how much that was, and the processor seconds that the others took."""

    def __init__(self, tally: Tally, told: str, count: Callable[[], float]) -> None:
        self._tally = tally
        self._told = told
        self._count = count
        self._stop = threading.Event()

    def __enter__(self) -> threading.Event:
        self._tally.is_ready()
        threading.Thread(target=self._watch, daemon=True).start()
        return self._stop

    def __exit__(self, *_: object) -> None:
        pass

    def _watch(self) -> None:
        first, seen, begun = 0, 0, time.process_time()
        while not self._tally.finished.is_set():
            count = int(self._count())
            if seen == 0:
                first, begun = count, time.process_time()
            if count > seen:
                self._tally.reads()
                self._tally.stored(count - seen)
                seen = count
            time.sleep(LOOK_EVERY_S)
        Path(self._told).write_text(f"{first} {time.process_time() - begun}", encoding="utf-8")
        self._stop.set()


def _events(stream: StreamT[bytes]) -> AsyncIterator[EventT[Any]]:
    return cast(AsyncIterator[EventT[Any]], cast(Stream[bytes], stream).events())


def _agent(app: faust.App, names: TopicNames, work: Callable[[StreamT[bytes]], Any]) -> None:
    topic = app.topic(names.actual(ENGAGEMENT_ACTIONS), key_serializer="raw", value_serializer="raw", allow_empty=True)
    app.agent(topic, name="actions", concurrency=1)(work)


def _run(app: faust.App, tally: Tally, told: str, counted: Counted) -> None:
    async def until_finished() -> None:
        with _watching(tally, told, lambda: counted.count) as stop:
            starting = asyncio.create_task(app.start())
            while not stop.is_set():
                await asyncio.sleep(LOOK_EVERY_S)
            await app.stop()
            starting.cancel()

    asyncio.run(until_finished())
