"""Names that anyone derives alike: the same decision has the same id on every worker and in every attempt.

All ids are version-5 UUIDs under fixed namespaces, so that a redelivered event writes the rows it wrote before.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from hashlib import sha1
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


def decision_bytes(
    video_id: str, revision: int, model_id: str, run_id: str, trigger: str, label_revision: int | None = None
) -> bytes:
    """decision_id(...).bytes, at a third of its cost: for writers of many rows."""
    number, label = str(revision), str(label_revision)
    shared = _shared(model_id, run_id, trigger)
    return _raw5(_DECISIONS, f"{len(video_id)}:{video_id},{len(number)}:{number},{shared}{len(label)}:{label},")


def task_id(decision: UUID) -> UUID:
    """The id of the review task a decision asks for."""
    return uuid5(TASKS, decision.hex)


def task_bytes(decision: bytes) -> bytes:
    """task_id(UUID(bytes=decision)).bytes, at a third of its cost."""
    return _raw5(_TASKS, decision.hex())


def event_id(event_type: str, cause: UUID) -> UUID:
    """ce_id of the event of this type that a decision or task causes: sent twice, it is known as one."""
    return uuid5(EVENTS, _joined(event_type, cause.hex))


def event_id_text(event_type: str, cause: bytes) -> str:
    """str(event_id(event_type, UUID(bytes=cause))), at a third of its cost."""
    return text_of(_raw5(_EVENTS, f"{len(event_type)}:{event_type},32:{cause.hex()},"))


def text_of(raw: bytes) -> str:
    """str(UUID(bytes=raw))."""
    digits = raw.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def shard_of(video_id: str) -> int:
    """CRC-32 (zlib) of the UTF-8 bytes, modulo 64: which relay sends this video's records."""
    return zlib.crc32(video_id.encode("utf-8")) % SHARDS


_DECISIONS, _TASKS, _EVENTS = DECISIONS.bytes, TASKS.bytes, EVENTS.bytes
_FREE_BITS = (1 << 128) - 1 ^ (0xF << 76) ^ (0x3 << 62)  # RFC 9562, section 5.5: all but version and variant
_VERSION_5 = 0x5 << 76 | 0x2 << 62


def _raw5(namespace: bytes, name: str) -> bytes:
    """uuid5(namespace, name).bytes: most of uuid5's time goes into the UUID object."""
    digest = sha1(namespace + name.encode(), usedforsecurity=False).digest()
    return (int.from_bytes(digest[:16]) & _FREE_BITS | _VERSION_5).to_bytes(16)


@lru_cache(maxsize=64)
def _shared(model_id: str, run_id: str, trigger: str) -> str:
    """What many decisions have in common."""
    return _joined(model_id, run_id, trigger)


def _joined(*parts: str) -> str:
    """Netstrings: no two different lists of parts join to the same text."""
    return "".join(f"{len(part)}:{part}," for part in parts)
