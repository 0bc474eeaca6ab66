"""What a signal head is shown of a video: what was known by and by, and what a brigade would make of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from models.decision.comments import votes_of
from models.decision.probabilities import DoubleArray, joint_logits
from models.decision.signal_head import Features, features
from models.decision.types import Evidence, Policy
from models.training.comment_grams import GramModel
from models.training.signal_items import Item

BRIGADED = 0.2  # of a video's weight: what the head is shown of fake comments
FAKES = 0.05  # of the viewers of a brigaded video
WRITERS = 0.1  # of viewers: they comment
SAMPLE = 20  # comments of a snapshot


@dataclass(frozen=True, slots=True)
class Samples:
    """R pieces of evidence. content: [R, C2] log-probabilities but for a constant; votes: [R, C2]; comment_base:
    [R, C2], the base of those votes; weight: [R], of one in sum for each video; latest: [R], all that is known."""

    features: Features
    content: DoubleArray
    votes: DoubleArray
    comment_base: DoubleArray
    target: NDArray[np.int64]
    weight: DoubleArray
    latest: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.target)


def samples_of(
    items: Sequence[Item], grams: GramModel, fakes: Sequence[tuple[str, ...]], policy: Policy
) -> Samples | None:
    """The items' evidence at every moment, without its author, and under a brigade that takes the video for what
    content thinks next best. fakes: texts by class. None where nothing is known of any item: there is nothing to learn.
    """
    found: list[tuple[Evidence, float, bool, int]] = []
    for item in items:
        honest = [item.evidence(None), *(item.evidence(each) for each in item.engagements)]
        last = len(honest) - 1
        if item.author is not None:
            honest.append(item.latest._replace(author=None))
        brigade = brigaded(item, fakes, policy)
        share = (1.0 if brigade is None else 1.0 - BRIGADED) / len(honest)
        found += [(each, share, place == last, item.target) for place, each in enumerate(honest)]
        if brigade is not None:
            found.append((brigade, BRIGADED, False, item.target))
    if not found:
        return None
    evidences = [each[0] for each in found]
    comments = [() if each.engagement is None else each.engagement.top_comments for each in evidences]
    voted = votes_of(comments, grams.grams, grams.base)
    samples = Samples(
        features=features(evidences, policy.n_level1),
        content=joint_logits(
            [each.content.level1_logits for each in evidences],
            [each.content.level2_logits for each in evidences],
            policy,
        ),
        votes=voted,
        comment_base=np.tile(grams.base, (len(found), 1)),
        target=np.array([each[3] for each in found], np.int64),
        weight=np.array([each[1] for each in found]),
        latest=np.array([each[2] for each in found], np.bool_),
    )
    # the head has no say where nothing is known
    known = [samples.features.history, samples.features.vertical, samples.features.interests, samples.features.audience]
    informed = np.any([each.any(axis=1) for each in (*known, voted)], axis=0)
    return chosen(samples, np.flatnonzero(informed)) if informed.any() else None


def chosen(samples: Samples, rows: NDArray[np.int64]) -> Samples:
    """The samples at `rows`."""
    inner = Features(*(getattr(samples.features, field.name)[rows] for field in fields(Features)))
    rest = {field.name: getattr(samples, field.name)[rows] for field in fields(Samples) if field.name != "features"}
    return Samples(features=inner, **rest)


def joined(parts: Sequence[Samples]) -> Samples:
    """All samples of the parts, in order."""
    inner = Features(
        *(np.concatenate([getattr(part.features, field.name) for part in parts]) for field in fields(Features))
    )
    names = [field.name for field in fields(Samples) if field.name != "features"]
    return Samples(features=inner, **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def brigaded(item: Item, fakes: Sequence[tuple[str, ...]], policy: Policy) -> Evidence | None:
    """The newest evidence, had a share of the viewers all spoken for the class that content takes it for next."""
    latest = item.latest.engagement
    if latest is None or not latest.plays:
        return None
    said = joint_logits([item.content.level1_logits], [item.content.level2_logits], policy)[0]
    said[item.target] = -np.inf
    texts = fakes[int(said.argmax())]
    if not texts:
        return None
    rng = np.random.default_rng(int.from_bytes(blake2b(f"fakes\0{item.video_id}".encode(), digest_size=8).digest()))
    count = max(1, round(latest.plays * FAKES / (1.0 - FAKES)))
    honest = list(latest.top_comments)
    if len(honest) >= SAMPLE:  # a sample of more: fakes take its places in proportion
        kept = round(SAMPLE * WRITERS / (WRITERS + FAKES))
        honest = [honest[place] for place in rng.permutation(len(honest))[:kept]]
        count = SAMPLE - kept
    false = [texts[place] for place in rng.permutation(len(texts))[:count]]
    return item.latest._replace(
        engagement=latest._replace(plays=latest.plays + count, top_comments=(*honest, *false)[:SAMPLE])
    )
