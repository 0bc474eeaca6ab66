"""From labelled videos with signals to what a bundle needs to heed them: a head, its rules, and what they rest on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np

from models.decision.policy import PolicyFile, SignalRulesFile
from models.decision.types import Evidence, Policy, SignalHead
from models.decision.weigh import Posterior, posterior
from models.training.calibrate import (
    Target,
    accepted_at_level2,
    certify_classes,
    threshold_origins,
    threshold_values,
)
from models.training.metrics import IntArray, expected_calibration_error
from models.training.signal_items import Comments, Item
from models.training.signals import Fit, Progress, fit_head
from schemas.errors import UserError
from schemas.taxonomy import Taxonomy

CERTIFYING = 0.4  # of the videos: thresholds are certified on what the head was not fitted on


@dataclass(frozen=True, slots=True)
class Trained:
    """A head and the policy it belongs to. summary: figures on the videos that the head was not fitted on."""

    head: SignalHead
    policy: PolicyFile
    summary: dict[str, Any]


def train_signals(
    items: Sequence[Item],
    comments: Sequence[Comments],
    written: PolicyFile,
    policy: Policy,
    taxonomy: Taxonomy,
    *,
    margin: float,
    confidence: float,
    progress: Progress | None = None,
) -> Trained:
    """A head and rules for it, at the target risk of the policy.

    items: videos that the encoder was not trained on. Raises UserError where nothing is known of them, or where they
    are too few to fit and certify.
    """
    certifying = [item for item in items if certifies(item.video_id)]
    fitting = [item for item in items if not certifies(item.video_id)]
    if not certifying or not fitting:
        raise UserError(f"{len(items)} videos are too few to learn what signals are worth", "give hundreds")
    fit = fit_head(fitting, [each for each in comments if not certifies(each.video_id)], policy, progress=progress)
    evidences = [evidence_at_some_moment(item) for item in certifying]
    truth = np.array([item.target for item in certifying], np.int64)
    found = posterior(evidences, policy, fit.head, margin)
    target = Target(written.target_risk, confidence)
    level2 = certify_classes(
        confidence=found.level2_probability,
        right=found.level2 == truth,
        group=np.where(found.informed & found.clear, found.level2, -1),
        pool=policy.parent,
        target=target,
    )
    left = found.informed & ~accepted_at_level2(found, level2)
    level1 = certify_classes(
        confidence=found.level1_probability,
        right=found.level1 == policy.parent[truth],
        group=np.where(left, found.level1, -1),
        pool=np.zeros(policy.n_level1, np.int64),
        target=target,
    )
    names1, names2 = ([each.id for each in level] for level in (taxonomy.level1, taxonomy.level2))
    summary = _summary(fit, found, truth, evidences, policy, fitted=len(fitting))
    rules = SignalRulesFile(
        margin=margin,
        level1_thresholds=threshold_values(names1, level1),
        level2_thresholds=threshold_values(names2, level2),
        calibration={
            **summary,
            "confidence": confidence,
            "level1": threshold_origins(names1, level1),
            "level2": threshold_origins(names2, level2),
        },
    )
    return Trained(fit.head, written.model_copy(update={"signals": rules}), summary)


def certifies(video_id: str) -> bool:
    """Whether a video is kept from the head, to certify thresholds: the same ones in every call."""
    return _hashed("certify", video_id) < CERTIFYING


def evidence_at_some_moment(item: Item) -> Evidence:
    """What was known at one of the moments when something became known, all being equally likely."""
    if not item.engagements:
        return item.latest
    moments = len(item.engagements) + (item.author is not None)  # an author alone is known at first
    place = int(_hashed("moment", item.video_id) * moments)
    return item.evidence(item.engagements[place] if place < len(item.engagements) else None)


def _hashed(purpose: str, video_id: str) -> float:
    digest = blake2b(f"{purpose}\0{video_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2.0**64


def _summary(
    fit: Fit, found: Posterior, truth: IntArray, evidences: Sequence[Evidence], policy: Policy, *, fitted: int
) -> dict[str, Any]:
    content = posterior(
        [each._replace(author=None, engagement=None) for each in evidences], policy, fit.head, margin=float("inf")
    )
    rows = np.flatnonzero(found.informed)
    if not len(rows):
        raise UserError("nothing is known of these videos but their content", "give data with authors or engagement")

    def scores(answers: Posterior) -> dict[str, float]:
        right = answers.level2[rows] == truth[rows]
        chosen = answers.probabilities.level2[rows, truth[rows]]
        return {
            "accuracy": float(right.mean()),
            "ece": expected_calibration_error(answers.level2_probability[rows], right),
            "loss": float(-np.log(np.maximum(chosen, 1e-300)).mean()),
        }

    return {
        "fitted_items": fitted,
        "items": len(rows),
        "penalty": fit.penalty,
        "gram_penalty": fit.gram_penalty,
        "moved": float(found.moved[rows].mean()),
        "content": scores(content),
        "signals": scores(found),
    }
