"""One shard group: own it, send what is due, delete what was sent. Every fault starts over from the rows themselves.

Order of effects for a batch:

1. read what is due
2. one Kafka transaction with all of it
3. delete exactly the rows read

A death between 2 and 3 sends the batch again, with the same ce_ids. Two things keep a zombie from sending beside its
successor: the advisory locks end with its session, and the successor's init_transactions fences its producer before
the first row is read.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence

import psycopg

from schemas.ids import SHARDS
from schemas.topics import TOPICS, TopicNames
from stream import boundaries
from stream.relay.holds import Holds, Refusal
from stream.relay.outbox import Outbox, Row
from stream.relay.sender import Aborted, Refused, Sender, SenderLost
from stream.settings import Settings
from stream.store.faults import Fault, fault_of
from stream.telemetry import metrics
from stream.telemetry.health import Health

_log = logging.getLogger(__name__)

STANDBY_S = 1.0  # how often a relay asks for shards that another one owns
FIRST_BACK_OFF_S = 0.2
LONGEST_BACK_OFF_S = 10.0
IDLE_GROWTH = 1.5  # an outbox that stays empty is asked less and less often,
IDLE_MOST = 2.0  # down to this many times relay.poll_ms
IDLE_TRANSACTIONS = 3  # an owner is silent towards Postgres for one transaction, with its abort, at most
DOUBTFUL_PATIENCE_S = 5.0  # how long a refused topic may take when it is tried again: healthy ones wait meanwhile


def shards_of(group: int, groups: int) -> tuple[int, ...]:
    """The shards of one of `groups` groups; together they cover every shard once."""
    return tuple(range(group, SHARDS, groups))


class ShardGroup:
    """Runs one group in one thread until `stop`."""

    def __init__(self, settings: Settings, group: int, names: TopicNames, health: Health) -> None:
        self._settings = settings
        self._names = names
        self._shards = shards_of(group, settings.relay.shards)
        self._name = f"relay-{group}"
        self._transactional_id = f"{settings.kafka.group_prefix}-{self._name}"
        self._holds = Holds()
        self._sent: list[int] = []  # in Kafka, perhaps not deleted yet
        self._back_off_s = FIRST_BACK_OFF_S
        self._health = health
        self._loop = health.loop(self._name)
        self._condition = health.require(self._name, "not started yet")

    def run(self, stop: threading.Event) -> None:
        """Postgres or Kafka away: back off and start over. Raises UserError where only a person can help."""
        while not stop.is_set():
            try:
                self._session(stop)
            except psycopg.Error as error:
                if fault_of(error) is not Fault.PASSING:
                    raise
                self._start_over(error, stop)
            except SenderLost as error:
                metrics.RELAY_TRANSACTIONS.labels("unknown").inc()
                self._start_over(error, stop)
        self._health.end(self._name)

    def _session(self, stop: threading.Event) -> None:
        with Outbox.connect(self._settings, self._name) as outbox:
            while not outbox.own(self._shards, IDLE_TRANSACTIONS * self._settings.relay.transaction_timeout_s):
                self._condition.met()  # standing by is all that is asked of us
                self._loop.beat()
                if stop.wait(STANDBY_S * random.uniform(0.75, 1.25)):  # noqa: S311 - two relays must not move in step
                    return
            self._declare_call()
            with Sender(self._settings, self._transactional_id, self._names) as sender:
                _log.info("%s owns %d shards", self._name, len(self._shards))
                metrics.RELAY_GROUPS.inc()
                self._condition.met()
                try:
                    self._relay(outbox, sender, stop)
                finally:
                    metrics.RELAY_GROUPS.dec()

    def _relay(self, outbox: Outbox, sender: Sender, stop: threading.Event) -> None:
        if self._sent:  # sent by us before the session broke
            self._delete(outbox)
        idle_s = self._settings.relay.poll_ms / 1000
        wait_s = idle_s
        while not stop.is_set():
            self._declare_call()
            rows = outbox.read(self._shards, self._settings.relay.batch, self._holds.excluded(time.monotonic()))
            if not rows:
                stop.wait(wait_s)
                wait_s = min(wait_s * IDLE_GROWTH, idle_s * IDLE_MOST)
                continue
            wait_s = idle_s
            for batch in self._holds.apart(rows):
                self._send(outbox, sender, batch, stop)

    def _send(self, outbox: Outbox, sender: Sender, rows: Sequence[Row], stop: threading.Event) -> None:
        known = [row for row in rows if row.topic in TOPICS]
        self._hold([Refusal(row.topic, None, "reelsort has no such topic") for row in rows if row.topic not in TOPICS])
        if not known:
            return
        patience_s = DOUBTFUL_PATIENCE_S if self._holds.doubtful(known[0]) else None
        outbox.still_ours()
        try:
            sender.send(known, patience_s)
        except Refused as error:
            metrics.RELAY_TRANSACTIONS.labels("refused").inc()
            self._hold(error.refusals)
            return
        except Aborted as error:
            metrics.RELAY_TRANSACTIONS.labels("aborted").inc()
            _log.warning("%s: a transaction was aborted and will be sent again: %s", self._name, error)
            stop.wait(self._next_back_off())
            return
        metrics.RELAY_TRANSACTIONS.labels("committed").inc()
        self._back_off_s = FIRST_BACK_OFF_S
        self._sent = [row.id for row in known]
        boundaries.reached("outbox_ack")
        self._delete(outbox)
        for topic, count in Counter(row.topic for row in known).items():
            metrics.RELAYED.labels(topic).inc(count)
        for refusal in self._holds.accepted(known):
            _log.warning("%s: %s takes records again", self._name, refusal.topic)
            if refusal.topic not in self._holds.topics():
                metrics.RELAY_HELD.labels(refusal.topic).set(0)

    def _delete(self, outbox: Outbox) -> None:
        outbox.delete(self._sent)
        self._sent = []

    def _hold(self, refusals: Sequence[Refusal]) -> None:
        now = time.monotonic()
        held = {refusal.topic: (refusal, self._holds.refuse(refusal, now)) for refusal in set(refusals)}
        for topic, (refusal, seconds) in held.items():
            metrics.RELAY_HELD.labels(topic).set(1)
            _log.error(
                "%s: %s %s cannot be written and waits in the outbox, next try in %.0f s: %s",
                self._name, "topic" if refusal.key is None else "some keys of", topic, seconds, refusal.reason,
            )  # fmt: skip

    def _start_over(self, error: Exception, stop: threading.Event) -> None:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        self._condition.unmet(reason)
        seconds = self._next_back_off()
        _log.warning("%s starts over in %.1f s: %s", self._name, seconds, reason)
        self._loop.allow(seconds)
        stop.wait(seconds)

    def _next_back_off(self) -> float:
        seconds = self._back_off_s
        self._back_off_s = min(LONGEST_BACK_OFF_S, seconds * 2)
        return seconds

    def _declare_call(self) -> None:
        """The longest a batch may take without being a stall: its watchdog ends the process later than that."""
        relay, database = self._settings.relay, self._settings.database
        self._loop.allow(2 * relay.transaction_timeout_s + database.statement_timeout_s)
