"""Fault 2: the broker, which is the group and the transaction coordinator too, is stopped and killed under load."""

from __future__ import annotations

import sys
import time

from tests.faults.lab import Lab
from tests.faults.scenarios import Form, Outcome, conclude

NUMBER = 2
TITLE = "broker restarts"
ALSO_CLASSIC = False
RECOVERY_LIMIT_S = 60.0


def run(lab: Lab, form: Form) -> Outcome:
    rounds = 6 if form is Form.FULL else 2
    slowest = 0.0
    with lab.field("broker") as field:
        workers = [field.start("relay"), field.start("classify")]
        for number in range(rounds):
            before = field.handled()
            field.publish(1000)
            field.await_progress(before)
            if number % 2:
                lab.kill_server("kafka")
            else:
                lab.stop_server("kafka")
            lab.start_servers()
            back = time.monotonic()
            field.await_settled(len(field.published), 180)
            slowest = max(slowest, time.monotonic() - back)
        failures = [f"{worker.job} ended: {worker.log}" for worker in workers if not worker.alive]
        if slowest > RECOVERY_LIMIT_S:
            failures.append(f"recovery took {slowest:.1f} s")
        figures = {"restarts": rounds, "slowest_recovery_s": round(slowest, 1)}
        return conclude(sys.modules[__name__], field, figures, failures)
