"""What every runtime promises: the answers of torch fp32, whatever the batch, the lengths and the padding."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models.bundle import Bundle
from models.runtimes.base import FusionInputs, FusionOutputs, Runtime
from models.runtimes.golden import check_golden
from models.runtimes.registry import Precision, RuntimeSpec, runtimes

# bf16 keeps 8 bits of a number: its logits are within a few hundredths of these
TOLERANCE: dict[Precision, float] = {"fp32": 1e-4, "bf16": 0.1, "fp16": 0.02}
HERE = [(spec, precision) for spec in runtimes().values() for precision in spec.precisions()]


@pytest.fixture(scope="module")
def bundle(tiny: Path) -> Bundle:
    return Bundle.load(tiny)


@pytest.fixture(scope="module")
def oracle(bundle: Bundle) -> Runtime:
    return runtimes()["torch"].load(bundle, "fp32", 2)


@pytest.fixture(scope="module", params=HERE, ids=lambda each: f"{each[0].name}-{each[1]}")
def candidate(request: pytest.FixtureRequest) -> tuple[RuntimeSpec, Precision]:
    return request.param


@pytest.fixture(scope="module")
def tolerance(candidate: tuple[RuntimeSpec, Precision]) -> float:
    return TOLERANCE[candidate[1]]


@pytest.fixture(scope="module")
def runtime(bundle: Bundle, candidate: tuple[RuntimeSpec, Precision]) -> Iterator[Runtime]:
    spec, precision = candidate
    loaded = spec.load(bundle, precision, 2)
    yield loaded
    loaded.close()


def pixels(bundle: Bundle, count: int, seed: int = 0) -> np.ndarray:
    size = bundle.manifest.frame_plan.size
    return np.random.default_rng(seed).uniform(-1, 1, (count, 3, size, size)).astype(np.float32)


def fusion_inputs(bundle: Bundle, batch: int, *, audio: int = 24, text: int = 16, seed: int = 0) -> FusionInputs:
    """Everything present, in full length."""
    random = np.random.default_rng(seed)
    plan = bundle.manifest.audio_plan
    assert plan is not None
    frames = bundle.manifest.frame_plan.count
    return FusionInputs(
        frames=random.normal(size=(batch, frames, bundle.manifest.vision_dim)).astype(np.float32),
        frame_mask=np.ones((batch, frames), np.bool_),
        audio=random.normal(size=(batch, audio, plan.mels)).astype(np.float32),
        audio_mask=np.ones((batch, audio), np.bool_),
        input_ids=random.integers(0, 40, (batch, text)),
        text_mask=np.ones((batch, text), np.bool_),
    )


def assert_same(answer: FusionOutputs, expected: FusionOutputs, tolerance: float) -> None:
    for name in ("level1_logits", "level2_logits", "embedding"):
        found, wanted = getattr(answer, name), getattr(expected, name)
        assert found.dtype == np.float32
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, atol=tolerance, rtol=0, err_msg=name)


def test_its_name_says_runtime_and_precision(runtime: Runtime, candidate: tuple[RuntimeSpec, Precision]) -> None:
    assert runtime.name == f"{candidate[0].name}-{candidate[1]}"


@pytest.mark.parametrize("count", [1, 3, 4, 17])
def test_frames_are_encoded_as_torch_does(
    runtime: Runtime, oracle: Runtime, bundle: Bundle, count: int, tolerance: float
) -> None:
    frames = pixels(bundle, count)
    found = runtime.encode_frames(frames)
    assert found.shape == (count, bundle.manifest.vision_dim)
    np.testing.assert_allclose(found, oracle.encode_frames(frames), atol=tolerance, rtol=0)


@pytest.mark.parametrize(("batch", "audio", "text"), [(1, 8, 16), (2, 40, 32), (5, 24, 64), (9, 1, 16)])
def test_videos_are_fused_as_torch_does(
    runtime: Runtime, oracle: Runtime, bundle: Bundle, batch: int, audio: int, text: int, tolerance: float
) -> None:
    inputs = fusion_inputs(bundle, batch, audio=audio, text=text)
    assert_same(runtime.fuse(inputs), oracle.fuse(inputs), tolerance)


@pytest.mark.parametrize("missing", [("audio_mask",), ("text_mask",), ("frame_mask",), ("audio_mask", "text_mask")])
def test_a_missing_modality_is_what_torch_makes_of_it(
    runtime: Runtime, oracle: Runtime, bundle: Bundle, missing: tuple[str, ...], tolerance: float
) -> None:
    inputs = fusion_inputs(bundle, 3)
    for mask in missing:
        getattr(inputs, mask)[1] = False  # the middle video alone
    found = runtime.fuse(inputs)
    assert np.isfinite(found.level2_logits).all()
    assert_same(found, oracle.fuse(inputs), tolerance)


def test_padding_changes_nothing(runtime: Runtime, bundle: Bundle, tolerance: float) -> None:
    inputs = fusion_inputs(bundle, 2)
    junk = np.random.default_rng(9)

    def longer(array: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        extra = junk.integers(0, 40, (len(array), 16, *array.shape[2:])).astype(array.dtype)
        return np.concatenate([array, extra], 1), np.concatenate([mask, np.zeros((len(array), 16), np.bool_)], 1)

    audio, audio_mask = longer(inputs.audio, inputs.audio_mask)
    input_ids, text_mask = longer(inputs.input_ids, inputs.text_mask)
    padded = FusionInputs(inputs.frames, inputs.frame_mask, audio, audio_mask, input_ids, text_mask)
    assert_same(runtime.fuse(padded), runtime.fuse(inputs), tolerance)


def test_a_video_does_not_depend_on_its_neighbours(runtime: Runtime, bundle: Bundle, tolerance: float) -> None:
    together = runtime.fuse(fusion_inputs(bundle, 4))
    whole = fusion_inputs(bundle, 4)
    arrays = (whole.frames, whole.frame_mask, whole.audio, whole.audio_mask, whole.input_ids, whole.text_mask)
    alone = runtime.fuse(FusionInputs(*(array[2:3] for array in arrays)))
    np.testing.assert_allclose(alone.level2_logits[0], together.level2_logits[2], atol=tolerance, rtol=0)


def test_an_answer_is_the_callers_own(runtime: Runtime, bundle: Bundle) -> None:
    first = runtime.encode_frames(pixels(bundle, 2, seed=1))
    fused = runtime.fuse(fusion_inputs(bundle, 2, seed=1))
    kept, kept_logits = first.copy(), fused.level2_logits.copy()
    runtime.encode_frames(pixels(bundle, 2, seed=2))
    runtime.fuse(fusion_inputs(bundle, 2, seed=2))
    assert (first == kept).all()
    assert (fused.level2_logits == kept_logits).all()


def test_it_answers_the_golden_probes(runtime: Runtime, bundle: Bundle) -> None:
    assert check_golden(bundle, runtime).probability < 0.005


def test_after_closing_it_says_so(bundle: Bundle, candidate: tuple[RuntimeSpec, Precision]) -> None:
    closed = candidate[0].load(bundle, candidate[1], 1)
    closed.close()
    closed.close()
    with pytest.raises(RuntimeError, match="closed"):
        closed.encode_frames(pixels(bundle, 1))
    with pytest.raises(RuntimeError, match="closed"):
        closed.fuse(fusion_inputs(bundle, 1))


def test_every_runtime_of_the_base_install_is_here() -> None:
    assert {spec.name for spec, _ in HERE if spec.serves} >= {"onnxruntime", "openvino"}
