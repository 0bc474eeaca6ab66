"""From records to analyses: read the event, ask what is known, write down what is in hand, start the analysis."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg

from schemas.events import VideoPublished, VideoRemoved
from schemas.topics import VIDEO_RETRY, TopicNames
from schemas.wire import BadEvent, decode_event, traceparent_of
from stream.classify.analyse import Analysis, Analyzer, PoisonError, TransientError
from stream.classify.hand import Flight, Hand
from stream.classify.outage import Answer, Outage
from stream.consumer.records import Progress, Record
from stream.settings import DatabaseSettings
from stream.store import attempts, messages, prior
from stream.store.session import Session
from stream.store.work import Analysed, Dead, Input, LiveModel, Origin, Outcome, Removal
from stream.telemetry import metrics

_log = logging.getLogger(__name__)

Verdict = Analysis | PoisonError | TransientError
Deliver = Callable[[Flight, Outcome | Verdict], None]

KILLED = "killed_process"


class Intake:
    """Runs in a thread of its own, for it waits: for Postgres, and where the analyzer is full."""

    def __init__(
        self,
        *,
        hand: Hand,
        analyzer: Analyzer,
        model: LiveModel,
        names: TopicNames,
        group: str,
        database: DatabaseSettings,
        progress: Progress,
        deliver: Deliver,
        admits: Callable[[VideoPublished], bool],
        stopping: threading.Event,
    ) -> None:
        self._hand = hand
        self._analyzer = analyzer
        self._model = model
        self._names = names
        self._group = group
        self._session = Session(database, "intake")
        self._outage = Outage(progress, stopping)
        self._progress = progress
        self._deliver = deliver
        self._admits = admits
        self._stopping = stopping
        self._epochs: dict[
            attempts.Place, int
        ] = {}  # of each partition, the assignment whose leftovers were looked for
        self._arrivals: queue.SimpleQueue[Sequence[Record] | Flight | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="classify-intake", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, records: Sequence[Record]) -> None:
        self._arrivals.put(records)

    def again(self, flight: Flight) -> None:
        """Analyse it once more."""
        self._arrivals.put(flight)

    def join(self, timeout: float) -> None:
        self._arrivals.put(None)
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            while (arrived := self._next()) is not None:
                if isinstance(arrived, Flight):
                    self._analyse(arrived)
                elif arrived:
                    self._take(arrived)
        except Exception as error:
            if not self._stopping.is_set():
                self._progress.fail(error)
        finally:
            self._session.discard()

    def _next(self) -> Sequence[Record] | Flight | None:
        try:
            return self._arrivals.get(timeout=0.5)
        except queue.Empty:
            return ()

    def _take(self, records: Sequence[Record]) -> None:
        begun = time.perf_counter()
        inputs, outcomes = [], {}
        for record in records:
            each, outcome = self._read(record)
            inputs.append(each)
            if outcome is not None:
                outcomes[id(each)] = outcome
        wanted = []
        for flight in self._hand.board(inputs):
            settled = outcomes.get(id(flight.lead))
            if settled is None:
                wanted.append(flight)
            elif self._hand.start(flight):
                self._deliver(flight, settled)
        if wanted:
            found = self._with_postgres(lambda session: prior.lookup(session, [f.video for f in wanted], self._model))
            metrics.STAGE_SECONDS.labels("lookup").observe(time.perf_counter() - begun)
            self._analyse_all(self._not_known(wanted, found))

    def _read(self, record: Record) -> tuple[Input, Outcome | None]:
        """The input in a record; with its outcome where no analysis is needed for it."""
        topic = self._names.standard(record.topic)
        if topic == VIDEO_RETRY:
            origin, tries = messages.origin_of(record)
        else:
            origin, tries = Origin(record.topic, record.partition, record.offset), 1
        traceparent = traceparent_of(record.headers)
        try:
            event = decode_event(topic, record.key, record.value, record.headers)
        except BadEvent as error:
            unread = Input(record, origin, None, tries, traceparent)
            return unread, Dead(unread, error.code, error.detail, attempts=tries)
        if isinstance(event, VideoRemoved):
            removal = Input(record, origin, event, tries, traceparent)
            return removal, Removal(removal, event)
        assert isinstance(event, VideoPublished)
        return Input(record, origin, event, tries, traceparent), None

    def _not_known(self, wanted: Sequence[Flight], found: prior.Found) -> list[Flight]:
        """Those that need an analysis. What is finished is reported; what has a stored prediction is only decided."""
        rest, finished = [], []
        for flight in wanted:
            if flight.key in found.finished:
                finished.append(flight)
            elif flight.key in found.predicted:
                if self._hand.start(flight):
                    self._deliver(flight, Analysed(flight.lead, flight.video, None))
            else:
                rest.append(flight)
        if finished:
            metrics.ALREADY_DECIDED.inc(len(finished))
            self._progress.done(self._hand.land(finished))
        return rest

    def _analyse_all(self, flights: Sequence[Flight]) -> None:
        """Write them down, then start them: first those that were never in hand at a death."""
        flights = self._hand.wanted(flights)  # what was given up meanwhile is written down by its next owner
        if not flights:
            return
        records = [flight.lead.record for flight in flights]
        new = {
            (each.topic, each.partition)
            for each in records
            if self._epochs.get((each.topic, each.partition)) != each.epoch
        }
        lots = {(each.topic, each.partition): uuid4() for each in records}
        self._hand.book(flights, lots)
        own = self._hand.lots
        deaths = self._with_postgres(
            lambda session: attempts.begin(session, self._group, records, lots, new=new, own=own)
        )
        self._hand.written(lots.values())
        self._epochs.update({(each.topic, each.partition): each.epoch for each in records})
        suspects = []
        for flight, record in zip(flights, records, strict=True) if deaths else ():
            spot = attempts.spot_of(self._group, record)
            if spot in deaths:
                flight.alone, flight.lead.suspect = True, spot
                suspects.append((flight, spot))
        for flight in flights:
            if not flight.alone:
                self._analyse(flight)
        for flight, spot in suspects:
            self._analyse_alone(flight, spot, deaths[spot])

    def _analyse(self, flight: Flight) -> None:
        if not self._hand.start(flight):
            return
        video = flight.video
        if not self._admits(video):
            host = urlsplit(video.media_uri).hostname or ""
            self._deliver(flight, TransientError("host_breaker_open", "its host fails for most", host))
            return
        flight.analysing = True
        self._analyzer.submit(video, partial(self._analysed, flight), alone=flight.alone)

    def _analyse_alone(self, flight: Flight, spot: attempts.Spot, deaths_alone: int) -> None:
        """With nothing else in hand that runs, and durable before the next one starts."""
        if deaths_alone >= attempts.DEATHS_ALLOWED:
            detail = f"the process died {deaths_alone} times while this input alone was analysed"
            self._deliver(flight, Dead(flight.lead, KILLED, detail, attempts=deaths_alone))
            return
        if not self._hand.start(flight) or not self._hand.wait_until_quiet(self._stopping.is_set):
            return
        self._with_postgres(lambda session: attempts.count_alone(session, spot))
        flight.counted = spot
        flight.analysing = True
        self._analyzer.submit(flight.video, partial(self._analysed, flight), alone=True)
        self._hand.wait_until_landed(flight, self._stopping.is_set)

    def _analysed(self, flight: Flight, verdict: Verdict) -> None:
        """Called by the analyzer, from any thread."""
        flight.analysing = False
        self._deliver(flight, verdict)

    def _with_postgres(self, ask: Callable[[psycopg.Connection[Any]], Answer]) -> Answer:
        return self._outage.through(self._session, ask)
