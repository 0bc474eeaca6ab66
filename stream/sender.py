"""Sending events as an outside service would: in its own time, each acknowledged or said to be not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from confluent_kafka import KafkaError, Message, Producer

from schemas.errors import ExitCode, UserError
from schemas.wire import EncodedEvent
from stream.kafka import connect, producer_config
from stream.settings import Settings

DELIVERY_TIMEOUT_S = 60.0
LONGEST_WAIT_S = 0.1

T = TypeVar("T")


def paced(
    events: Iterable[T],
    rate: float | None,
    wait: Callable[[float], None],
    is_over: Callable[[], bool] = lambda: False,
) -> Iterator[T]:
    """The events, at most `rate` a second, until is_over(). wait() passes the seconds in between."""
    begun = time.monotonic()
    for number, event in enumerate(events):
        while rate is not None and not is_over() and (ahead := begun + number / rate - time.monotonic()) > 0:
            wait(min(ahead, LONGEST_WAIT_S))
        if is_over():
            break
        yield event


class Sender:
    """A producer that counts what was acknowledged and remembers the first thing that was not.

    remedy: what to do when something was not, for a person to read.
    """

    def __init__(self, settings: Settings, client: str, remedy: str) -> None:
        config = producer_config(settings, client) | {"message.timeout.ms": int(DELIVERY_TIMEOUT_S * 1000)}
        self._producer = connect(Producer, config)
        self._remedy = remedy
        self._refused: KafkaError | None = None
        self.delivered = 0

    def send(self, topic: str, event: EncodedEvent) -> None:
        """Hand an event to the client. Raises UserError where an earlier one was not acknowledged."""
        while True:
            try:
                self._producer.produce(
                    topic, event.value, event.key, headers=[*event.headers], on_delivery=self._on_delivery
                )
            except BufferError:  # the client's queue is full: let it send, then go on
                self.serve(LONGEST_WAIT_S)
            else:
                break
        self.serve(0)

    def serve(self, seconds: float) -> None:
        """Let the client work. Raises UserError where an event was not acknowledged."""
        self._producer.poll(seconds)
        if self._refused is not None:
            raise UserError(
                f"an event was not acknowledged: {self._refused.str()}; {self.delivered} were",
                self._remedy,
                ExitCode.UNREACHABLE,
            )

    def finish(self) -> None:
        """Wait until all are acknowledged. Raises UserError where one was not."""
        while self._producer.flush(1.0):
            self.serve(0)
        self.serve(0)

    def _on_delivery(self, error: KafkaError | None, _: Message) -> None:
        if error is None:
            self.delivered += 1
        else:
            self._refused = self._refused or error
