"""Files of this machine through the analyzer and decide(): no Kafka, no database, nothing remembered."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from models.bundle import Bundle
from models.decision.decide import decide_many
from models.decision.types import ContentEvidence, Decision, Evidence
from schemas.manifest import ManifestRow
from stream.classify.analyse import Analysis, Analyzer, PoisonError, TransientError
from stream.publish import event_of

Failure = PoisonError | TransientError


@dataclass(frozen=True, slots=True)
class LocalVideo:
    """What is known of a video, and where it lies: row.path under `root`."""

    row: ManifestRow
    root: Path


@dataclass(frozen=True, slots=True)
class Labelled:
    """A video and what the model says of it."""

    video: LocalVideo
    analysis: Analysis
    decision: Decision


@dataclass(frozen=True, slots=True)
class Failed:
    """A video that could not be analysed, and why."""

    video: LocalVideo
    failure: Failure


def classify_files(
    videos: Sequence[LocalVideo], bundle: Bundle, analyzer: Analyzer, on_done: Callable[[], None]
) -> list[Labelled | Failed]:
    """One outcome a video, in the order given; `on_done` is called as each is finished, from any thread.

    Decided as the classify job would with the same bundle, but for the audit sample: nobody audits a file.
    """
    outcomes: dict[int, Analysis | Failure] = {}
    changed = threading.Condition()

    def done(place: int, outcome: Analysis | Failure) -> None:
        on_done()
        with changed:
            outcomes[place] = outcome
            changed.notify_all()

    for place, video in enumerate(videos):
        analyzer.submit(event_of(video.row, video.root), partial(done, place))
    with changed:
        changed.wait_for(lambda: len(outcomes) == len(videos))

    analysed = {place: outcome for place, outcome in outcomes.items() if isinstance(outcome, Analysis)}
    decisions = decide_many(
        [_evidence(videos[place].row, analysis) for place, analysis in analysed.items()],
        replace(bundle.policy, audit_rate=0.0),
    )
    labelled = {
        place: Labelled(videos[place], analysis, decision)
        for (place, analysis), decision in zip(analysed.items(), decisions, strict=True)
    }
    return [
        Failed(video, outcome) if not isinstance(outcome := outcomes[place], Analysis) else labelled[place]
        for place, video in enumerate(videos)
    ]


def _evidence(row: ManifestRow, analysis: Analysis) -> Evidence:
    return Evidence(
        video_id=row.video_id,
        revision=row.revision,
        content=ContentEvidence(analysis.level1_logits, analysis.level2_logits),
    )
