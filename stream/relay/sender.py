"""One transactional producer: all records of a batch are seen by read_committed readers, or none."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.topics import TopicNames
from stream.consumer.watchdog import guard
from stream.kafka import connect, transactional_config
from stream.relay.holds import Refusal
from stream.relay.outbox import Row
from stream.settings import Settings

_log = logging.getLogger(__name__)

METADATA_TIMEOUT_S = 10.0
GUARD_SLACK_S = 10.0  # over a call's own timeout, which does not always hold

_RECORD_FAULTS = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE, KafkaError.INVALID_RECORD})
# what a purge by an abort reports for the records beside the one at fault
_COLLATERAL = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT, KafkaError._FATAL})


class Refused(Exception):
    """Nothing of the batch is visible; these topics, or keys, would not be written. The producer goes on."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        super().__init__("; ".join(f"{refused.topic}: {refused.reason}" for refused in refusals))
        self.refusals = refusals


class Aborted(Exception):
    """Nothing of the batch is visible, and no topic is to blame: send it again."""


class SenderLost(Exception):
    """The producer is beyond repair, or somebody else owns its id. Whether the batch is visible is not known."""


class Sender:
    """Owns one transactional.id. Opening it fences whoever had it before, and aborts what they left open."""

    def __init__(self, settings: Settings, transactional_id: str, names: TopicNames) -> None:
        self._names = names
        self._timeout_s = settings.relay.transaction_timeout_s
        self._seen_topics: set[str] = set()
        self._refusals: dict[tuple[str, str | None], Refusal] = {}
        self._producer = connect(Producer, transactional_config(settings, transactional_id, self._timeout_s))

    def __enter__(self) -> Self:
        try:
            with self._guard("the start of a producer"):
                self._producer.init_transactions(self._timeout_s)
        except KafkaException as error:
            self._discard()
            raise SenderLost(error.args[0].str()) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._discard()

    def send(self, rows: Sequence[Row], patience_s: float | None = None) -> None:
        """One transaction. Returns once it is committed.

        patience_s: how long records may wait for the broker; default: the transaction's timeout.
        Raises Refused, Aborted or SenderLost.
        """
        deadline = time.monotonic() + (patience_s or self._timeout_s)
        self._refusals = {}
        self._look_for({row.topic for row in rows})
        try:
            self._producer.begin_transaction()
            for row in rows:
                self._produce(row, deadline)
            self._flush(rows, deadline)
            if self._refusals:
                self._abort()
                raise Refused(list(self._refusals.values()))
            self._commit(deadline)
        except KafkaException as error:
            self._recover(error.args[0])

    def _look_for(self, topics: set[str]) -> None:
        """A topic that is not there would hold the transaction until its records time out: ask first."""
        for topic in sorted(topics - self._seen_topics):
            name = self._names.actual(topic)
            try:
                found = self._producer.list_topics(name, timeout=METADATA_TIMEOUT_S).topics[name]
            except KafkaException as error:
                raise Aborted(error.args[0].str()) from error
            if found.error is not None:
                self._refuse(topic, None, found.error)
            else:
                self._seen_topics.add(topic)
        if self._refusals:
            raise Refused(list(self._refusals.values()))

    def _produce(self, row: Row, deadline: float) -> None:
        headers: list[tuple[str, str | bytes | None]] = [
            (name, None if text is None else text.encode()) for name, text in row.headers.items()
        ]
        while True:
            try:
                self._producer.produce(
                    self._names.actual(row.topic),
                    key=row.key.encode(),
                    value=row.value,
                    headers=headers,
                    on_delivery=self._on_delivery(row),
                )
                return
            except BufferError:  # librdkafka's queue is full: let it drain
                if time.monotonic() > deadline:
                    raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from None
                self._producer.poll(0.1)
            except KafkaException as error:
                if error.args[0].code() not in _RECORD_FAULTS:
                    raise
                self._refuse(row.topic, row.key, error.args[0])
                return

    def _on_delivery(self, row: Row) -> Callable[[KafkaError | None, Message], None]:
        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None and error.code() not in _COLLATERAL:
                self._refuse(row.topic, row.key if error.code() in _RECORD_FAULTS else None, error)

        return delivered

    def _refuse(self, topic: str, key: str | None, error: KafkaError) -> None:
        self._seen_topics.discard(topic)
        self._refusals.setdefault((topic, key), Refusal(topic, key, error.str()))

    def _flush(self, rows: Sequence[Row], deadline: float) -> None:
        while not self._refusals and (waiting := self._producer.flush(0.2)):
            if time.monotonic() > deadline:
                reason = KafkaError(KafkaError._MSG_TIMED_OUT, f"{waiting} records were not taken in time")
                for topic in {row.topic for row in rows}:
                    self._refuse(topic, None, reason)

    def _commit(self, deadline: float) -> None:
        while True:
            try:
                with self._guard("the commit of a Kafka transaction"):
                    self._producer.commit_transaction(max(1.0, deadline - time.monotonic()))
                return
            except KafkaException as error:
                if not error.args[0].retriable() or time.monotonic() > deadline:
                    raise

    def _recover(self, error: KafkaError) -> None:
        """After a failed call: abort where the producer can go on, else report it lost."""
        if not error.txn_requires_abort():
            raise SenderLost(error.str())
        self._abort()
        if self._refusals:
            raise Refused(list(self._refusals.values()))
        raise Aborted(error.str())

    def _abort(self) -> None:
        try:
            with self._guard("the abort of a Kafka transaction"):
                self._producer.abort_transaction(self._timeout_s)
        except KafkaException as error:
            raise SenderLost(error.args[0].str()) from error

    def _discard(self) -> None:
        """Throw away what is queued: it is in the outbox still."""
        with self._guard("the end of a producer"):
            self._producer.purge()
            with suppress(KafkaException):  # a fatal error not reported yet is raised here, once it is closed
                self._producer.close()

    def _guard(self, what: str) -> AbstractContextManager[None]:
        return guard(what, self._timeout_s + GUARD_SLACK_S)
