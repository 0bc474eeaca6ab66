"""What character n-grams of comments say of classes: logistic regression of a video's class on one of its comments.

Minimised is the mean negative log-likelihood of the class given a comment, plus penalty / 2 * ||W||^2. Most comments
say nothing of their video; the penalty keeps what is said under few videos from being believed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, sparse

from models.decision.comments import gram_buckets
from models.decision.probabilities import DoubleArray
from models.training.signal_items import Comments

BUCKETS = 4096
PENALTIES = (3e-5, 1e-4, 3e-4, 1e-3)
_ITERATIONS = 40


@dataclass(frozen=True, slots=True)
class GramModel:
    """grams: [buckets, C2] nats; base: [C2] shares of the classes among comments."""

    grams: NDArray[np.float16]
    base: DoubleArray


def fit_grams(comments: Sequence[Comments], n_level2: int, penalty: float, *, buckets: int = BUCKETS) -> GramModel:
    """Without a single comment nothing is learnt: every n-gram says nothing."""
    _, texts, counts = _counted(comments, n_level2, buckets)
    total = counts.sum()
    base = (counts.sum(axis=0) + 1.0) / (total + n_level2)
    if not total:
        return GramModel(np.zeros((buckets, n_level2), np.float16), base)
    prior, voices = np.log(base), counts.sum(axis=1, keepdims=True)

    def loss(flat: DoubleArray) -> tuple[float, DoubleArray]:
        weights = flat.reshape(buckets, n_level2)
        log_shares = _log_shares(texts, weights, prior)
        gradient = texts.T @ (np.exp(log_shares) * voices - counts) / total + penalty * weights
        return float(-(counts * log_shares).sum() / total + penalty / 2 * (weights**2).sum()), gradient.ravel()

    start = np.zeros(buckets * n_level2)
    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _ITERATIONS})
    return GramModel(found.x.reshape(buckets, n_level2).astype(np.float16), base)


def gram_loss(model: GramModel, comments: Sequence[Comments]) -> float:
    """Mean negative log-likelihood of the classes of these comments; infinite without any, which says nothing."""
    _, texts, counts = _counted(comments, len(model.base), len(model.grams))
    if not counts.sum():
        return float("inf")
    log_shares = _log_shares(texts, model.grams.astype(np.float64), np.log(model.base))
    return float(-(counts * log_shares).sum() / counts.sum())


def choose_penalty(
    learnt: Sequence[Comments], judged: Sequence[Comments], n_level2: int, *, buckets: int = BUCKETS
) -> tuple[float, GramModel]:
    """The penalty under which `learnt` says most of `judged`, from strong to weak until it gets no better, and what
    was learnt with it."""
    penalty, model = PENALTIES[-1], fit_grams(learnt, n_level2, PENALTIES[-1], buckets=buckets)
    for weaker in reversed(PENALTIES[:-1]):
        candidate = fit_grams(learnt, n_level2, weaker, buckets=buckets)
        if gram_loss(candidate, judged) >= gram_loss(model, judged):
            break
        penalty, model = weaker, candidate
    return penalty, model


def loud_texts(model: GramModel, comments: Sequence[Comments], most: int) -> list[tuple[str, ...]]:
    """For each class, the texts of `comments` that speak for it most clearly: what a brigade would write."""
    names, texts, _ = _counted(comments, len(model.base), len(model.grams))
    log_shares = _log_shares(texts, model.grams.astype(np.float64), np.log(model.base))
    order = np.argsort(-log_shares, axis=0, kind="stable")[:most]
    return [tuple(names[place] for place in column) for column in order.T.tolist()]


def _log_shares(texts: sparse.csr_matrix, weights: DoubleArray, prior: DoubleArray) -> DoubleArray:
    said = np.asarray(texts @ weights) + prior
    if not len(said):
        return said
    said -= said.max(axis=1, keepdims=True)
    return np.asarray(said - np.log(np.exp(said).sum(axis=1, keepdims=True)))


def _counted(
    comments: Sequence[Comments], n_level2: int, buckets: int
) -> tuple[list[str], sparse.csr_matrix, DoubleArray]:
    """Distinct texts, as n-gram flags [T, buckets], and how often a video of each class has them [T, C2]."""
    places: dict[str, int] = {}
    found = [
        (places.setdefault(text, len(places)), video.target)
        for video in comments
        for text in (" ".join(each.split()).lower() for each in video.texts)
        if text
    ]
    counts = np.zeros((len(places), n_level2))
    np.add.at(counts, tuple(np.array(found, np.int64).reshape(-1, 2).T), 1.0)
    columns = [gram_buckets(text, buckets) for text in places]
    starts = np.cumsum([0, *map(len, columns)])
    indices = np.concatenate([*columns, np.zeros(0, np.int64)])
    flags = sparse.csr_matrix((np.ones(len(indices)), indices, starts), shape=(len(places), buckets))
    return list(places), flags, counts
