"""What every architecture's exported graphs promise: torch's answers, in every runtime, at every batch and length."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from models.bundle import Bundle
from models.runtimes.base import FusionInputs, FusionOutputs, Runtime
from models.runtimes.registry import runtimes
from models.training.export import HALF_TOLERANCE, half_deviation, onnx_answers, torch_answers
from models.training.probes import Probes
from models.training.weights import load_weights
from tests.models.architectures.conftest import INPUTS, MASKS, Case

TOLERANCE = 1e-4
SERVING = [spec.name for spec in runtimes().values() if spec.serves]

# videos, frames or clips at most, audio, text: alone and short, a few, all that there is room for
SHAPES = [(1, 1, 8, 5), (3, 4, 33, 21), (2, 99, 999, 999)]


@dataclass(frozen=True)
class Exported:
    """A case's model with the weights of its bundle, and the bundle."""

    case: Case
    bundle: Bundle

    def videos(self, shape: tuple[int, int, int, int]) -> tuple[Tensor, dict[str, Tensor]]:
        """Pixels and the other inputs; in a batch of several the first lacks sound, the last words, and one
        between them frames."""
        batch, frames, audio, text = shape
        most = self.case.most
        frames, audio, text = min(frames, most["frames"]), min(audio, most["audio"]), min(text, most["text"])
        given = self.case.given(sum(shape), batch=batch, frames=frames, audio=audio, text=text)
        if batch > 1:
            given["audio_mask"][0] = False
            given["text_mask"][-1] = False
        if batch > 2:
            given["frame_mask"][1] = False
        return self.case.pixels(sum(shape), batch)[:, :frames], given


@pytest.fixture(scope="module")
def exported(case: Case, preset_of: Callable[[str], Path]) -> Exported:
    folder = preset_of(case.name)
    load_weights(case.model, folder / "model.safetensors")
    return Exported(case, Bundle.load(folder))


@pytest.fixture(scope="module", params=SERVING)
def runtime(request: pytest.FixtureRequest, exported: Exported) -> Iterator[Runtime]:
    with closing(runtimes()[request.param].load(exported.bundle, "fp32", 1)) as loaded:
        yield loaded


def as_arrays(given: dict[str, Tensor], embeddings: np.ndarray) -> FusionInputs:
    return FusionInputs(embeddings, *(given[name].numpy() for name in INPUTS[1:]))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_runtime_answers_as_torch_does(
    exported: Exported, runtime: Runtime, shape: tuple[int, int, int, int]
) -> None:
    pixels, given = exported.videos(shape)
    flat = pixels.flatten(0, 1).numpy()
    golden = torch_answers(exported.case.model, Probes(pixels.numpy(), *(given[name].numpy() for name in INPUTS[1:])))
    embeddings = runtime.encode_frames(flat)
    np.testing.assert_allclose(embeddings, golden["embeddings"], atol=TOLERANCE, rtol=0)
    said: FusionOutputs = runtime.fuse(as_arrays(given, embeddings.reshape(*pixels.shape[:2], -1)))
    for name in ("level1_logits", "level2_logits", "embedding"):
        np.testing.assert_allclose(getattr(said, name), golden[name], atol=TOLERANCE, rtol=0, err_msg=name)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_fp16_graphs_are_finite_and_near(exported: Exported, shape: tuple[int, int, int, int]) -> None:
    pixels, given = exported.videos(shape)
    golden = torch_answers(exported.case.model, Probes(pixels.numpy(), *(given[name].numpy() for name in INPUTS[1:])))
    half = onnx_answers(exported.bundle.folder, golden, half=True)
    assert half_deviation(golden, half, exported.bundle.taxonomy) <= HALF_TOLERANCE


def test_what_is_under_a_mask_never_changes_a_runtimes_answer(exported: Exported, runtime: Runtime) -> None:
    _, given = exported.videos((3, 99, 33, 21))
    lengths = {"audio": given["audio"].shape[1], "text": given["input_ids"].shape[1]}
    other = exported.case.given(77, batch=3, **lengths)
    changed = {name: given[name] for name in INPUTS}
    for values, mask in MASKS.items():
        changed[values] = given[values].clone()
        changed[values][~given[mask]] = other[values][~given[mask]]
    one, two = (runtime.fuse(as_arrays(each, each["frames"].numpy())) for each in (given, changed))
    for name in ("level1_logits", "level2_logits", "embedding"):
        np.testing.assert_allclose(getattr(one, name), getattr(two, name), atol=5e-5, rtol=0)
