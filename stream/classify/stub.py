"""A deterministic model that looks at no pixel: logits from a hash. For fault tests and benchmarks alone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from zlib import crc32

import numpy as np

from models.decision.types import Policy, SignalHead, SignalRules
from schemas.events import VideoPublished
from schemas.taxonomy import Level1, Level2, Prompts, Taxonomy
from stream import boundaries
from stream.classify.analyse import Analysis, Done
from stream.store.work import LiveModel

LEVEL1 = ("stub_a", "stub_b", "stub_c", "stub_d")
CHILDREN = 4
EMBEDDING_DIM = 16
WORKERS = 8  # videos at once, where the stub takes its time


@cache
def stub_taxonomy() -> Taxonomy:
    """The stub's categories, with names that can be told apart."""
    prompts = Prompts(zh=("类",), en=("category",))
    level1 = [Level1(id=name, zh=f"类{name[-1]}", en=f"class {name[-1]}", prompts=prompts, harm=0.5) for name in LEVEL1]
    return Taxonomy(
        version=1,
        name="stub",
        level1=tuple(level1),
        level2=tuple(
            Level2(
                id=f"{parent.id}.{child}",
                zh=f"{parent.zh}之{child}",
                en=f"topic {parent.id[-1]}{child}",
                prompts=prompts,
                harm=0.5,
                parent=parent.id,
            )
            for parent in level1
            for child in range(CHILDREN)
        ),
    )


def stub_model() -> LiveModel:
    """4 verticals of 4 topics each, thresholds that send some videos each way, and a head that weighs signals, but not
    what an author published before: the stub's answers shall not depend on the order in which videos come."""
    taxonomy = stub_taxonomy()
    level2 = tuple(category.id for category in taxonomy.level2)
    policy = Policy(
        policy_id="pol-stub",
        parent=np.repeat(np.arange(len(LEVEL1)), CHILDREN),
        n_level1=len(LEVEL1),
        temperature_level1=1.0,
        temperature_level2=1.0,
        log_class_scale=np.zeros(len(level2), np.float32),
        level2_thresholds=np.full(len(level2), 0.5, np.float32),
        level1_thresholds=np.full(len(LEVEL1), 0.6, np.float32),
        min_margin=0.05,
        tail_classes=frozenset(),
        audit_rate=0.02,
        target_risk=0.05,
        signals=SignalRules(
            head=_head(),
            margin=0.5,
            level2_thresholds=np.full(len(level2), 0.5, np.float32),
            level1_thresholds=np.full(len(LEVEL1), 0.6, np.float32),
            report_count=5,
            report_share=0.05,
        ),
    )
    return LiveModel(
        name="stub",
        model_id="enc-stub.pol-stub",
        encoder_id="enc-stub",
        policy_id="pol-stub",
        taxonomy_id=taxonomy.id,
        level1=LEVEL1,
        level2=level2,
        harm=tuple(category.harm for category in taxonomy.level2),
        policy=policy,
        epoch=0,
    )


def _head() -> SignalHead:
    return SignalHead(
        content=1.0,
        content_top=0.0,
        entropy_slope=0.0,
        base=np.full(len(LEVEL1), 1 / len(LEVEL1)),
        audience_base=np.full(len(LEVEL1), 1 / len(LEVEL1)),
        history_weight=0.0,
        history_pseudo=5.0,
        vertical_weight=1.5,
        vertical_verified=0.5,
        interests_weight=0.5,
        interests_pseudo=1.0,
        audience_weight=2.0,
        audience_completion=1.0,
        audience_pseudo=20.0,
        comments_weight=0.0,
        comments_bound=3.0,
        comments_pseudo=2.0,
        comment_grams=np.zeros((16, len(LEVEL1) * CHILDREN), np.float16),
        comment_base=np.full(len(LEVEL1) * CHILDREN, 1 / (len(LEVEL1) * CHILDREN)),
    )


class StubAnalyzer:
    """The Analyzer protocol over a hash of (video_id, revision)."""

    def __init__(self, latency_s: float = 0.0) -> None:
        self._latency_s = latency_s
        self._closed = threading.Event()
        self._pool = ThreadPoolExecutor(WORKERS, "stub") if latency_s else None
        self._room = threading.BoundedSemaphore(2 * WORKERS)

    @property
    def encoder_id(self) -> str:
        return "enc-stub"

    def submit(self, video: VideoPublished, done: Done, *, alone: bool = False) -> None:
        """At once, in the caller's thread; or, where it has a latency, a bounded number of them beside each other."""
        if self._pool is None:
            done(self._analyse(video))
            return
        while not self._room.acquire(timeout=0.1):
            if self._closed.is_set():
                return
        self._pool.submit(partial(self._late, video, done))

    def close(self, timeout: float) -> None:
        self._closed.set()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _late(self, video: VideoPublished, done: Done) -> None:
        try:
            if not self._closed.wait(self._latency_s):
                done(self._analyse(video))
        finally:
            self._room.release()

    def _analyse(self, video: VideoPublished) -> Analysis:
        boundaries.reached("fetch")
        boundaries.reached("decode")
        boundaries.reached("infer")
        return _ANSWERS[crc32(f"{video.video_id}\0{video.revision}".encode()) % len(_ANSWERS)]


def _answers(count: int) -> tuple[Analysis, ...]:
    """Made once: the stub shall cost nothing beside what is measured with it."""
    drawn = np.random.default_rng(0).uniform(0.0, 6.0, (count, _C2 + EMBEDDING_DIM)).astype(np.float32)
    return tuple(Analysis(row[:_C1], row[_C1:_C2], row[_C2:], (0.5, 1.5, 2.5, 3.5), {}) for row in drawn)


_C1 = len(LEVEL1)
_C2 = _C1 + len(LEVEL1) * CHILDREN
_ANSWERS = _answers(4096)
