"""What the platform says of a generated author: a profile that is mostly right. Pure.

A profile depends on the author's id and the week alone: the id names the seed of the author's world.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
from numpy.typing import NDArray

from models.synthetic.design import LEVEL1
from models.synthetic.sampling import AUTHORS, SPLITS, world
from schemas.errors import UserError
from schemas.events import AuthorProfile, InterestWeight

MAIN_MISSING = 0.15  # of authors: the platform names no main vertical
MAIN_WRONG = 0.10  # of the others: it names one that is not the strongest
INTEREST_NOISE = 0.3  # of the mass of an author's interests
INTERESTS = 4  # named at most
SMALLEST_INTEREST = 0.05

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WEEK = timedelta(days=7)
_FIRST_WEEK = (datetime(2026, 1, 1, tzinfo=UTC) - _EPOCH) // _WEEK
_WEEKLY_GROWTH = 1.005  # of the followers
_TYPICAL_FOLLOWERS = 3000
_AUTHOR_ID = re.compile(r"s(\d{1,18})-author-(\d{4})")


@dataclass(frozen=True, slots=True)
class Author:
    """One author of a world. verticals: [L1] shares of what the author publishes; activity: 1 is the average."""

    seed: int
    index: int
    verticals: NDArray[np.float64]
    activity: float


def author_of(author_id: str) -> Author:
    """The author behind an id as draw_item() gives it. Raises UserError for any other."""
    found = _AUTHOR_ID.fullmatch(author_id)
    if found is None or int(found[2]) >= AUTHORS:
        raise UserError(
            f"the author {author_id} is not one of the generator's: nothing is known of their verticals",
            "give videos that `reelsort data make` made",
        )
    seed, index = int(found[1]), int(found[2])
    authors = world(seed)
    return Author(seed, index, authors.verticals[index], float(authors.activity[index] * AUTHORS))


def draw_profile(author_id: str, at: datetime) -> AuthorProfile:
    """The author's profile as it was at `at`; it is written anew each week. Raises UserError as author_of() does."""
    week = (at - _EPOCH) // _WEEK
    main, interests, verified, followers = _drawn(author_id)
    return AuthorProfile(
        author_id=author_id,
        seq=week,
        main_vertical=main,
        interests=interests,
        verified=verified,
        followers=round(followers * _WEEKLY_GROWTH ** (week - _FIRST_WEEK)),
        updated_at=_EPOCH + week * _WEEK,
    )


@cache
def _drawn(author_id: str) -> tuple[str | None, tuple[InterestWeight, ...], bool, float]:
    """(main vertical, interests, verified, followers in the first week of the world)."""
    author = author_of(author_id)
    rng = np.random.default_rng(np.random.SeedSequence(author.seed, spawn_key=(len(SPLITS), author.index)))
    strongest = int(author.verticals.argmax())
    main: str | None = LEVEL1[strongest]
    if rng.random() < MAIN_WRONG:
        main = LEVEL1[(strongest + rng.integers(1, len(LEVEL1))) % len(LEVEL1)]
    if rng.random() < MAIN_MISSING:
        main = None
    noise = rng.dirichlet(np.full(len(LEVEL1), 0.3))
    weights = (1 - INTEREST_NOISE) * author.verticals + INTEREST_NOISE * noise
    interests = tuple(
        InterestWeight(category=LEVEL1[place], weight=round(float(weights[place]), 3))
        for place in np.argsort(-weights, kind="stable")[:INTERESTS]
        if weights[place] >= SMALLEST_INTEREST
    )
    verified = bool(rng.random() < min(0.6, 0.1 * author.activity))
    followers = _TYPICAL_FOLLOWERS * author.activity * float(rng.lognormal(0.0, 1.0))
    return main, interests, verified, followers
