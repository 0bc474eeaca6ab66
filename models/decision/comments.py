"""Comments as evidence: hashed character n-grams, each voice bounded.

x_j(comment) = sum of W[bucket(g), j] over its distinct character n-grams g of one to three characters (feature hashing,
Weinberger et al. 2009); e = b tanh(x / b); a video's K comments give sum(e) / (K + pseudo), which is never beyond b,
whatever anybody writes and however many of them do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.decision.probabilities import DoubleArray, IntArray

LONGEST = 3  # characters of an n-gram

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio (Knuth, volume 3, 6.4)


def gram_buckets(comment: str, buckets: int) -> IntArray:
    """The buckets of a comment's n-grams, each once and rising; arithmetic alone, so equal everywhere and for ever."""
    text = " ".join(comment.split()).lower()
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint64)
    hashes = []
    state = np.zeros_like(codes)
    for length in range(1, min(LONGEST, len(codes)) + 1):
        # state[i] stands for the `length` characters from i on
        state = _mixed(state[: len(codes) - length + 1] + codes[length - 1 :])
        hashes.append(state)
    if not hashes:
        return np.zeros(0, dtype=np.int64)
    return np.unique(np.concatenate(hashes) % np.uint64(buckets)).astype(np.int64)


def comment_evidence(comments: Sequence[str], grams: NDArray[np.float16], bound: float, pseudo: float) -> DoubleArray:
    """[C2]: what a video's comments say of each class. grams: [buckets, C2]; blank comments do not count."""
    total = np.zeros(grams.shape[1])
    voices = 0
    for comment in comments:
        found = gram_buckets(comment, len(grams))
        if len(found):
            voices += 1
            total += bounded(grams[found].sum(axis=0, dtype=np.float64), bound)
    return total / (voices + pseudo) if voices else total


def bounded(evidence: DoubleArray, bound: float) -> DoubleArray:
    """b tanh(x / b), elementwise: the evidence itself while it is small, and never beyond the bound."""
    return np.asarray(bound * np.tanh(evidence / bound))


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = (state + np.uint64(1)) * _MULTIPLIER
    return np.asarray(state ^ (state >> np.uint64(29)))
