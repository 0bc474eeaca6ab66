"""Fault 10: the dead-letter topic does not exist: the outbox grows, an alarm says so, nothing is dropped."""

from __future__ import annotations

import sys

from schemas.topics import VIDEO_DEAD
from stream.kafka import create_topics
from tests.faults.field import wait_for
from tests.faults.lab import Lab
from tests.faults.scenarios import Form, Outcome, conclude

NUMBER = 10
TITLE = "dead-letter topic unwritable"
ALSO_CLASSIC = False


def run(lab: Lab, form: Form) -> Outcome:
    poison_count, healthy = (200, 1000) if form is Form.FULL else (10, 100)
    failures: list[str] = []
    with lab.field("unwritable") as field:
        field.delete_topic(VIDEO_DEAD)
        for number in range(poison_count):  # among healthy ones: nothing but poison would halt the job
            field.send_raw([(f"poison-{number}".encode(), b"this is no event", [])])
            field.publish(healthy // poison_count)
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
        alarm = f'reelsort_relay_held{{topic="{VIDEO_DEAD}"}} 1.0'
        wait_for(lambda: alarm in relay.metrics(), 30, lambda: "no metric says that the topic is held")
        wait_for(
            lambda: field.logged("relay", f"topic {VIDEO_DEAD} cannot be written") > 0,
            30,
            lambda: "no log line says so",
        )
        create_topics(field.settings)
        field.await_settled(poison_count + healthy, 90)
        arrived = len(field.read_topic(VIDEO_DEAD))
        if arrived != poison_count:
            failures.append(f"{arrived} dead letters arrived instead of {poison_count}")
        figures = {"outbox_grew_to": grown, "labels_waited_s": round(announced, 1), "arrived": arrived}
        return conclude(sys.modules[__name__], field, figures, failures, unparsed=poison_count)
