"""Fault 10: the dead-letter topic does not exist: the outbox grows, an alarm says so, nothing is dropped."""

from __future__ import annotations

import sys

from confluent_kafka.admin import AdminClient

from schemas.topics import VIDEO_DEAD
from stream.kafka import admin_config, create_topics
from tests.faults.lab import Lab, wait_for
from tests.faults.scenarios import Form, Outcome, conclude

NUMBER = 10
TITLE = "dead-letter topic unwritable"


def run(lab: Lab, form: Form) -> Outcome:
    poison_count, healthy = (200, 1000) if form is Form.FULL else (10, 100)
    failures: list[str] = []
    with lab.field("unwritable") as field:
        topic = field.names.actual(VIDEO_DEAD)
        for deletion in AdminClient(admin_config(field.settings)).delete_topics([topic]).values():
            deletion.result(30)
        field.send_raw([(b"poison", b"this is no event", []) for _ in range(poison_count)])
        field.publish(healthy)
        relay = field.start("relay")
        field.start("classify")
        wait_for(lambda: field.handled() == poison_count + healthy, 90, lambda: f"{field.handled()} handled")
        announced = wait_for(
            lambda: field.query("SELECT count(*) FROM outbox WHERE topic <> %s", VIDEO_DEAD) == [(0,)],
            60,
            lambda: "labels wait behind dead letters",
        )
        grown = field.query("SELECT count(*) FROM outbox")[0][0]
        if grown != poison_count:
            failures.append(f"{grown} rows in the outbox instead of {poison_count}")
        wait_for(lambda: topic in relay.log.read_text(), 30, lambda: "the relay says nothing of the topic")
        create_topics(field.settings)
        field.await_settled(poison_count + healthy, 90)
        arrived = len(field.read_topic(VIDEO_DEAD))
        if arrived != poison_count:
            failures.append(f"{arrived} dead letters arrived instead of {poison_count}")
        figures = {"outbox_grew_to": grown, "labels_waited_s": round(announced, 1), "arrived": arrived}
        return conclude(sys.modules[__name__], field, figures, failures, unparsed=poison_count)
