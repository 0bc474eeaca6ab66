"""Fault 6: every video takes longer than max.poll.interval.ms: the member keeps its place, nothing is done twice."""

from __future__ import annotations

import sys

from tests.faults.lab import Lab
from tests.faults.scenarios import Form, Outcome, conclude

NUMBER = 6
TITLE = "a batch longer than max.poll.interval.ms"
ALSO_CLASSIC = False


def run(lab: Lab, form: Form) -> Outcome:
    interval_s, count = (10.0, 48) if form is Form.FULL else (6.0, 16)
    settings = {
        "kafka__max_poll_interval_ms": str(int(interval_s * 1000)),
        "classify__stub_latency_ms": str(int(interval_s * 1500)),
    }
    with lab.field("slow", **settings) as field:
        field.start("relay")
        classify = field.start("classify")
        field.publish(count)
        longest = field.await_settled(count, 30 * interval_s)
        failures = [] if classify.alive else [f"classify ended: {classify.log}"]
        given_up = field.logged("classify", "revoked:", "lost:")
        if given_up:
            failures.append(f"partitions were given up {given_up} times")
        failures += field.stop()
        again = field.analyses() - count
        if again:
            failures.append(f"{again} videos were analysed again")
        figures = {
            "max_poll_interval_s": interval_s,
            "one_video_takes_s": 1.5 * interval_s,
            "all_took_s": round(longest, 1),
            "given_up": given_up,
            "analysed_again": again,
        }
        return conclude(sys.modules[__name__], field, figures, failures)
