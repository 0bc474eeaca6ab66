"""Comments as evidence: each is one vote, split among the classes by its hashed character n-grams.

P(j | comment) = softmax over j of log base_j + sum of W[bucket(g), j] over its distinct character n-grams g of one to
three characters (feature hashing, Weinberger et al. 2009). A video's comments are pooled by addition (a linear opinion
pool, Stone 1961): however sure a comment is, it is one vote among all.
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


def votes(comments: Sequence[str], grams: NDArray[np.float16], base: DoubleArray) -> DoubleArray:
    """[C2]: the comments' votes, of one in sum each. grams: [buckets, C2]; a blank comment has none."""
    total = np.zeros(grams.shape[1])
    prior = np.log(base)
    for comment in comments:
        found = gram_buckets(comment, len(grams))
        if len(found):
            said = prior + grams[found].sum(axis=0, dtype=np.float64)
            share = np.exp(said - said.max())
            total += share / share.sum()
    return total


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = (state + np.uint64(1)) * _MULTIPLIER
    return np.asarray(state ^ (state >> np.uint64(29)))
