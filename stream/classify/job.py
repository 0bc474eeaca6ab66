"""The classify job: every published video becomes a stored label. This module wires the parts; each has its own file.

records ─► Intake (read, look up, write down) ─► Analyzer ─► Committer (one transaction a batch) ─► done
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from models.bundle import Bundle, default_bundle
from schemas.topics import VIDEO_PUBLISHED, VIDEO_REMOVED, VIDEO_RETRY, TopicNames
from stream.classify.analyse import Analyzer
from stream.classify.committer import Committer
from stream.classify.hand import Hand
from stream.classify.intake import Intake
from stream.classify.stub import StubAnalyzer, stub_model
from stream.consumer.collector import collect_rarely
from stream.consumer.policy import StartPolicy
from stream.consumer.records import Progress, Record, TopicPartition
from stream.consumer.runtime import ConsumerRuntime
from stream.kafka import group_id, require_topics
from stream.settings import Settings
from stream.store import attempts, registry
from stream.store.session import connect, connect_or_explain
from stream.store.transaction import write
from stream.store.work import Batch, LiveModel, Outcome, Written
from stream.store.writer import Writer
from stream.telemetry.health import Health

_log = logging.getLogger(__name__)

NAME = "classify"
SUBSCRIBED = (VIDEO_PUBLISHED, VIDEO_RETRY, VIDEO_REMOVED)
WRITERS = 2  # transactions at once: rows of one are built while Postgres works on the other
CLOSE_S = 2.0  # for threads and child processes to end, once nothing is in hand


class ClassifyJob:
    """stream.consumer.records.Job. Its methods are called from the poll thread."""

    def __init__(self, settings: Settings, analyzer: Analyzer, model: LiveModel) -> None:
        self._settings = settings
        self._analyzer = analyzer
        self._model = model
        self._hand = Hand()
        self._stopping = threading.Event()

    def start(self, progress: Progress) -> None:
        classify = self._settings.classify
        review_within = timedelta(hours=self._settings.review.deadline_h)

        def transaction(connection: psycopg.Connection[Any], outcomes: Sequence[Outcome]) -> Written:
            return write(connection, Batch.of(outcomes), self._model, datetime.now(UTC), review_within)

        self._committer = Committer(
            hand=self._hand,
            writers=[Writer(self._settings.database, transaction) for _ in range(WRITERS)],
            settings=classify,
            progress=progress,
            again=lambda flight: self._intake.again(flight),
            stopping=self._stopping,
        )
        self._intake = Intake(
            hand=self._hand,
            analyzer=self._analyzer,
            model=self._model,
            names=TopicNames(self._settings.kafka.topics),
            group=group_id(self._settings, NAME),
            database=self._settings.database,
            progress=progress,
            deliver=self._committer.deliver,
            admits=self._committer.admits,
            stopping=self._stopping,
        )
        self._committer.start()
        self._intake.start()

    def submit(self, records: Sequence[Record]) -> None:
        self._hand.arrived(records)
        self._intake.put(records)

    def drain(self, partitions: Collection[TopicPartition], deadline: float) -> None:
        self._hand.drain(partitions, deadline)

    def abandon(self, partitions: Collection[TopicPartition]) -> None:
        self._hand.abandon(partitions)

    def stop(self, deadline: float) -> None:
        """What was started is finished until the deadline; the rest is struck off: no death, so no suspect."""
        drained = self._hand.close(deadline)
        self._stopping.set()
        self._analyzer.close(CLOSE_S)
        self._intake.join(CLOSE_S)
        self._committer.join(CLOSE_S)
        _log.info("stopped: %s", "everything started was finished" if drained else "unfinished work comes again")
        self._strike_off()

    def _strike_off(self) -> None:
        leftover = self._hand.leftover()
        if not leftover:
            return
        try:
            with connect(self._settings.database, "classify-stop") as connection:
                attempts.release(connection, leftover)
        except psycopg.Error as error:
            _log.warning("unfinished inputs stay written down as in hand, they will run alone: %s", error)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a model needs to serve: the stub's, or a bundle's."""

    analyzer: Analyzer
    model: LiveModel
    manifest: Mapping[str, Any]


def run(settings: Settings, stop: threading.Event, health: Health) -> None:
    """Serve until `stop` is set. Raises UserError where something it needs is missing or out of reach."""
    loaded = health.require("model", "loading")
    _look_before_loading(settings)
    parts = _stub_parts(settings) if settings.classify.stub else _bundle_parts(settings)
    loaded.met()
    serve(settings, parts, stop, health)


def serve(settings: Settings, parts: Parts, stop: threading.Event, health: Health) -> None:
    """Register the model, then consume until `stop` is set. Closes the analyzer, whatever happens."""
    collect_rarely()
    try:
        with connect_or_explain(settings.database, "classify-start") as connection:
            model = registry.enter(connection, parts.model, parts.manifest)
        _log.info("model %s (%s), promotion epoch %d", model.name, model.model_id, model.epoch)
        _consume(settings, parts.analyzer, model, stop, health)
    finally:
        parts.analyzer.close(CLOSE_S)


def _look_before_loading(settings: Settings) -> None:
    """A model takes a while to load: what else is missing, or refused by Kafka's client, is said before."""
    require_topics(settings, subscribed(settings))
    connect_or_explain(settings.database, "classify-start").close()


def subscribed(settings: Settings) -> list[str]:
    """The topics this job reads, by their actual names."""
    names = TopicNames(settings.kafka.topics)
    return [names.actual(topic) for topic in SUBSCRIBED]


def _consume(settings: Settings, analyzer: Analyzer, model: LiveModel, stop: threading.Event, health: Health) -> None:
    runtime = ConsumerRuntime(
        settings,
        group_id(settings, NAME),
        subscribed(settings),
        ClassifyJob(settings, analyzer, model),
        max_in_flight=settings.classify.max_in_flight,
        drain_s=settings.classify.drain_s,
        health=health,
        start=StartPolicy(new_group=settings.classify.start),
    )
    runtime.run(stop)


def _stub_parts(settings: Settings) -> Parts:
    return Parts(StubAnalyzer(settings.classify.stub_latency_ms / 1000), stub_model(), {"stub": True})


def _bundle_parts(settings: Settings) -> Parts:
    from stream.classify.analyzer import open_analyzer  # codecs and runtimes, which the stub does without

    bundle = Bundle.load(settings.inference.bundle or default_bundle())
    return Parts(open_analyzer(settings, bundle), registry.of_bundle(bundle), bundle.manifest.model_dump(mode="json"))
