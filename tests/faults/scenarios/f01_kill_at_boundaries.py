"""Fault 1: SIGKILL at every boundary between effects, again and again, on one database and one group."""

from __future__ import annotations

import os
import sys
from itertools import cycle

from stream.boundaries import Boundary
from tests.faults.lab import Lab
from tests.faults.scenarios import Form, Outcome, conclude, rng_of

NUMBER = 1
TITLE = "SIGKILL at every boundary"
ALSO_CLASSIC = True
BATCH = 24
# of classify and relay, and how often a round reaches each at least: offsets may all be committed at once
REACHED: dict[Boundary, int] = {
    "fetch": BATCH,
    "decode": BATCH,
    "infer": BATCH,
    "before_commit": 3,
    "after_commit": 3,
    "offset_commit": 1,
    "outbox_ack": 1,
}
SESSION_S = 2.0  # each round waits for it
RECOVERY_LIMIT_S = SESSION_S + 30


def run(lab: Lab, form: Form) -> Outcome:
    rounds = int(os.environ.get("ROUNDS", 60 if form is Form.FULL else 12))
    rng = rng_of(lab, NUMBER)
    boundaries = cycle(REACHED)
    killed: dict[str, int] = {}
    slowest = 0.0
    with lab.field("kill", SESSION_S, classify__commit_batch=str(BATCH // 3), classify__commit_linger_ms="20") as field:
        for _ in range(rounds):
            boundary = next(boundaries)
            job, other = ("relay", "classify") if boundary == "outbox_ack" else ("classify", "relay")
            victim = field.start(job, kill_at=boundary, nth=rng.randint(1, REACHED[boundary]))
            helper = field.start(other)
            field.publish(BATCH)
            if not victim.wait(60):
                return Outcome(NUMBER, TITLE, {}, [f"{job} never reached {boundary}: {victim.log}"])
            killed[boundary] = killed.get(boundary, 0) + 1
            successor = field.start(job)
            slowest = max(slowest, field.await_settled(len(field.published), 120))
            successor.terminate(30)
            helper.terminate(30)
        failures = [f"recovery took {slowest:.1f} s"] if slowest > RECOVERY_LIMIT_S else []
        figures = {"rounds": rounds, "killed": killed, "slowest_recovery_s": round(slowest, 1)}
        return conclude(sys.modules[__name__], field, figures, failures)
