"""How long the outbox is: the first sign that Kafka, or one topic, does not take what we announce."""

from __future__ import annotations

import logging
import threading
import time

import psycopg

from stream.relay.outbox import Outbox
from stream.settings import Settings
from stream.store.faults import Fault, fault_of
from stream.telemetry import metrics

_log = logging.getLogger(__name__)

EVERY_S = 5.0
COST_SHARE = 0.05  # counting a long outbox takes time: never spend more than this share of it


class Monitor:
    """Counts what waits, sets the gauges, and raises the alarm once when the outbox gets too long."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._alarm = False
        self._topics: set[str] = set()

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                with Outbox.connect(self._settings, "outbox monitor") as outbox:
                    while not stop.is_set():
                        started = time.monotonic()
                        self.observe(*outbox.waiting())
                        stop.wait(max(EVERY_S, (time.monotonic() - started) / COST_SHARE))
            except psycopg.Error as error:
                if fault_of(error) is not Fault.PASSING:
                    raise
                stop.wait(EVERY_S)  # the groups say why

    def observe(self, rows: dict[str, int], oldest_s: float) -> None:
        """rows by topic; oldest_s: age of the oldest row that is due, negative where none is."""
        for topic in self._topics | rows.keys():
            metrics.OUTBOX_ROWS.labels(topic).set(rows.get(topic, 0))
        self._topics |= rows.keys()
        metrics.OUTBOX_OLDEST_SECONDS.set(max(0.0, oldest_s))
        total, limit = sum(rows.values()), self._settings.relay.backlog_alarm
        alarm = total >= limit
        metrics.OUTBOX_ALARM.set(alarm)
        if alarm and not self._alarm:
            longest = max(rows, key=lambda topic: rows[topic])
            _log.error("ALARM: %d rows wait in the outbox (alarm at %d), most of them for %s", total, limit, longest)
        elif self._alarm and not alarm:
            _log.warning("the outbox is short again: %d rows", total)
        self._alarm = alarm
