"""Fault 13: the signals job is killed while it counts, again and again; its table comes back from the changelog."""

from __future__ import annotations

import time

from confluent_kafka import KafkaException

from schemas.topics import ENGAGEMENT_SNAPSHOTS
from stream.signals.topics import changelog_name
from tests.faults.field import Field, wait_for
from tests.faults.lab import Lab
from tests.faults.scenarios import Form, Outcome, rng_of
from tests.support.engagement import newest, snapshots_of, some_actions, tallied

NUMBER = 13
TITLE = "signals killed mid-window"
ALSO_CLASSIC = False  # its client knows the classic protocol alone, whatever is set
ROUND = 600
VIDEOS = 60
SESSION_S = 6.0  # each round waits for it; a starved machine must not lose a living member
RECOVERY_LIMIT_S = SESSION_S + 30
PACE = {"signals__batch": "50", "signals__debounce_s": "0.05", "signals__late_s": "0.1"}


def run(lab: Lab, form: Form) -> Outcome:
    kills = 20 if form is Form.FULL else 4
    rng = rng_of(lab, NUMBER)
    published = []
    slowest = 0.0
    with lab.field("signals", SESSION_S, **PACE) as field:
        for number in range(kills):
            victim = field.start("signals")
            before = _written(field)
            published += some_actions(rng.randrange(2**32), ROUND, VIDEOS, first=number * ROUND)
            field.send_events(published[-ROUND:])
            begun = time.monotonic()
            wait_for(lambda before=before: _written(field) > before, 60, lambda: "nothing is counted")  # type: ignore[misc]
            slowest = max(slowest, time.monotonic() - begun)
            time.sleep(rng.uniform(0.0, 0.3))  # where in its work it dies
            victim.kill()
        survivor = field.start("signals")
        expected = tallied(published)
        told = snapshots_of(field.read_topic(ENGAGEMENT_SNAPSHOTS))
        failures = []
        try:
            wait_for(lambda: _told(field) == expected, 60, lambda: "the final snapshots are wrong")
        except TimeoutError as error:
            wrong = [video for video, snapshot in _told(field).items() if snapshot != expected[video]]
            failures.append(f"{error}: {wrong[:3]}, {len(expected)} videos; {field.logs}")
        if (left := survivor.terminate(30)) > 25:
            failures.append(f"SIGTERM took {left:.0f} s")
        if slowest > RECOVERY_LIMIT_S:
            failures.append(f"recovery took {slowest:.1f} s")
        figures = {
            "killed": kills,
            "actions": len(published),
            "videos_compared": len(expected),
            "told_before_the_last": len(told),
            "slowest_recovery_s": round(slowest, 1),
        }
    return Outcome(NUMBER, TITLE, figures, failures)


def _written(field: Field) -> int:
    """Records of the changelog, 0 while there is none."""
    try:
        return field.length(changelog_name(field.settings))
    except KafkaException:
        return 0


def _told(field: Field) -> dict[str, object]:
    return dict(newest(snapshots_of(field.read_topic(ENGAGEMENT_SNAPSHOTS))))
