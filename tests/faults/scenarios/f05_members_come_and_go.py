"""Fault 5: members join and leave every few seconds while videos arrive."""

from __future__ import annotations

import sys
import time

from tests.faults.lab import Lab
from tests.faults.scenarios import Form, Outcome, conclude, rng_of

NUMBER = 5
TITLE = "members join and leave"
INTERVAL_S = 5.0


def run(lab: Lab, form: Form) -> Outcome:
    rng = rng_of(lab, NUMBER)
    duration = 600.0 if form is Form.FULL else 25.0
    with lab.field("members") as field:
        field.start("relay")
        members = [field.start("classify")]
        changes = 0
        end = time.monotonic() + duration
        while time.monotonic() < end:
            change_at = time.monotonic() + INTERVAL_S
            while time.monotonic() < change_at:
                field.publish(10)
                time.sleep(0.2)  # the load itself: about 50 videos a second
            if len(members) < 2 or (len(members) < 4 and rng.random() < 0.5):
                members.append(field.start("classify"))
            else:
                members.pop(rng.randrange(len(members))).terminate(30)
            changes += 1
        field.await_settled(len(field.published), 120)
        figures = {"changes": changes, "seconds": duration}
        return conclude(sys.modules[__name__], field, figures)
