"""The scheduler with a device that tests can stop, break and listen to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.bundle import Bundle
from models.preprocess.prepare import ModelInputs
from models.runtimes.base import FusionInputs, FusionOutputs
from models.runtimes.registry import runtimes
from stream.classify.planner import Shapes
from stream.classify.scheduler import Fused, NotFinite, Scheduler, SchedulerClosed

SHAPES = Shapes(vision_batch=8, fusion_batch=4, length_buckets=(16, 32), max_wait_s=0.005)
DEADLINE = 20.0
POISON = 99.0


def video(mark: float, frames: int = 4, length: int = 16, audio: int = 5) -> ModelInputs:
    """A video whose every number is `mark`, so that an answer tells whose it is."""
    return ModelInputs(
        frames=np.full((frames, 3, 2, 2), mark, np.float32),
        frame_mask=np.ones(frames, np.bool_),
        audio=np.full((audio, 2), mark, np.float32),
        audio_mask=np.ones(audio, np.bool_),
        input_ids=np.full(length, int(mark), np.int64),
        text_mask=np.ones(length, np.bool_),
    )


@dataclass
class FakeDevice:
    """Adds up what it is given: the answer is [sum of frames, sum of sound, sum of text] over what is not masked."""

    gate: threading.Event = field(default_factory=threading.Event)
    fail_vision: Callable[[np.ndarray], bool] = lambda frames: False
    fail_fusion: Callable[[FusionInputs], bool] = lambda inputs: False
    vision_rows: list[int] = field(default_factory=list)
    fusion_shapes: list[tuple[int, int]] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)
    name: str = "fake"

    def __post_init__(self) -> None:
        self.gate.set()

    def encode_frames(self, frames: np.ndarray) -> np.ndarray:
        assert self.gate.wait(DEADLINE)
        self.threads.add(threading.get_ident())
        self.vision_rows.append(len(frames))
        if self.fail_vision(frames):
            raise RuntimeError("vision broke")
        return frames[:, :1, 0, 0]

    def fuse(self, inputs: FusionInputs) -> FusionOutputs:
        assert self.gate.wait(DEADLINE)
        self.threads.add(threading.get_ident())
        self.fusion_shapes.append(inputs.input_ids.shape)
        if self.fail_fusion(inputs):
            raise RuntimeError("fusion broke")
        answer = np.stack(
            [
                (inputs.frames[:, :, 0] * inputs.frame_mask).sum(1),
                (inputs.audio[:, :, 0] * inputs.audio_mask).sum(1),
                (inputs.input_ids * inputs.text_mask).sum(1),
            ],
            axis=1,
        ).astype(np.float32)
        return FusionOutputs(answer, answer, answer)

    def close(self) -> None:
        raise AssertionError("the scheduler does not own the device")


@contextmanager
def scheduling(device: FakeDevice, shapes: Shapes = SHAPES, capacity: int = 64) -> Iterator[Scheduler]:
    scheduler = Scheduler(device, shapes, capacity=capacity)
    try:
        yield scheduler
    finally:
        device.gate.set()
        scheduler.close(DEADLINE)


def answer(future: Future[Fused]) -> list[float]:
    return future.result(DEADLINE).level2_logits.tolist()


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(1, 11), st.integers(1, 32), st.integers(1, 9)), max_size=12),
    st.integers(1, 9),
    st.integers(1, 4),
)
@settings(max_examples=40)
def test_each_video_gets_its_own_answer_whatever_shares_its_batches(
    videos: list[tuple[int, int, int, int]], vision_batch: int, fusion_batch: int
) -> None:
    shapes = Shapes(vision_batch, fusion_batch, (16, 32), max_wait_s=0.0)
    with scheduling(FakeDevice(), shapes) as scheduler:
        futures = [scheduler.submit(video(*each)) for each in videos]
        for (mark, frames, length, audio), future in zip(videos, futures, strict=True):
            assert answer(future) == [mark * frames, mark * audio, mark * length]


def test_videos_that_wait_together_share_batches_and_one_thread_runs_them() -> None:
    device = FakeDevice()
    device.gate.clear()
    with scheduling(device) as scheduler:
        first = scheduler.submit(video(1, frames=8))  # fills a batch: the device is taken
        rest = [scheduler.submit(video(mark)) for mark in range(2, 6)]
        device.gate.set()
        wait([first, *rest], DEADLINE)
    assert device.vision_rows == [8, 8, 8]
    assert (4, 16) in device.fusion_shapes
    assert len(device.threads) == 1
    assert threading.get_ident() not in device.threads


def test_a_lone_video_is_answered_without_company() -> None:
    with scheduling(FakeDevice()) as scheduler:
        assert answer(scheduler.submit(video(3))) == [12, 15, 48]


def test_text_is_padded_to_its_bucket() -> None:
    device = FakeDevice()
    with scheduling(device) as scheduler:
        answer(scheduler.submit(video(1, length=9)))
        answer(scheduler.submit(video(1, length=17)))
    assert [length for _, length in device.fusion_shapes] == [16, 32]


def test_a_video_that_breaks_vision_fails_alone() -> None:
    device = FakeDevice(fail_vision=lambda frames: bool((frames == POISON).any()))
    device.gate.clear()
    with scheduling(device) as scheduler:
        # 3 frames each: the bad one is cut by the end of the batch
        futures = {mark: scheduler.submit(video(mark, frames=3)) for mark in (1, 2, POISON, 4, 5)}
        device.gate.set()
        with pytest.raises(RuntimeError, match="vision broke"):
            futures.pop(POISON).result(DEADLINE)
        for mark, future in futures.items():
            assert answer(future)[0] == 3 * mark


def test_a_video_that_breaks_fusion_fails_alone() -> None:
    device = FakeDevice(fail_fusion=lambda inputs: bool((inputs.audio == POISON).any()))
    device.gate.clear()
    with scheduling(device) as scheduler:
        futures = {mark: scheduler.submit(video(mark)) for mark in (1, 2, POISON, 4)}
        device.gate.set()
        with pytest.raises(RuntimeError, match="fusion broke"):
            futures.pop(POISON).result(DEADLINE)
        for mark, future in futures.items():
            assert answer(future)[0] == 4 * mark


def test_an_answer_that_is_no_number_fails_alone() -> None:
    device = FakeDevice()
    device.gate.clear()
    with scheduling(device) as scheduler:
        good, bad = scheduler.submit(video(1)), scheduler.submit(_infinite())
        device.gate.set()
        with pytest.raises(NotFinite):
            bad.result(DEADLINE)
        assert answer(good) == [4, 5, 16]


def _infinite() -> ModelInputs:
    plain = video(1)
    plain.frames[:] = np.inf
    return plain


def test_a_device_that_breaks_on_everything_fails_everyone_and_recovers() -> None:
    broken = True
    device = FakeDevice(fail_vision=lambda frames: broken)
    with scheduling(device) as scheduler:
        for future in [scheduler.submit(video(mark)) for mark in (1, 2, 3)]:
            with pytest.raises(RuntimeError, match="vision broke"):
                future.result(DEADLINE)
        broken = False
        assert answer(scheduler.submit(video(4)))[0] == 16


def test_submit_blocks_while_the_house_is_full() -> None:
    device = FakeDevice()
    device.gate.clear()
    with scheduling(device, capacity=2) as scheduler:
        for mark in (1, 2):
            scheduler.submit(video(mark))
        entered = threading.Event()
        third: list[Future[Fused]] = []

        def enter() -> None:
            third.append(scheduler.submit(video(3)))
            entered.set()

        thread = threading.Thread(target=enter)
        thread.start()
        assert not entered.wait(0.1)
        device.gate.set()
        assert entered.wait(DEADLINE)
        thread.join(DEADLINE)
        assert answer(third[0])[0] == 12


def test_close_finishes_what_is_inside_at_once() -> None:
    device = FakeDevice()
    patient = Shapes(vision_batch=64, fusion_batch=64, length_buckets=(16,), max_wait_s=3600.0)
    scheduler = Scheduler(device, patient, capacity=64)
    futures = [scheduler.submit(video(mark)) for mark in (1, 2)]
    scheduler.close(DEADLINE)
    assert [answer(future)[0] for future in futures] == [4, 8]
    with pytest.raises(SchedulerClosed):
        scheduler.submit(video(3))


def test_close_gives_up_on_a_device_that_hangs() -> None:
    device = FakeDevice()
    device.gate.clear()
    scheduler = Scheduler(device, SHAPES, capacity=1)
    stuck = scheduler.submit(video(1, frames=8))
    refused = threading.Event()

    def blocked() -> None:
        with pytest.raises(SchedulerClosed):
            scheduler.submit(video(2))
        refused.set()

    thread = threading.Thread(target=blocked)
    thread.start()
    scheduler.close(0.05)
    with pytest.raises(SchedulerClosed):
        stuck.result(0)
    assert refused.wait(DEADLINE)
    thread.join(DEADLINE)
    device.gate.set()  # the device wakes up to an empty house, and its thread ends


def test_timings_say_where_the_time_went() -> None:
    with scheduling(FakeDevice()) as scheduler:
        timings = scheduler.submit(video(1)).result(DEADLINE).timings
    assert timings.keys() == {"queue", "vision", "fusion"}
    assert all(seconds >= 0 for seconds in timings.values())


def test_fill_is_reported_for_every_batch() -> None:
    seen: list[tuple[str, float]] = []
    scheduler = Scheduler(FakeDevice(), SHAPES, capacity=8, observe_fill=lambda *fill: seen.append(fill))
    answer(scheduler.submit(video(1, frames=4, length=20)))
    scheduler.close(DEADLINE)
    assert seen == [("vision", 0.5), ("fusion-32", 0.25)]


def test_on_a_real_device_batching_changes_no_answer(tiny: Path) -> None:
    bundle = Bundle.load(tiny)
    runtime = runtimes()["onnxruntime"].load(bundle, "fp32", 1)
    plan, audio = bundle.manifest.frame_plan, bundle.manifest.audio_plan
    assert audio is not None
    random = np.random.default_rng(0)

    def real(length: int, sound: int) -> ModelInputs:
        return ModelInputs(
            frames=random.uniform(-1, 1, (plan.count, 3, plan.size, plan.size)).astype(np.float32),
            frame_mask=np.ones(plan.count, np.bool_),
            audio=random.normal(size=(sound, audio.mels)).astype(np.float32),
            audio_mask=np.full(sound, sound > 5),
            input_ids=random.integers(0, 40, length),
            text_mask=np.ones(length, np.bool_),
        )

    videos = [real(length, sound) for length, sound in ((16, 4), (16, 30), (32, 8), (16, 12), (32, 30), (16, 1))]
    shapes = Shapes(vision_batch=7, fusion_batch=3, length_buckets=(16, 32, 64), max_wait_s=0.01)
    scheduler = Scheduler(runtime, shapes, capacity=16)
    together = [future.result(DEADLINE) for future in [scheduler.submit(each) for each in videos]]
    scheduler.close(DEADLINE)
    for inputs, found in zip(videos, together, strict=True):
        frames = runtime.encode_frames(inputs.frames)[None]
        rest = (inputs.frame_mask, inputs.audio, inputs.audio_mask, inputs.input_ids, inputs.text_mask)
        alone = runtime.fuse(FusionInputs(frames, *(array[None] for array in rest)))
        np.testing.assert_allclose(found.level2_logits, alone.level2_logits[0], atol=1e-4)
        np.testing.assert_allclose(found.embedding, alone.embedding[0], atol=1e-4)
