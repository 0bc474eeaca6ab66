"""Which task people see first. Pure."""

from __future__ import annotations

import math
from datetime import timedelta

AGEING = timedelta(hours=6)  # a task that waited this long counts twice


def reach_of(followers: int | None, plays: int | None) -> float:
    """How many people a wrong label may meet, in decades: 1 for nobody known, 7 for ten million."""
    return math.log10(10 + (followers or 0) + (plays or 0))


def review_priority(harm: float, reach: float, uncertainty: float) -> float:
    """harm in [0, 1] of the category, reach of reach_of(), uncertainty in [0, 1]: their product."""
    return harm * reach * uncertainty


def aged(priority: float, waited: timedelta) -> float:
    """What a task's priority has grown to: linear in its wait, so that none is passed over for ever."""
    return priority * (1.0 + waited / AGEING)
