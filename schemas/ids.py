"""Names that anyone derives alike: the same decision has the same id on every worker and in every attempt.

All ids are version-5 UUIDs under fixed namespaces, so that a redelivered event writes the rows it wrote before.
"""

from __future__ import annotations

import zlib
from uuid import UUID, uuid5

SHARDS = 64

DECISIONS = UUID("6f1d0b5e-3c53-5b0e-9a53-0d8f0c7d2a11")
TASKS = UUID("b2c7a4a0-8f0b-5f2d-8d61-7a1f4f6e9c22")
EVENTS = UUID("0a9e8c5d-17c4-5d0f-a3be-5c2f86d1e733")


def decision_id(
    video_id: str, revision: int, model_id: str, run_id: str, trigger: str, label_revision: int | None = None
) -> UUID:
    """The id of a decision.

    Publish and replay decide once per (video, revision, model, run) and leave label_revision out; triggers that may
    move a label again and again (engagement, author, review, rollback) name the label_revision they make.
    """
    return uuid5(DECISIONS, _joined(video_id, str(revision), model_id, run_id, trigger, str(label_revision)))


def task_id(decision: UUID) -> UUID:
    """The id of the review task a decision asks for."""
    return uuid5(TASKS, decision.hex)


def event_id(event_type: str, cause: UUID) -> UUID:
    """ce_id of the event of this type that a decision or task causes: sent twice, it is known as one."""
    return uuid5(EVENTS, _joined(event_type, cause.hex))


def shard_of(video_id: str) -> int:
    """CRC-32 (zlib) of the UTF-8 bytes, modulo 64: which relay sends this video's records."""
    return zlib.crc32(video_id.encode("utf-8")) % SHARDS


def _joined(*parts: str) -> str:
    """Netstrings: no two different lists of parts join to the same text."""
    return "".join(f"{len(part)}:{part}," for part in parts)
