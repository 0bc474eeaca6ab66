"""Structured logs on stderr: one JSON object a line, from our code and from libraries alike."""

from __future__ import annotations

import logging
import math
import re
import sys
import time
from collections.abc import Callable, MutableMapping
from typing import Any, TextIO

import structlog
from structlog.typing import Processor

from stream.consumer.records import Record
from stream.kafka import librdkafka_log
from stream.settings import Settings

_SECRET_NAMES = re.compile(r"password|secret|token|dsn|credential", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(?P<before>\b[a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s@]+(?=@)", re.IGNORECASE)
_KEYWORD_PASSWORD = re.compile(r"(?P<before>\bpassword\s*=\s*)('[^']*'|[^\s,;]+)", re.IGNORECASE)
_STARS = "**********"


def configure(settings: Settings, *, job: str, stream: TextIO = sys.stderr) -> None:
    """Send every log record of this process to `stream`, in the format the settings ask for."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        lambda _, __, event: {"job": job, **event},
        hide_secrets,
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False, default=str)
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=stream.isatty())
    )
    structlog.configure(
        processors=[*shared[:-2], structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared[:-2],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *shared[-2:], renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    librdkafka_log.filters = [Throttle()]
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every address it fetches
    logging.captureWarnings(True)


class Throttle(logging.Filter):
    """librdkafka says the same thing twenty times a second while a broker is away: each of it once in a while.

    Its records are "%s [%s] %s" of what happened, which client, details; the first two are the same thing.
    """

    def __init__(self, every_s: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._every_s = every_s
        self._clock = clock
        self._said: dict[object, tuple[float, int]] = {}  # when, and how often since

    def filter(self, record: logging.LogRecord) -> bool:
        now = self._clock()
        same = record.args[:2] if isinstance(record.args, tuple) else record.msg
        said_at, withheld = self._said.get(same, (-math.inf, 0))
        if now - said_at < self._every_s:
            self._said[same] = said_at, withheld + 1
            return False
        self._said[same] = now, 0
        record.withheld = withheld
        return True


def hide_secrets(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Star out values whose name says secret, and passwords inside connection strings wherever they appear."""
    for name, value in event.items():
        if _SECRET_NAMES.search(name):
            event[name] = _STARS
        elif isinstance(value, str):
            value = _URL_PASSWORD.sub(rf"\g<before>{_STARS}", value)
            event[name] = _KEYWORD_PASSWORD.sub(rf"\g<before>{_STARS}", value)
    return event


def of_record(record: Record) -> dict[str, Any]:
    """What to bind to a logger while one record is worked on."""
    place: dict[str, Any] = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    if trace := trace_id(record):
        place["trace_id"] = trace
    return place


def trace_id(record: Record) -> str | None:
    """The trace id of the record's W3C traceparent header (version-traceid-parentid-flags), if it has one."""
    for name, value in record.headers:
        if name == "traceparent" and value is not None:
            parts = value.decode("ascii", "replace").split("-")
            if len(parts) >= 4 and re.fullmatch(r"(?!0{32})[0-9a-f]{32}", parts[1]):
                return parts[1]
    return None
