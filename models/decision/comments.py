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
_AT_ONCE = 256  # comments whose n-grams are added up together: what they say then fits into a cache


def gram_buckets(comment: str, buckets: int) -> IntArray:
    """The buckets of a comment's n-grams, each once and rising; arithmetic alone, so equal everywhere and for ever."""
    return _grams([_plain(comment)], buckets)[1]


def votes_of(videos: Sequence[Sequence[str]], grams: NDArray[np.float16], base: DoubleArray) -> DoubleArray:
    """[B, C2]: the votes of each video's comments, of one in sum for each comment; a blank one has none.

    grams: [buckets, C2]. Every video's are the same to the last bit, whatever the batch.
    """
    total = np.zeros((len(videos), grams.shape[1]))
    places: dict[str, int] = {}
    said = [
        (row, places.setdefault(text, len(places)))
        for row, comments in enumerate(videos)
        for text in map(_plain, comments)
        if text
    ]
    if said:
        rows, texts = np.array(said).T
        np.add.at(total, rows, _shares(list(places), grams, np.log(base))[texts])
    return total


def _shares(texts: Sequence[str], grams: NDArray[np.float16], prior: DoubleArray) -> DoubleArray:
    """[T, C2]: the vote of each text, of which none is blank."""
    said = np.empty((len(texts), len(prior)))
    for begin in range(0, len(texts), _AT_ONCE):
        owners, buckets = _grams(texts[begin : begin + _AT_ONCE], len(grams))
        firsts = np.flatnonzero(np.diff(owners, prepend=-1))
        said[begin : begin + _AT_ONCE] = prior + np.add.reduceat(grams[buckets].astype(np.float64), firsts)
    share = np.exp(said - said.max(axis=1, keepdims=True))
    return np.asarray(share / share.sum(axis=1, keepdims=True))


def _plain(comment: str) -> str:
    return " ".join(comment.split()).lower()


def _grams(texts: Sequence[str], buckets: int) -> tuple[IntArray, IntArray]:
    """[N] which text, and [N] the bucket of one of its n-grams: each pair once, rising."""
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    owners, ends = np.repeat(np.arange(len(texts)), lengths), np.repeat(np.cumsum(lengths), lengths)
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint64)
    starts, state, found = np.arange(len(codes)), np.zeros_like(codes), []
    for length in range(1, LONGEST + 1):
        within = starts + length <= ends[starts]
        # state stands for the `length` characters from each start on
        starts, state = starts[within], state[within]
        state = _mixed(state + codes[starts + length - 1])
        found.append(owners[starts] * buckets + (state % np.uint64(buckets)).astype(np.int64))
    # np.unique would import numpy's masked arrays, in the middle of the first batch
    pairs = np.sort(np.concatenate(found))
    owners, places = np.divmod(pairs[np.diff(pairs, prepend=-1) > 0], buckets)
    return owners, places


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = (state + np.uint64(1)) * _MULTIPLIER
    return np.asarray(state ^ (state >> np.uint64(29)))
