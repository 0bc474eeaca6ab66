"""What this process has in hand: flights, and which of them are still ours. Thread-safe."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence

from schemas.events import VideoPublished
from stream.consumer.records import Record, TopicPartition
from stream.store.attempts import Lot, Place, Released, Spot
from stream.store.work import Input

NOTHING = Released()


class Flight:
    """One piece of work and every record that waits for it: duplicates of an input in hand join its flight."""

    __slots__ = ("alone", "analysing", "counted", "inputs", "key", "lot", "started")

    def __init__(self, key: Hashable, first: Input) -> None:
        self.key = key
        self.inputs = [first]
        self.started = False  # handed on: a drain waits for it
        self.analysing = False  # with the analyzer now
        self.lot: Lot | None = None  # where the database has it written down
        self.counted: Spot | None = None  # the database counts an attempt alone
        self.alone = False

    @property
    def lead(self) -> Input:
        return self.inputs[0]

    @property
    def video(self) -> VideoPublished:
        event = self.inputs[0].event
        assert isinstance(event, VideoPublished)
        return event


class Hand:
    """Flights from the record's arrival until its outcome is durable, or it is somebody else's.

    A partition that is given up ends an epoch: records of that epoch and before are dropped wherever they turn up.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._flights: dict[Hashable, Flight] = {}
        self._newest: dict[Place, int] = {}  # partition -> newest epoch seen
        self._over: dict[Place, int] = {}  # partition -> epochs up to this one are given up
        self._closing: set[Place] = set()
        self._closed = False
        self._lots: dict[Lot, int] = {}  # how many flights of each have not landed
        self._emptied: list[Lot] = []
        self._uncounted: list[Spot] = []

    # --- the poll thread

    def arrived(self, records: Sequence[Record]) -> None:
        newest = self._newest
        for record in records:
            newest[record.topic, record.partition] = record.epoch

    def drain(self, partitions: Collection[TopicPartition], deadline: float) -> bool:
        """Start nothing more of these partitions, and wait for what was started. False: the deadline came first."""
        places = {(each.topic, each.partition) for each in partitions}
        with self._changed:
            self._closing |= places
            return self._wait(lambda: not self._any_started(places), deadline)

    def close(self, deadline: float) -> bool:
        """As drain(), for everything and for good."""
        with self._changed:
            self._closed = True
            return self._wait(lambda: not any(flight.started for flight in self._flights.values()), deadline)

    def abandon(self, partitions: Collection[TopicPartition]) -> None:
        """End these partitions' epochs, and let go of what is left of them: the next owner shall not find it."""
        with self._changed:
            for each in partitions:
                place = (each.topic, each.partition)
                self._over[place] = self._newest.get(place, -1)
                self._closing.discard(place)
            for flight in list(self._flights.values()):
                if not any(self._ours(each, ()) for each in flight.inputs):
                    self._drop(flight)
            self._changed.notify_all()

    @property
    def lots(self) -> list[Lot]:
        """All that the database may still have."""
        with self._lock:
            return [*self._lots, *self._emptied]

    def leftover(self) -> Released:
        """All that the database may still have, of a process that ends in good order."""
        with self._lock:
            counted = [flight.counted for flight in self._flights.values() if flight.counted is not None]
            return Released([*self._lots, *self._emptied], [*self._uncounted, *counted])

    # --- the threads that work

    @property
    def hurried(self) -> bool:
        """Whether somebody waits for what is in hand."""
        return self._closed or bool(self._closing)

    def board(self, inputs: Iterable[Input]) -> list[Flight]:
        """Flights for these inputs; one whose video and revision are in the air already joins that flight."""
        fresh = []
        with self._lock:
            for each in inputs:
                event = each.event
                key: Hashable
                if isinstance(event, VideoPublished):
                    key = (event.video_id, event.revision)
                else:
                    key = (each.record.topic, each.record.partition, each.record.offset)
                if held := self._flights.get(key):
                    held.inputs.append(each)
                else:
                    flight = self._flights[key] = Flight(key, each)
                    fresh.append(flight)
        return fresh

    def book(self, flights: Sequence[Flight], lots: Mapping[Place, Lot]) -> None:
        """They are written down in these lots."""
        with self._lock:
            for flight in flights:
                record = flight.lead.record
                flight.lot = lot = lots[record.topic, record.partition]
                self._lots[lot] = self._lots.get(lot, 0) + 1

    def written(self, lots: Collection[Lot]) -> None:
        """The database has them only now: what was let go of meanwhile is released again."""
        with self._lock:
            self._emptied += [lot for lot in lots if lot not in self._lots and lot not in self._emptied]

    def wanted(self, flights: Sequence[Flight]) -> list[Flight]:
        """Those that may be started; the others are dropped."""
        with self._lock:
            wanted = []
            for flight in flights:
                if self._may_start(flight):
                    wanted.append(flight)
                else:
                    self._drop(flight)
            return wanted

    def start(self, flight: Flight) -> bool:
        """Whether it may go on; if so drains wait for it from now on, if not it is dropped."""
        with self._lock:
            if self._may_start(flight):
                flight.started = True
                return True
            self._drop(flight)
            return False

    def keep(self, flight: Flight) -> bool:
        """Whether any of its records is still ours; if not it is dropped."""
        if not self._over:
            return True
        with self._lock:
            if any(self._ours(each, ()) for each in flight.inputs):
                return True
            self._drop(flight)
            return False

    def hold(self, flight: Flight) -> None:
        """It waits for something that may be far off: a drain does not wait for it."""
        with self._changed:
            flight.started = False
            self._changed.notify_all()

    def land(self, flights: Iterable[Flight]) -> list[Record]:
        """They are done. Returns the records that waited for them."""
        with self._changed:
            records: list[Record] = []
            for flight in flights:
                self._leave(flight)
                records += [each.record for each in flight.inputs]
            self._changed.notify_all()
        return records

    def released(self) -> Released:
        """What the database need not have any more; each is returned once."""
        if not (self._emptied or self._uncounted):
            return NOTHING
        with self._lock:
            released = Released(self._emptied, self._uncounted)
            self._emptied, self._uncounted = [], []
        return released

    def wait_until_quiet(self, give_up: Callable[[], bool]) -> bool:
        """Until the analyzer has nothing of ours. False: `give_up` said so first."""
        with self._changed:
            while any(flight.analysing for flight in self._flights.values()):
                if give_up():
                    return False
                self._changed.wait(0.05)
            return True

    def wait_until_landed(self, flight: Flight, give_up: Callable[[], bool]) -> None:
        """Until it is durable, dropped or held."""
        with self._changed:
            while flight.started and flight.key in self._flights and not give_up():
                self._changed.wait(0.1)

    def _may_start(self, flight: Flight) -> bool:
        if not (self._over or self._closing or self._closed):
            return True
        return not self._closed and any(self._ours(each, self._closing) for each in flight.inputs)

    def _drop(self, flight: Flight) -> None:
        """Let go of it: no death, so its attempt alone is taken back. May be done twice."""
        self._leave(flight)
        if flight.counted is not None:
            self._uncounted.append(flight.counted)
            flight.counted = None
        self._changed.notify_all()

    def _leave(self, flight: Flight) -> None:
        if self._flights.get(flight.key) is flight:  # a dropped one's key may be in the air again
            del self._flights[flight.key]
        if flight.lot is not None:
            self._lots[flight.lot] -= 1
            if not self._lots[flight.lot]:
                del self._lots[flight.lot]
                self._emptied.append(flight.lot)
            flight.lot = None

    def _ours(self, each: Input, closing: Collection[Place]) -> bool:
        place = (each.record.topic, each.record.partition)
        return each.record.epoch > self._over.get(place, -1) and place not in closing

    def _any_started(self, places: set[Place]) -> bool:
        return any(
            flight.started and any((each.record.topic, each.record.partition) in places for each in flight.inputs)
            for flight in self._flights.values()
        )

    def _wait(self, met: Callable[[], bool], deadline: float) -> bool:
        while not met():
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            self._changed.wait(remaining)
        return True
