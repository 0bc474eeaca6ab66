"""The table of videos: bytes by video_id in memory, written through to a compacted changelog topic.

Every write names its partition: that of the actions. Faust would take it from the event at hand, which neither a batch
nor a timer has, or hash the key, which is right only where the platform's producers hash as Java does. And every write
hands back its acknowledgement, so that an action's offset is never committed before its effect is durable: what Faust
does at a commit, to flush a buffer that may still be filling, does not promise it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, cast

import faust
from faust.stores import memory
from faust.types import TP, EventT
from faust.types.tuples import RecordMetadata
from yarl import URL

from stream.signals.state import decode

NAME = "videos"
Acknowledgement = Awaitable[RecordMetadata]


class VideoStore(memory.Store[bytes, bytes]):
    """Knows the partition of every key: what belongs to partitions that went elsewhere is forgotten.

    A store that kept it would answer with it when the partition comes back, and tell of it meanwhile.
    """

    mundane_level = "debug"  # of its coming and going
    data: dict[bytes, bytes]
    _key_partition: dict[bytes, int]

    def put(self, key: bytes, value: bytes, partition: int) -> None:
        self.data[key] = value
        self._key_partition[key] = partition

    def drop(self, key: bytes) -> None:
        self.data.pop(key, None)
        self._key_partition.pop(key, None)

    def apply_changelog_batch(
        self, batch: Iterable[EventT[Any]], to_key: Callable[[Any], Any], to_value: Callable[[Any], Any]
    ) -> None:
        """The newest state wins, not the last record: a worker that was paused may have written after its successor."""
        for event in batch:
            key, value = event.message.key, event.message.value
            assert key is not None, "every write names its video"
            held = self.data.get(key)
            if value is None:
                self.drop(key)
            elif held is None or decode(held).offset <= decode(value).offset:
                self.put(key, value, event.message.partition)

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """What is newly assigned is read again from the changelog, what is not assigned is not ours."""
        topic = self.table.changelog_topic.get_topic_name()
        kept = {tp.partition for tp in assigned - newly_assigned if tp.topic == topic}
        for key in [key for key, partition in self._key_partition.items() if partition not in kept]:
            self.drop(key)


class VideoTable(faust.Table[bytes, bytes]):
    """Read with stored(), written with write() and erase() alone."""

    mundane_level = "debug"

    def __init__(self, app: faust.App, partitions: int) -> None:
        super().__init__(app, name=NAME, partitions=partitions, key_type=bytes, value_type=bytes)
        self.rebalance = 0  # Faust's number of the one that assigned what the table holds

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)
        self.rebalance = self.app.rebalancing_count

    def _new_store(self) -> VideoStore:
        return VideoStore(
            URL("memory://"), self.app, self, table_name=self.name, key_type=bytes, value_type=bytes, loop=self.loop
        )

    @property
    def _videos(self) -> VideoStore:
        return cast(VideoStore, self.data)

    def stored(self, key: bytes) -> bytes | None:
        return self._videos.data.get(key)

    def all_stored(self) -> list[tuple[bytes, bytes]]:
        """A copy: the table may change while it is gone through."""
        return list(self._videos.data.items())

    async def write(self, key: bytes, value: bytes, partition: int) -> Acknowledgement:
        """Returns the acknowledgement of the changelog. Writes to one key must not overlap."""
        self._videos.put(key, value, partition)
        return await self._log(key, value, partition)

    async def erase(self, key: bytes, partition: int) -> Acknowledgement:
        self._videos.drop(key)
        return await self._log(key, None, partition)

    async def _log(self, key: bytes, value: bytes | None, partition: int) -> Acknowledgement:
        return await self.app.producer.send(self.changelog_topic_name, key, value, partition, None, None)
