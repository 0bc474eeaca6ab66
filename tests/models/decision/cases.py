"""Policies and evidence for the tests of decisions, by hand and by hypothesis."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from models.decision.types import ContentEvidence, Evidence, Policy


def make_policy(parent: list[int], **changes: Any) -> Policy:
    """A policy over the given hierarchy that accepts at one half and audits nobody, unless told otherwise."""
    n_level1 = max(parent) + 1
    fields: dict[str, Any] = {
        "policy_id": "pol-test",
        "parent": np.array(parent, dtype=np.int64),
        "n_level1": n_level1,
        "temperature_level1": 1.0,
        "temperature_level2": 1.0,
        "log_class_scale": np.zeros(len(parent), dtype=np.float32),
        "level2_thresholds": np.full(len(parent), 0.5, dtype=np.float32),
        "level1_thresholds": np.full(n_level1, 0.5, dtype=np.float32),
        "min_margin": 0.0,
        "tail_classes": frozenset(),
        "audit_rate": 0.0,
        "target_risk": 0.05,
    }
    return Policy(**(fields | changes))


def make_evidence(level2_logits: list[float], level1_logits: list[float], video_id: str = "v") -> Evidence:
    content = ContentEvidence(np.array(level1_logits, dtype=np.float32), np.array(level2_logits, dtype=np.float32))
    return Evidence(video_id=video_id, revision=0, content=content)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    n_level1 = draw(st.integers(1, 6))
    extra = draw(st.lists(st.integers(0, n_level1 - 1), max_size=12))
    parent = draw(st.permutations([*range(n_level1), *extra]))
    shares = st.floats(0.0, 1.0, width=32)
    return make_policy(
        parent,
        temperature_level1=draw(st.floats(0.25, 4.0)),
        temperature_level2=draw(st.floats(0.25, 4.0)),
        log_class_scale=draw(npst.arrays(np.float32, len(parent), elements=st.floats(-3, 3, width=32))),
        level2_thresholds=draw(npst.arrays(np.float32, len(parent), elements=shares | st.just(2.0))),
        level1_thresholds=draw(npst.arrays(np.float32, n_level1, elements=shares | st.just(2.0))),
        min_margin=draw(st.floats(0.0, 0.5)),
        tail_classes=draw(st.frozensets(st.integers(0, len(parent) - 1), max_size=3)),
        audit_rate=draw(st.sampled_from([0.0, 0.3, 1.0])),
        top_k=draw(st.integers(1, 6)),
    )


def logits(size: int) -> st.SearchStrategy[np.ndarray[Any, Any]]:
    return npst.arrays(np.float32, size, elements=st.floats(-60, 60, width=32))


def evidences(policy: Policy) -> st.SearchStrategy[Evidence]:
    content = st.builds(ContentEvidence, logits(policy.n_level1), logits(len(policy.parent)))
    return st.builds(
        Evidence, video_id=st.text(min_size=1, max_size=8), revision=st.integers(0, 5), content=content,
        author=st.none(), engagement=st.none(),
    )  # fmt: skip
