"""Python's cyclic collector, out of the way of jobs that make many small objects."""

from __future__ import annotations

import gc


def collect_rarely() -> None:
    """Thousands of inputs are in hand at once and free themselves when they land: the cyclic collector, which looks at
    all of them after every 700 new objects, finds nothing and took a third of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 50, 100)
