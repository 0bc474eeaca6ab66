"""What the job does, as effects in their order. Rules are in state.py and agenda.py.

take     actions of a round, in order → one write a video → the changelog has all of them → offsets may be committed
tell     snapshots of the videos that are due → Kafka has them → these videos are clean, if nothing came meanwhile
sweep    videos that expired and are clean → erased

Two locks keep them apart: `_writing` makes reading a video and writing it back one step, `_telling` lets a rebalance
wait until nothing is in flight. So no record of ours can land after the next owner has begun to read.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import faust
from faust.types import TP, EventT, Message

from schemas.errors import UserError
from schemas.events import EngagementAction
from schemas.topics import ENGAGEMENT_ACTIONS, ENGAGEMENT_SNAPSHOTS, TopicNames
from schemas.wire import BadEvent, Headers, decode_event
from stream.settings import Settings
from stream.signals.agenda import Agenda
from stream.signals.holes import Holes
from stream.signals.state import Video, acknowledged, decode, encode, fold, message_of, snapshot_of
from stream.signals.table import Acknowledgement, VideoTable
from stream.telemetry import metrics

_log = logging.getLogger(__name__)

TELL_AT_ONCE = 1000  # snapshots in flight together
SWEEP_AT_ONCE = 500  # videos looked at between two breaths of the event loop
COMPLAIN_EVERY_S = 1.0
_MS_PER_HOUR = 3_600_000


class Worker:
    """Owns the table. All methods are coroutines of one event loop."""

    def __init__(self, settings: Settings, app: faust.App, table: VideoTable) -> None:
        names = TopicNames(settings.kafka.topics)
        self._actions = names.actual(ENGAGEMENT_ACTIONS)
        self._snapshots = names.actual(ENGAGEMENT_SNAPSHOTS)
        self._app = app
        self._table = table
        self._settings = settings.signals
        self._agenda = Agenda(settings.signals.debounce_s, settings.signals.late_s)
        self._holes = Holes(settings, self._actions)
        self._writing = asyncio.Lock()
        self._telling = asyncio.Lock()
        self._owned: frozenset[int] = frozenset()
        self._newest_ms: dict[int, int] = {}  # partition -> event time its videos have come to
        self._complained_at = 0.0
        self.read: dict[int, int] = {}  # partition -> offset after the newest action of which all is durable
        self.recoveries = 0  # what was read before the last one is not to be taken
        self.something_changed = asyncio.Event()

    @property
    def owned(self) -> frozenset[int]:
        """Partitions whose videos are in the table, complete."""
        return self._owned

    # --- partitions come and go

    async def give_up(self) -> None:
        """Nothing of ours is in flight, and nothing will be begun until recovered()."""
        async with self._telling, self._writing:
            self._owned = frozenset()
            self.read.clear()

    async def recovered(self, begin: Mapping[TP, int], ends: Mapping[TP, int]) -> None:
        """The table holds all videos of the partitions of `begin`, the offsets of the actions to be read next. Those
        that are dirty are due.

        Raises UserError where they have counted actions that the topic does not hold yet: all others would be skipped.
        """
        async with self._writing:
            dirty = []
            self._newest_ms.clear()
            for key, stored in self._table.all_stored():
                video = decode(stored)
                if video.dirty:
                    dirty.append(key)
                if video.offset >= ends.get(TP(self._actions, video.partition), video.offset + 1):
                    raise UserError(
                        f"{self._actions}[{video.partition}] was made anew: its offset {video.offset} has been counted",
                        "raise signals.generation: videos are then counted anew",
                    )
                self._passes(video)
            self._agenda.restart(dirty, time.monotonic())
            self.read = {tp.partition: offset for tp, offset in begin.items()}
            self._owned = frozenset(self.read)
            self.recoveries += 1
        self.something_changed.set()

    # --- effects

    async def take(self, events: Sequence[EventT[Any]]) -> None:
        """Count a round of actions. Those of partitions that went elsewhere are left to their owner."""
        async with self._writing:
            mine = [event for event in events if self._is_mine(event.message)]
            await self._check_holes(event.message for event in mine)
            acknowledgements = []
            counts: Counter[str] = Counter()
            now, now_ms = time.monotonic(), int(time.time() * 1000)
            for (key, partition), actions in self._by_video(event.message for event in mine).items():
                video = self._video(key)
                if video is not None and video.partition != partition:
                    self._complain("misplaced", "actions of one video lie on several partitions", partition)
                    continue
                folded = fold(video, partition, actions, now_ms)
                if folded.applied:
                    self._passes(folded.video)
                    acknowledgements.append(await self._table.write(key, encode(folded.video), partition))
                if folded.video.dirty:
                    self._agenda.changed(key, now, urgent=folded.video.crossed)
                counts.update(applied=folded.applied, repeated=folded.repeated, outdated=folded.outdated)
            await asyncio.gather(*acknowledgements)
            for event in mine:
                event.ack()
                place = event.message.partition
                self.read[place] = max(self.read.get(place, 0), event.message.offset + 1)
            for outcome, count in counts.items():
                metrics.ACTIONS.labels(outcome).inc(count)
        self.something_changed.set()

    async def tell(self) -> int:
        """Send the snapshots that are due; how many. At most TELL_AT_ONCE."""
        async with self._telling:
            told = []
            async with self._writing:
                for key in self._agenda.due(time.monotonic(), TELL_AT_ONCE) if self._owned else ():
                    video = self._video(key)
                    assert video is not None, "only what is clean expires"
                    told.append((key, video, await self._send(key, video)))
            await asyncio.gather(*(acknowledgement for _, _, acknowledgement in told))
            async with self._writing:
                now = time.monotonic()
                writes = [await self._acknowledge(key, video, now) for key, video, _ in told]
            await asyncio.gather(*writes)
            metrics.SNAPSHOTS.inc(len(told))
            return len(told)

    async def sweep(self) -> int:
        """Erase what has expired; how many. What is dirty is told first, and erased by a later sweep."""
        erased = 0
        keys = [key for key, _ in self._table.all_stored()]
        for begin in range(0, len(keys), SWEEP_AT_ONCE):
            async with self._telling, self._writing:
                writes = []
                for key in keys[begin : begin + SWEEP_AT_ONCE]:
                    video = self._video(key)
                    if video is None or video.partition not in self._owned or not self._is_expired(video):
                        continue
                    if video.dirty:
                        self._agenda.changed(key, time.monotonic(), urgent=True)
                    else:
                        writes.append(await self._table.erase(key, video.partition))
                await asyncio.gather(*writes)
                erased += len(writes)
            await asyncio.sleep(0)
        metrics.SIGNALS_EXPIRED.inc(erased)
        return erased

    def measure(self) -> None:
        metrics.SIGNALS_VIDEOS.set(len(self._table))
        metrics.SIGNALS_DIRTY.set(len(self._agenda))

    # --- parts of them

    def _video(self, key: bytes) -> Video | None:
        stored = self._table.stored(key)
        return None if stored is None else decode(stored)

    def _is_mine(self, message: Message) -> bool:
        """An older generation's records are read again by whoever owns the partition now."""
        return message.partition in self._owned and message.generation_id == self._app.consumer_generation_id

    async def _check_holes(self, messages: Iterable[Message]) -> None:
        expected = dict(self.read)
        for message in messages:
            wanted = expected.get(message.partition)
            if wanted is not None and message.offset > wanted:
                await asyncio.to_thread(self._holes.check, message.partition, wanted, message.offset)
            expected[message.partition] = max(wanted or 0, message.offset + 1)

    def _by_video(self, messages: Iterable[Message]) -> dict[tuple[bytes, int], list[tuple[int, EngagementAction]]]:
        """(video_id, partition) -> its actions in the order of their offsets. What is no action is counted."""
        found: dict[tuple[bytes, int], list[tuple[int, EngagementAction]]] = {}
        for message in messages:
            try:
                action = cast(
                    EngagementAction,
                    decode_event(ENGAGEMENT_ACTIONS, message.key, message.value, cast(Headers, message.headers or ())),
                )
                if message.key != action.video_id.encode():
                    raise BadEvent("key_mismatch", "the key is not video_id")
            except BadEvent as error:
                self._complain(error.code, error.detail, message.partition, message.offset)
            else:
                found.setdefault((message.key, message.partition), []).append((message.offset, action))
        return found

    def _complain(self, code: str, detail: str, partition: int, offset: int | None = None) -> None:
        """Counted always, logged once a second: there may be millions."""
        metrics.ACTIONS.labels(code).inc()
        if time.monotonic() - self._complained_at >= COMPLAIN_EVERY_S:
            self._complained_at = time.monotonic()
            place = {"topic": self._actions, "partition": partition, "offset": offset}
            _log.warning("no action, skipped: %s (%s)", code, detail, extra=place)

    async def _send(self, key: bytes, video: Video) -> Acknowledgement:
        record = message_of(snapshot_of(video, key.decode(), self._settings.generation))
        return await self._app.producer.send(self._snapshots, record.key, record.value, None, None, [*record.headers])

    async def _acknowledge(self, key: bytes, told: Video, now: float) -> Acknowledgement:
        video = self._video(key)
        assert video is not None, "only what is clean expires"
        after = acknowledged(video, told, self._settings.generation)
        self._agenda.told(key, now, dirty=after.dirty)
        if after.crossed:
            self._agenda.changed(key, now, urgent=True)
        return await self._table.write(key, encode(after), after.partition)

    def _passes(self, video: Video) -> None:
        self._newest_ms[video.partition] = max(self._newest_ms.get(video.partition, 0), video.seen_ms)

    def _is_expired(self, video: Video) -> bool:
        """By event time: while a backlog is read, no video expires that its own next action would have kept."""
        age_ms = self._newest_ms.get(video.partition, 0) - video.seen_ms
        return age_ms >= self._settings.expire_after_h * _MS_PER_HOUR
