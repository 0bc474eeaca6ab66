"""Which offsets may be committed: the contiguous durable prefix of each partition. Pure, single-threaded.

Records complete in any order; only a prefix without a gap is safe to commit. Offsets themselves may have holes
(compaction, transaction markers), so a prefix is counted over the records seen, never over numbers.
"""

from __future__ import annotations

from collections import deque

from stream.consumer.records import Record, TopicPartition


class PartitionOffsets:
    """One partition under one assignment. Every operation is O(1) amortised."""

    __slots__ = ("_done", "_last", "_waiting", "committable", "epoch")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.committable: int | None = None  # the offset to commit: one past the last record of the durable prefix
        self._waiting: deque[Record] = deque()  # in offset order
        self._done: set[int] = set()  # done, but behind a gap
        self._last = -1

    def add(self, record: Record) -> bool:
        """A record was read. False: it was read before under this assignment and must not be handled twice."""
        if record.offset <= self._last:
            return False
        self._last = record.offset
        self._waiting.append(record)
        return True

    def done(self, offset: int) -> bool:
        """The record's effects are durable. False: it was known to be."""
        waiting, done = self._waiting, self._done
        if not waiting or not waiting[0].offset <= offset <= self._last or offset in done:
            return False
        if offset != waiting[0].offset:
            done.add(offset)
            return True
        waiting.popleft()
        last = offset
        while waiting and waiting[0].offset in done:
            last = waiting.popleft().offset
            done.remove(last)
        self.committable = last + 1
        return True

    @property
    def in_flight(self) -> int:
        return len(self._waiting) - len(self._done)

    @property
    def oldest(self) -> Record | None:
        """The first record that holds the prefix back."""
        return self._waiting[0] if self._waiting else None


class OffsetTracker:
    """The partitions held now. A completion from an earlier assignment is ignored: its epoch is over."""

    def __init__(self) -> None:
        self._partitions: dict[tuple[str, int], PartitionOffsets] = {}
        self._epoch = 0
        self.in_flight = 0

    def assign(self, partition: TopicPartition) -> None:
        """Start a new epoch for this partition."""
        self.forget(partition)
        self._epoch += 1
        self._partitions[partition.topic, partition.partition] = PartitionOffsets(self._epoch)

    def forget(self, partition: TopicPartition) -> int:
        """End the partition's epoch; completions that arrive later count for nothing. Returns records unfinished."""
        gone = self._partitions.pop((partition.topic, partition.partition), None)
        unfinished = gone.in_flight if gone else 0
        self.in_flight -= unfinished
        return unfinished

    def epoch(self, topic: str, partition: int) -> int | None:
        """The running epoch, or None where the partition is not ours."""
        held = self._partitions.get((topic, partition))
        return held.epoch if held else None

    def add(self, record: Record) -> bool:
        """Take a record in hand. False: not ours, of another epoch, or in hand already."""
        held = self._partitions.get((record.topic, record.partition))
        if held is None or held.epoch != record.epoch or not held.add(record):
            return False
        self.in_flight += 1
        return True

    def done(self, record: Record) -> None:
        """The record's effects are durable. Stale epochs and repeats are ignored."""
        held = self._partitions.get((record.topic, record.partition))
        if held is not None and held.epoch == record.epoch and held.done(record.offset):
            self.in_flight -= 1

    def committable(self, partition: TopicPartition) -> int | None:
        """The offset that may be committed, or None where nothing is durable under this assignment yet."""
        held = self._partitions.get((partition.topic, partition.partition))
        return held.committable if held else None

    def oldest(self, partition: TopicPartition) -> Record | None:
        held = self._partitions.get((partition.topic, partition.partition))
        return held.oldest if held else None

    @property
    def partitions(self) -> list[TopicPartition]:
        return [TopicPartition(topic, partition) for topic, partition in self._partitions]
