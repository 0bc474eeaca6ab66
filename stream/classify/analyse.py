"""From a published video to logits: the interface, and what can go wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.events import VideoPublished

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Analysis:
    """What is stored in predictions."""

    level1_logits: FloatArray  # [C1]
    level2_logits: FloatArray  # [C2]
    embedding: FloatArray  # [E]
    frame_times: tuple[float, ...]  # seconds, the frames used
    timings: dict[str, float]  # stage -> seconds


class PoisonError(Exception):
    """This video can never be analysed: a dead letter. `code` is a stable word."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class TransientError(Exception):
    """Not now: a retry. `host` feeds the per-host breaker where the fault is a host's."""

    def __init__(self, code: str, detail: str, host: str | None = None) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.host = host


Done = Callable[[Analysis | PoisonError | TransientError], None]


class Analyzer(Protocol):
    """Analyses many videos at once, out of order. The stub and the real one are both this."""

    @property
    def encoder_id(self) -> str: ...

    def submit(self, video: VideoPublished, done: Done, *, alone: bool = False) -> None:
        """Start; `done` is called exactly once from any thread. Blocks when its bounded queues are full.

        alone: nothing else runs in this process meanwhile (a suspect of having killed it before).
        """
        ...

    def close(self, timeout: float) -> None:
        """Cancel what is queued, end threads and child processes."""
        ...
