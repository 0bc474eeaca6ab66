"""Every line is one JSON object that says where it belongs, and no secret gets into one."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import orjson
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from stream.consumer.records import Record
from stream.settings import Settings
from stream.telemetry import logs


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = root.handlers, root.level
    out = io.StringIO()
    logs.configure(Settings(), job="classify", stream=out)
    yield out
    root.handlers, root.level = before, level
    logging.captureWarnings(False)
    structlog.reset_defaults()


def last(lines: io.StringIO) -> dict[str, object]:
    found: dict[str, object] = orjson.loads(lines.getvalue().splitlines()[-1])
    return found


def test_our_own_and_library_records_have_one_shape(lines: io.StringIO) -> None:
    logging.getLogger("librdkafka").warning("%s is %s", "broker 1", "down")
    library = last(lines)
    structlog.get_logger("stream.relay").warning("starts over", topic="video.labels.v1")
    ours = last(lines)
    assert library["event"] == "broker 1 is down"
    assert ours["topic"] == "video.labels.v1"
    for line in (library, ours):
        assert line["job"] == "classify"
        assert line["level"] == "warning"
        assert str(line["timestamp"]).endswith("Z")


def test_what_is_bound_for_a_record_is_on_every_line_of_it(lines: io.StringIO) -> None:
    trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    record = Record("video.published.v1", 3, 42, 1, 0, None, None, [("traceparent", trace)])
    with structlog.contextvars.bound_contextvars(**logs.of_record(record)):
        logging.getLogger("stream.media").info("decoded")
    line = last(lines)
    assert (line["topic"], line["partition"], line["offset"]) == ("video.published.v1", 3, 42)
    assert line["trace_id"] == "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    "header", [b"", b"00-xyz-1-01", b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01", b"\xff\xfe", None]
)
def test_a_broken_traceparent_is_no_trace(header: bytes | None) -> None:
    assert logs.trace_id(Record("t", 0, 0, 1, 0, None, None, [("traceparent", header)])) is None


def test_an_exception_is_a_field_of_its_line(lines: io.StringIO) -> None:
    try:
        raise ArithmeticError("planted")
    except ArithmeticError:
        logging.getLogger("stream").exception("ended")
    assert "ArithmeticError: planted" in str(last(lines)["exception"])
    assert len(lines.getvalue().splitlines()) == 1


def test_what_librdkafka_repeats_is_said_once_in_a_while() -> None:
    now = 0.0
    throttle = logs.Throttle(every_s=10, clock=lambda: now)

    def said(what: str, client: str) -> logging.LogRecord | None:
        record = logging.LogRecord("librdkafka", logging.ERROR, "", 0, "%s [%s] %s", (what, client, "details"), None)
        return record if throttle.filter(record) else None

    assert said("FAIL", "consumer-1")
    assert not any(said("FAIL", "consumer-1") for _ in range(5))
    assert said("FAIL", "producer-1"), "another client"
    assert said("SESSTMOUT", "consumer-1"), "another event"
    now = 10.0
    again = said("FAIL", "consumer-1")
    assert again is not None
    assert vars(again)["withheld"] == 5


words = st.text(st.characters(categories=["L", "N"]), min_size=8, max_size=30)


@given(words)
def test_passwords_never_leave(secret: str) -> None:
    secret = f"S3cret{secret}"
    line = {
        "event": f"could not reach postgresql://reelsort:{secret}@db:5432/reelsort (password={secret} host=db)",
        "sasl_password": secret,
        "dsn": f"postgresql://x:{secret}@db",
        "url": f"https://user:{secret}@proxy:3128/path",
    }
    assert secret not in str(logs.hide_secrets(None, "info", line))
    assert line["event"].startswith("could not reach postgresql://reelsort:**********@db:5432/reelsort")


def test_secrets_in_arguments_and_tracebacks_are_hidden_too(lines: io.StringIO) -> None:
    dsn = "postgresql://reelsort:S3cretPassword@db/reelsort"
    logging.getLogger("stream").warning("cannot connect to %s", dsn)
    try:
        raise ConnectionError(dsn)
    except ConnectionError:
        logging.getLogger("stream").exception("ended")
    assert "S3cretPassword" not in lines.getvalue()
