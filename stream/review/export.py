"""What reviewers said, as the lines that `reelsort train-signals --decisions` reads: labels in force that people gave,
each with the content's stored logits and the evidence stored beside its decision.

Audit samples stay out, whatever else people were asked about them later: error is estimated on them, and nothing may
learn from them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import psycopg

from models.decision.types import Reason
from schemas.errors import UserError
from stream.store.work import LiveModel

Connection = psycopg.Connection[Any]


class LeftOut(StrEnum):
    """Why a label that people gave teaches nothing, the first that holds."""

    AUDIT = "audit_sample"
    TAXONOMY = "other_taxonomy"  # than the model's
    LEVEL1 = "level1_alone"  # level 2 could not be told
    LOGITS = "no_logits"  # of this encoder, for the revision that was reviewed


class Reviewed(NamedTuple):
    """A label in force that a reviewer gave. logits: both levels' as stored, None where this encoder left none."""

    video_id: str
    revision: int
    published_at: datetime
    taxonomy_id: str
    level2: str | None
    evidence: dict[str, Any]
    logits: tuple[bytes, bytes] | None
    audited: bool  # people were once asked about this video as an audit sample


# From what reviewers wrote down, which is little, to labels, which are many.
_REVIEWED = """
SELECT c.video_id, c.revision, c.published_at, c.taxonomy_id, c.level2, d.evidence, p.level1_logits, p.level2_logits,
       EXISTS (SELECT FROM review_tasks t WHERE t.video_id = c.video_id AND %s = ANY(t.reasons))
  FROM (SELECT DISTINCT video_id FROM review_decisions WHERE verdict IN ('confirm', 'correct')) AS r
  JOIN current_labels c USING (video_id)
  JOIN decisions d ON d.video_id = c.video_id AND d.decision_id = c.decision_id
  LEFT JOIN predictions p ON p.video_id = c.video_id AND p.revision = c.revision AND p.encoder_id = %s
 WHERE c.source = 'human' AND c.status IN ('labelled', 'labelled_level1')
 ORDER BY c.video_id COLLATE "C"
"""
_AT_ONCE = 500


def reviewed(connection: Connection, encoder_id: str) -> Iterator[Reviewed]:
    """Every label in force that people gave, as of one moment, by video_id. The connection is in autocommit mode."""
    with connection.transaction(), connection.cursor("reviewed") as cursor:
        cursor.itersize = _AT_ONCE
        cursor.execute(_REVIEWED, [Reason.AUDIT_SAMPLE.value, encoder_id])
        for video_id, revision, published_at, taxonomy_id, level2, evidence, *logits, audited in cursor:
            stored = None if logits[0] is None else (logits[0], logits[1])
            yield Reviewed(video_id, revision, published_at, taxonomy_id, level2, evidence, stored, audited)


def why_not(each: Reviewed, taxonomy_id: str) -> LeftOut | None:
    """Why a label is no line of the export; None where it is one."""
    if each.audited:
        return LeftOut.AUDIT
    if each.taxonomy_id != taxonomy_id:
        return LeftOut.TAXONOMY
    if each.level2 is None:
        return LeftOut.LEVEL1
    return LeftOut.LOGITS if each.logits is None else None


def line_of(each: Reviewed) -> bytes:
    """A line that models.training.signal_items.DecisionRow reads, of a label that why_not() lets pass."""
    assert each.logits is not None
    level1, level2 = (np.frombuffer(raw, "<f4").tolist() for raw in each.logits)
    line = {
        "video_id": each.video_id,
        "revision": each.revision,
        "published_at": each.published_at.astimezone(UTC),
        "level1_logits": level1,
        "level2_logits": level2,
        # what the signals did is left where it is: only what they were is learnt from
        "evidence": {kind: each.evidence.get(kind) for kind in ("author", "engagement")},
        "label": each.level2,
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def export(connection: Connection, model: LiveModel, path: Path) -> tuple[int, Counter[LeftOut]]:
    """Write the file whole or not at all. Returns how many lines it has, and what was left out.

    Raises UserError where it cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    written, left_out = 0, Counter[LeftOut]()
    try:
        try:
            with partial.open("wb") as file:
                for each in reviewed(connection, model.encoder_id):
                    if (reason := why_not(each, model.taxonomy_id)) is not None:
                        left_out[reason] += 1
                        continue
                    file.write(line_of(each))
                    written += 1
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}", "name another file") from error
    return written, left_out
