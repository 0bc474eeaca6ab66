"""The real analyzer: real mp4 files, real decode children, a real (untrained) model."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from models.bundle import Bundle
from models.media.decode import decode_clip
from models.media.types import MediaLimits
from models.preprocess.prepare import Preprocessor
from models.preprocess.text import TextFields
from models.runtimes.base import FusionInputs
from models.runtimes.registry import runtimes
from models.runtimes.select import ChosenRuntime, Measurement, Report
from schemas.events import VideoPublished
from stream import boundaries
from stream.classify.analyse import Analysis, PoisonError, TransientError
from stream.classify.analyzer import VideoAnalyzer
from stream.media.fetch import FetchedFile, fetch
from stream.settings import InferenceSettings, MediaSettings, Settings
from tests.support.clips import write_clip

DEADLINE = 60.0
Outcome = Analysis | PoisonError | TransientError


class Outcomes:
    """Collects what `done` is called with, by video."""

    def __init__(self) -> None:
        self._seen: dict[str, list[Outcome]] = {}
        self._changed = threading.Condition()

    def done(self, video_id: str) -> Callable[[Outcome], None]:
        def note(outcome: Outcome) -> None:
            with self._changed:
                self._seen.setdefault(video_id, []).append(outcome)
                self._changed.notify_all()

        return note

    def of(self, *video_ids: str) -> list[Outcome]:
        with self._changed:
            assert self._changed.wait_for(lambda: self._seen.keys() >= set(video_ids), DEADLINE), self._seen.keys()
            assert all(len(outcomes) == 1 for outcomes in self._seen.values())
            return [self._seen[video_id][0] for video_id in video_ids]


@pytest.fixture(scope="module")
def bundle(tiny: Path) -> Bundle:
    return Bundle.load(tiny)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder / "long.mp4", seconds=3.0)
    write_clip(folder / "short.mp4", seconds=0.5, size=(64, 96))
    write_clip(folder / "silent.mp4", audio=False)
    (folder / "text.mp4").write_text("this is no video")
    return folder


def published(clips: Path, name: str, video_id: str = "", title: str = "") -> VideoPublished:
    return VideoPublished(
        video_id=video_id or name,
        author_id="a",
        media_uri=(clips / name).as_uri(),
        published_at=datetime(2026, 1, 1, tzinfo=UTC),
        title=title,
    )


@contextmanager
def analysing(bundle: Bundle, root: Path, *, fetch_threads: int = 2, **options: object) -> Iterator[VideoAnalyzer]:
    runtime = runtimes()["onnxruntime"].load(bundle, "fp32", 1)
    measured = Measurement(runtime="onnxruntime", precision="fp32", vision_batch=6)
    chosen = ChosenRuntime(runtime, measured.vision_batch, 1, Report(how="pinned", chosen=measured))
    settings = Settings(
        media=MediaSettings(file_root=root, decode_processes=1, fetch_threads=fetch_threads),
        inference=InferenceSettings(max_wait_ms=5.0),
    )
    analyzer = VideoAnalyzer(bundle, chosen, settings, **options)
    try:
        yield analyzer
    finally:
        analyzer.close(DEADLINE)


@pytest.fixture(scope="module")
def analyzer(bundle: Bundle, clips: Path) -> Iterator[VideoAnalyzer]:
    with analysing(bundle, clips) as analyzer:
        yield analyzer


@pytest.mark.parametrize("name", ["long.mp4", "short.mp4", "silent.mp4"])
def test_an_analysis_is_what_the_parts_say_one_by_one(
    analyzer: VideoAnalyzer, bundle: Bundle, clips: Path, name: str
) -> None:
    outcomes = Outcomes()
    analyzer.submit(published(clips, name, title="红烧肉的做法"), outcomes.done("v"))
    (analysis,) = outcomes.of("v")
    assert isinstance(analysis, Analysis)

    plan = bundle.manifest.frame_plan
    clip = decode_clip(clips / name, plan, bundle.manifest.audio_plan, MediaLimits())
    inputs = Preprocessor(bundle).prepare(clip, TextFields(title="红烧肉的做法"))
    runtime = runtimes()["onnxruntime"].load(bundle, "fp32", 1)
    rest = (inputs.frame_mask, inputs.audio, inputs.audio_mask, inputs.input_ids, inputs.text_mask)
    expected = runtime.fuse(FusionInputs(runtime.encode_frames(inputs.frames)[None], *(array[None] for array in rest)))

    np.testing.assert_allclose(analysis.level1_logits, expected.level1_logits[0], atol=1e-4)
    np.testing.assert_allclose(analysis.level2_logits, expected.level2_logits[0], atol=1e-4)
    np.testing.assert_allclose(analysis.embedding, expected.embedding[0], atol=1e-4)
    assert analysis.frame_times == tuple(clip.timestamps.tolist())
    assert analysis.timings.keys() == {"fetch", "decode", "prepare", "queue", "vision", "fusion"}


def test_many_videos_each_get_one_outcome_and_the_bad_ones_fail_alone(analyzer: VideoAnalyzer, clips: Path) -> None:
    outcomes = Outcomes()
    names = ["long.mp4", "text.mp4", "silent.mp4", "gone.mp4", "short.mp4"] * 4
    ids = [f"{name}-{place}" for place, name in enumerate(names)]
    for name, video_id in zip(names, ids, strict=True):
        analyzer.submit(published(clips, name, video_id), outcomes.done(video_id))
    for name, outcome in zip(names, outcomes.of(*ids), strict=True):
        assert isinstance(outcome, PoisonError if name in ("text.mp4", "gone.mp4") else Analysis), (name, outcome)


def test_what_lies_outside_the_root_is_poison(analyzer: VideoAnalyzer, clips: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "outside.mp4", seconds=0.5)
    outcomes = Outcomes()
    analyzer.submit(published(tmp_path, "outside.mp4"), outcomes.done("v"))
    (outcome,) = outcomes.of("v")
    assert isinstance(outcome, PoisonError)
    assert outcome.code == "path_refused"


def test_bytes_that_are_not_what_the_event_promised_are_asked_for_again_later(
    analyzer: VideoAnalyzer, clips: Path
) -> None:
    promised = hashlib.sha256((clips / "short.mp4").read_bytes()).hexdigest()
    outcomes = Outcomes()
    for name in ("short.mp4", "long.mp4"):
        video = published(clips, name).model_copy(update={"content_sha256": promised})
        analyzer.submit(video, outcomes.done(name))
    kept, other = outcomes.of("short.mp4", "long.mp4")
    assert isinstance(kept, Analysis)
    assert isinstance(other, TransientError)
    assert (other.code, other.host) == ("content_mismatch", None)


def test_it_answers_under_the_bundles_encoder(analyzer: VideoAnalyzer, bundle: Bundle) -> None:
    assert analyzer.encoder_id == bundle.encoder_id


class Gate:
    """A fetch that waits to be let through, and knows who is inside."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.inside = 0
        self.arrived = threading.Semaphore(0)

    @contextmanager
    def __call__(self, uri: str, settings: MediaSettings, deadline: float) -> Iterator[FetchedFile]:
        self.inside += 1
        self.arrived.release()
        assert self.open.wait(DEADLINE)
        self.inside -= 1
        with fetch(uri, settings, deadline) as file:
            yield file


def test_alone_means_nothing_else_is_inside(bundle: Bundle, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, outcomes, company = Gate(), Outcomes(), []
    with analysing(bundle, clips, fetch=gate) as analyzer:
        analyzer.submit(published(clips, "short.mp4"), outcomes.done("before"))
        assert gate.arrived.acquire(timeout=DEADLINE)

        def suspect() -> None:
            analyzer.submit(published(clips, "long.mp4"), outcomes.done("suspect"), alone=True)
            analyzer.submit(published(clips, "silent.mp4"), outcomes.done("after"))

        thread = threading.Thread(target=suspect)
        thread.start()
        assert not gate.arrived.acquire(timeout=0.1)  # the suspect waits for the one before it
        monkeypatch.setattr(boundaries, "reached", lambda name: company.append((name, gate.inside)))
        gate.open.set()
        outcomes.of("before", "suspect", "after")
        thread.join(DEADLINE)
    starts = [place for place, (name, _) in enumerate(company) if name == "fetch"]
    assert len(starts) == 2
    # from the suspect's fetch to the next one's, only the suspect passes the other boundaries
    assert [name for name, _ in company[starts[0] : starts[1]]] == ["fetch", "decode", "infer"]


def test_every_stage_is_a_boundary(bundle: Bundle, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[str] = []
    monkeypatch.setattr(boundaries, "reached", passed.append)
    outcomes = Outcomes()
    with analysing(bundle, clips) as analyzer:
        analyzer.submit(published(clips, "short.mp4"), outcomes.done("v"))
        outcomes.of("v")
    assert passed == ["fetch", "decode", "infer"]


def test_submit_blocks_while_the_house_is_full(bundle: Bundle, clips: Path) -> None:
    gate, outcomes = Gate(), Outcomes()
    with analysing(bundle, clips, fetch_threads=1, fetch=gate) as analyzer:
        submitted = 0

        def flood() -> None:
            nonlocal submitted
            for number in range(40):
                analyzer.submit(published(clips, "short.mp4"), outcomes.done(str(number)))
                submitted += 1

        thread = threading.Thread(target=flood)
        thread.start()
        assert gate.arrived.acquire(timeout=DEADLINE)
        thread.join(0.2)
        assert thread.is_alive()
        assert submitted < 20
        gate.open.set()
        outcomes.of(*map(str, range(40)))
        thread.join(DEADLINE)


def test_close_answers_for_everyone_once(bundle: Bundle, clips: Path) -> None:
    gate, outcomes = Gate(), Outcomes()
    with analysing(bundle, clips, fetch_threads=1, fetch=gate) as analyzer:
        ids = ["running", "queued", "queued too"]
        for video_id in ids:
            analyzer.submit(published(clips, "short.mp4"), outcomes.done(video_id))
        assert gate.arrived.acquire(timeout=DEADLINE)
        analyzer.close(0.1)
        for outcome in outcomes.of(*ids):
            assert isinstance(outcome, TransientError)
            assert outcome.code == "closing"
        analyzer.submit(published(clips, "short.mp4"), outcomes.done("late"))
        (late,) = outcomes.of("late")
        assert isinstance(late, TransientError)
        gate.open.set()
    outcomes.of(*ids)  # and still once each


def test_a_host_at_fault_is_named(bundle: Bundle, clips: Path) -> None:
    @contextmanager
    def unreachable(uri: str, settings: MediaSettings, deadline: float) -> Iterator[FetchedFile]:
        raise TransientError("connection", "refused", host="media.example")
        yield

    outcomes = Outcomes()
    with analysing(bundle, clips, fetch=unreachable) as analyzer:
        analyzer.submit(published(clips, "short.mp4"), outcomes.done("v"))
        (outcome,) = outcomes.of("v")
    assert isinstance(outcome, TransientError)
    assert outcome.host == "media.example"


def test_a_defect_on_the_way_is_a_retry_that_says_what_it_was(bundle: Bundle, clips: Path) -> None:
    @contextmanager
    def broken(uri: str, settings: MediaSettings, deadline: float) -> Iterator[FetchedFile]:
        raise ZeroDivisionError("on the way")
        yield

    outcomes = Outcomes()
    with analysing(bundle, clips, fetch=broken) as analyzer:
        analyzer.submit(published(clips, "short.mp4"), outcomes.done("v"))
        (outcome,) = outcomes.of("v")
    assert isinstance(outcome, TransientError)
    assert "ZeroDivisionError: on the way" in outcome.detail
