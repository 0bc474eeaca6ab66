"""The points between effects, by name: where a process may die, and what the fault tests therefore try.

Call as `boundaries.reached("before_commit")`, through the module, so that a test's entry point can put its own function
in its place. In production it does nothing.
"""

from __future__ import annotations

from typing import Literal

Boundary = Literal[
    "fetch",  # before bytes are fetched
    "decode",  # before a file is decoded
    "infer",  # before a model runs
    "after_profiles",  # profiles are committed, the labels they touch not looked at again
    "before_commit",  # everything written, the Postgres transaction not committed
    "after_commit",  # committed, nothing reported yet
    "offset_commit",  # before offsets are committed to Kafka
    "outbox_ack",  # Kafka has the outbox rows, Postgres still has them too
]


def reached(name: Boundary) -> None:
    """Nothing happens here."""
