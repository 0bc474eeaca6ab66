"""Fault 5: members join and leave every few seconds while videos arrive."""

from __future__ import annotations

import sys
import time

from tests.faults.lab import Lab
from tests.faults.scenarios import Form, Outcome, conclude, rng_of

NUMBER = 5
TITLE = "members join and leave"
ALSO_CLASSIC = True
VIDEO_MS = 20  # so that work is in hand whenever partitions move
PAUSE_S = 0.2  # between ten videos and the next: about 50 a second


def run(lab: Lab, form: Form) -> Outcome:
    rng = rng_of(lab, NUMBER)
    duration, interval = (600.0, 5.0) if form is Form.FULL else (20.0, 2.5)
    with lab.field("members", classify__stub_latency_ms=str(VIDEO_MS)) as field:
        field.start("relay")
        members = [field.start("classify")]
        changes = 0
        failures: list[str] = []
        end = time.monotonic() + duration
        while time.monotonic() < end:
            change_at = time.monotonic() + interval
            while time.monotonic() < change_at:
                field.publish(10)
                time.sleep(PAUSE_S)  # the load itself
            if len(members) < 2 or (len(members) < 4 and rng.random() < 0.5):
                members.append(field.start("classify"))
            else:
                leaver = members.pop(rng.randrange(len(members)))
                leaver.terminate(30)
                if leaver.returncode != 0:
                    failures.append(f"a leaving member ended with {leaver.returncode}: {leaver.log}")
            changes += 1
        field.await_settled(len(field.published), 120)
        failures += field.stop()
        revoked = field.logged("classify", "revoked:", "lost:")
        redone = field.analyses() - len(field.published)
        limit = revoked * field.settings.kafka.partitions * field.settings.classify.commit_batch
        if redone > limit:
            failures.append(f"{redone} videos analysed again, more than a batch for each partition and revocation")
        figures = {"changes": changes, "seconds": duration, "revocations": revoked, "analysed_again": redone}
        return conclude(sys.modules[__name__], field, figures, failures)
