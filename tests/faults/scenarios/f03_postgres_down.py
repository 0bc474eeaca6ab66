"""Fault 3: Postgres is down for a minute: no dead letter, no rebalance, memory bounded, caught up afterwards."""

from __future__ import annotations

import sys
import time

from tests.faults.lab import Lab
from tests.faults.scenarios import Form, Outcome, conclude

NUMBER = 3
TITLE = "Postgres down"
ALSO_CLASSIC = False
CAUGHT_UP_S = 180.0
MEMORY_GROWTH_LIMIT = 200 * 1024**2
MOVES = ("assigned:", "revoked:", "lost:")


def run(lab: Lab, form: Form) -> Outcome:
    down_s = 60.0 if form is Form.FULL else 12.0
    with lab.field("postgres") as field:
        workers = [field.start("relay"), field.start("classify")]
        field.publish(500)
        field.await_settled(500, 60)
        classify = workers[1]
        memory_before, joined_before = classify.resident_bytes(), field.logged("classify", *MOVES)
        lab.stop_server("postgres")
        peak = memory_before
        up_again = time.monotonic() + down_s
        while time.monotonic() < up_again:
            field.publish(200)
            peak = max(peak, classify.resident_bytes())
            time.sleep(0.5)  # the load itself
        lab.start_servers()
        caught_up = field.await_settled(len(field.published), CAUGHT_UP_S)
        rebalances = field.logged("classify", *MOVES) - joined_before
        failures = [f"{worker.job} ended: {worker.log}" for worker in workers if not worker.alive]
        if rebalances:
            failures.append(f"{rebalances} rebalances")
        if peak - memory_before > MEMORY_GROWTH_LIMIT:
            failures.append(f"memory grew by {(peak - memory_before) / 1024**2:.0f} MiB")
        figures = {
            "down_s": down_s,
            "caught_up_s": round(caught_up, 1),
            "rebalances": rebalances,
            "memory_growth_mib": round((peak - memory_before) / 1024**2),
        }
        return conclude(sys.modules[__name__], field, figures, failures)
