"""Fault 7: every event three times; the state must equal a clean run's."""

from __future__ import annotations

import sys
from typing import Any

from tests.faults.lab import Field, Lab
from tests.faults.scenarios import Form, Outcome, conclude

NUMBER = 7
TITLE = "every event three times"
ALSO_CLASSIC = False

_STATE = """
SELECT c.video_id, c.revision, c.label_revision, c.status, c.level1, c.level2, c.confidence::numeric(12, 9),
       encode(sha256(p.level2_logits), 'hex'), d.route, d.reasons,
       (SELECT count(*) FROM review_tasks t WHERE t.video_id = c.video_id)
FROM current_labels c JOIN predictions p USING (video_id, revision)
JOIN decisions d ON d.video_id = c.video_id AND d.decision_id = c.decision_id
ORDER BY c.video_id
"""


def run(lab: Lab, form: Form) -> Outcome:
    count = 3000 if form is Form.FULL else 400
    with lab.field("once") as clean:
        expected = _state_after(clean, count, times=1)
    with lab.field("thrice") as field:
        seen = _state_after(field, count, times=3)
        failures = [] if seen == expected and len(seen) == count else ["the state differs from a clean run's"]
        return conclude(sys.modules[__name__], field, {"events": 3 * count, "rows_compared": len(seen)}, failures)


def _state_after(field: Field, count: int, times: int) -> list[tuple[Any, ...]]:
    field.publish(count, times=times)
    field.start("relay")
    field.start("classify")
    field.await_settled(count, 120)
    return field.query(_STATE)
