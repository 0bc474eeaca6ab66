"""Fault 8: videos, profiles and snapshots in any order, several times, to two classify and two rescore processes, one
of which is killed at each boundary in turn."""

from __future__ import annotations

import re
import sys
from itertools import cycle, islice

from stream.boundaries import Boundary
from tests.faults.field import Field, wait_for
from tests.faults.lab import Lab
from tests.faults.ledger import misnumbered
from tests.faults.processes import Worker
from tests.faults.scenarios import Form, Outcome, conclude, rng_of
from tests.faults.signals import Signals

NUMBER = 8
TITLE = "signals in any order, SIGKILL of rescore"
ALSO_CLASSIC = True
VIDEOS = 24  # a round
# how often a round reaches each boundary at least: offsets may all be committed at once
REACHED: dict[Boundary, int] = {"after_profiles": 2, "before_commit": 3, "after_commit": 3, "offset_commit": 1}
SESSION_S = 2.0  # each round waits for it
RECOVERY_LIMIT_S = SESSION_S + 30
SMALL_BATCHES = {
    "classify__commit_batch": "8",
    "classify__commit_linger_ms": "20",
    "rescore__commit_batch": "8",
    "rescore__commit_linger_ms": "20",
}


def run(lab: Lab, form: Form) -> Outcome:
    rounds = 40 if form is Form.FULL else len(REACHED)
    rng = rng_of(lab, NUMBER)
    killed: dict[str, int] = {}
    past: list[str] = []
    slowest = 0.0
    with lab.field("signals", SESSION_S, **SMALL_BATCHES) as field:
        signals = Signals(field, rng)
        for job in ("relay", "classify", "classify", "rescore"):
            field.start(job)
        for boundary in islice(cycle(REACHED), rounds):
            victim = field.start("rescore", kill_at=boundary, nth=rng.randint(1, REACHED[boundary]))
            _await_share(victim)
            signals.send(VIDEOS)
            if not victim.wait(60):
                return Outcome(NUMBER, TITLE, {}, [f"rescore never reached {boundary}: {victim.log}"])
            killed[boundary] = killed.get(boundary, 0) + 1
            past += signals.committed_past_durable()
            slowest = max(slowest, signals.await_rest(120))
        signals.send_rest()
        signals.await_rest(120)
        failures = field.stop()
        wrong, moved = signals.differing(), _label_revisions(field)
        if slowest > RECOVERY_LIMIT_S:
            failures.append(f"recovery took {slowest:.1f} s")
        for name, found in (
            ("committed past durable", [*past, *signals.committed_past_durable()]),
            ("not what the newest evidence says", wrong),
            ("label_revision", misnumbered(moved, field.read_back().labels)),
        ):
            failures += [f"{name}: {', '.join(found[:3])}"] if found else []
        figures = signals.counts() | {
            "rounds": rounds,
            "killed": killed,
            "labels_moved": sum(len(revisions) - 1 for revisions in moved.values()),
            "labels_differing": len(wrong),
            "slowest_recovery_s": round(slowest, 1),
        }
        return conclude(sys.modules[__name__], field, figures, failures)


def _await_share(worker: Worker) -> None:
    """Until it holds partitions."""
    wait_for(
        lambda: worker.log.exists() and re.search(r"assigned: \S+\[", worker.log.read_text()) is not None,
        60,
        lambda: f"no partitions: {worker.log}",
    )


def _label_revisions(field: Field) -> dict[str, list[int]]:
    """video_id -> the label_revision of each decision that came into force."""
    return dict(
        field.query(
            "SELECT video_id, array_agg(label_revision) FROM decisions WHERE label_revision IS NOT NULL GROUP BY 1"
        )
    )
