"""Fault 9: SIGSTOP for twice the session timeout, then on: a zombie may re-do work, never change a result."""

from __future__ import annotations

import sys
import time

from tests.faults.lab import SESSION_TIMEOUT_S, Lab
from tests.faults.scenarios import Form, Outcome, conclude

NUMBER = 9
TITLE = "a paused worker wakes as a zombie"
ALSO_CLASSIC = True
QUICK_SESSION_S = 3.0
VIDEO_MS = 50  # so that the zombie wakes with work in its hands


def run(lab: Lab, form: Form) -> Outcome:
    rounds = 5 if form is Form.FULL else 1
    session_s = SESSION_TIMEOUT_S if form is Form.FULL else QUICK_SESSION_S
    failures: list[str] = []
    with lab.field("zombie", session_s, classify__stub_latency_ms=str(VIDEO_MS)) as field:
        for _ in range(rounds):
            before = field.handled()
            zombie, relay_zombie = field.start("classify"), field.start("relay")
            field.publish(400)
            field.await_progress(before)
            zombie.pause()
            relay_zombie.pause()
            field.start("classify")
            field.start("relay")
            field.publish(200)
            time.sleep(2 * session_s)  # the fault itself
            at_waking = field.query("SELECT count(*) FROM decisions")[0][0]
            zombie.resume()
            relay_zombie.resume()
            field.await_settled(len(field.published), 120)
            failures += field.stop()
        again = field.analyses() - len(field.published)
        if not again:
            failures.append("no zombie had work in its hands: nothing was tried")
        figures = {
            "rounds": rounds,
            "paused_s": 2 * session_s,
            "decided_before_waking": at_waking,
            "analysed_again": again,
        }
        return conclude(sys.modules[__name__], field, figures, failures)
