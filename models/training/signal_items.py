"""What a signal head learns from: videos with content logits, a label, and what became known of them by and by."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from models.decision.evidence import (
    HistoryRow,
    author_evidence,
    engagement_evidence,
    evidence_from_json,
    history_of,
)
from models.decision.probabilities import hierarchical
from models.decision.types import AuthorEvidence, ContentEvidence, EngagementEvidence, Evidence, Policy
from models.training.predict import Logits
from schemas.errors import UserError
from schemas.manifest import ManifestRow, SignalsRow
from schemas.taxonomy import Taxonomy


@dataclass(frozen=True, slots=True)
class Item:
    """A labelled video. target: its level-2 index; engagements: how people behaved, each later than the one before."""

    video_id: str
    revision: int
    content: ContentEvidence
    target: int
    author: AuthorEvidence | None
    engagements: tuple[EngagementEvidence, ...]

    def evidence(self, engagement: EngagementEvidence | None) -> Evidence:
        """All that a decision may look at, at the moment when this engagement was known."""
        return Evidence(self.video_id, self.revision, self.content, self.author, engagement)

    @property
    def latest(self) -> Evidence:
        return self.evidence(self.engagements[-1] if self.engagements else None)


@dataclass(frozen=True, slots=True)
class Comments:
    """The comments of a labelled video, from which n-grams are learnt."""

    video_id: str
    target: int
    texts: tuple[str, ...]


def items_of(
    rows: Sequence[ManifestRow],
    logits: Logits,
    targets: Sequence[int],
    past: Iterable[ManifestRow],
    signals: Mapping[tuple[str, int], SignalsRow],
    taxonomy: Taxonomy,
    policy: Policy,
) -> list[Item]:
    """The videos of `rows` with what signals.jsonl says of them. logits and targets are in the order of rows.

    An author's history is of the author's earlier videos: those of `past` by their label, as people gave it, those
    of `rows` by their content-only probabilities.
    """
    level1 = [category.id for category in taxonomy.level1]
    shares = hierarchical(logits.level1, logits.level2, policy).level1.astype(np.float32)
    histories: defaultdict[str, list[HistoryRow]] = defaultdict(list)
    for row in past:
        if row.label in taxonomy.level2_index:
            human = taxonomy.parent_index[taxonomy.level2_index[row.label]]
            histories[row.author_id].append(HistoryRow(row.video_id, row.revision, row.published_at, None, human))
    for row, share in zip(rows, shares, strict=True):
        histories[row.author_id].append(HistoryRow(row.video_id, row.revision, row.published_at, share))
    items = []
    for place, row in enumerate(rows):
        known = signals.get((row.video_id, row.revision))
        history = history_of(histories[row.author_id], len(level1), video_id=row.video_id, before=row.published_at)
        snapshots = () if known is None else known.snapshots
        engagements = (engagement_evidence(snapshot, level1) for snapshot in snapshots)
        items.append(
            Item(
                video_id=row.video_id,
                revision=row.revision,
                content=ContentEvidence(logits.level1[place], logits.level2[place]),
                target=targets[place],
                author=author_evidence(None if known is None else known.profile, history, level1),
                engagements=tuple(each for each in engagements if each is not None),
            )
        )
    return items


def comments_of(
    rows: Iterable[ManifestRow], signals: Mapping[tuple[str, int], SignalsRow], taxonomy: Taxonomy
) -> list[Comments]:
    """The newest comments of every labelled video."""
    found = []
    for row in rows:
        known = signals.get((row.video_id, row.revision))
        if row.label in taxonomy.level2_index and known is not None and known.snapshots:
            found.append(Comments(row.video_id, taxonomy.level2_index[row.label], known.snapshots[-1].top_comments))
    return found


class DecisionRow(BaseModel):
    """A stored decision of which people said what is right. Logits are the content's; evidence as evidence_json()."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    video_id: str
    revision: int = 0
    published_at: AwareDatetime | datetime
    level1_logits: tuple[float, ...]
    level2_logits: tuple[float, ...]
    evidence: dict[str, Any]
    label: str


def read_decisions(path: Path, taxonomy: Taxonomy) -> list[Item]:
    """Items from stored decisions (JSONL), each with the evidence that the decision saw.

    Raises UserError, naming the line, where one is not what it should be.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", "name a file of stored decisions") from error
    level1 = [category.id for category in taxonomy.level1]
    items = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row = _decision(path, number, line, taxonomy)
        try:
            author, engagement = evidence_from_json(row.evidence, level1)
        except (TypeError, ValueError, AttributeError) as error:
            raise _bad_line(path, number, f"evidence: {error}") from error
        items.append(
            Item(
                video_id=row.video_id,
                revision=row.revision,
                content=ContentEvidence(
                    np.array(row.level1_logits, np.float32), np.array(row.level2_logits, np.float32)
                ),
                target=taxonomy.level2_index[row.label],
                author=author,
                engagements=() if engagement is None else (engagement,),
            )
        )
    return items


def _decision(path: Path, number: int, line: bytes, taxonomy: Taxonomy) -> DecisionRow:
    try:
        row = DecisionRow.model_validate(json.loads(line))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _bad_line(path, number, f"{where}: {first['msg']}") from error
    except ValueError as error:
        raise _bad_line(path, number, f"it is not JSON: {error}") from error
    if (len(row.level1_logits), len(row.level2_logits)) != (len(taxonomy.level1), len(taxonomy.level2)):
        raise _bad_line(path, number, "its logits are of another taxonomy than the bundle's")
    if row.label not in taxonomy.level2_index:
        raise _bad_line(path, number, f"the label {row.label} is no category of this bundle")
    return row


def _bad_line(path: Path, number: int, what: str) -> UserError:
    return UserError(f"{path}, line {number}: {what}", "mend or remove the line")
