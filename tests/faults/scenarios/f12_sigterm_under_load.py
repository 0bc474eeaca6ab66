"""Fault 12: SIGTERM under load: drained in 25 s, nothing processed again."""

from __future__ import annotations

import sys

from tests.faults.lab import Lab
from tests.faults.scenarios import Form, Outcome, conclude

NUMBER = 12
TITLE = "SIGTERM under load"
ALSO_CLASSIC = True
DRAIN_LIMIT_S = 25.0


def run(lab: Lab, form: Form) -> Outcome:
    rounds = 10 if form is Form.FULL else 2
    slowest = 0.0
    again = 0
    failures: list[str] = []
    with lab.field("sigterm") as field:
        field.start("relay")
        for _ in range(rounds):
            before = field.handled()
            worker = field.start("classify")
            field.publish(2000)
            field.await_progress(before)
            slowest = max(slowest, worker.terminate(60))
            if worker.returncode != 0:
                failures.append(f"exit code {worker.returncode}: {worker.log}")
            # what is decided and not committed would be read again by the next worker
            again += field.handled() - sum(field.committed().values())
        field.start("classify")
        field.await_settled(len(field.published), 120)
        failures += field.stop()
        again += field.analyses() - len(field.published)
        if slowest > DRAIN_LIMIT_S:
            failures.append(f"the slowest drain took {slowest:.1f} s")
        if again:
            failures.append(f"{again} inputs were read or analysed again")
        figures = {"rounds": rounds, "slowest_drain_s": round(slowest, 1), "processed_again": again}
        return conclude(sys.modules[__name__], field, figures, failures)
