"""The exported graphs against torch, and a bundle as a whole."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from models.architectures import build
from models.architectures.base import Architecture
from models.bundle import Bundle
from models.training import export
from models.training.probes import Probes
from schemas.errors import UserError
from tests.support.bundles import AUDIO_LENGTH, FRAME_PLAN, TEXT, random_probes, tiny_bundle

VOCABULARY = 30


@pytest.fixture(scope="module")
def model(tiny: Path) -> Architecture:
    manifest = Bundle.load(tiny).manifest
    model = build(manifest.architecture, manifest.architecture_config)
    model.load_state_dict(load_file(tiny / "model.safetensors"))
    return model.eval()


def cut(probes: Probes, frames: int) -> Probes:
    return Probes(
        pixels=probes.pixels[:, :frames],
        frame_mask=probes.frame_mask[:, :frames],
        audio=probes.audio,
        audio_mask=probes.audio_mask,
        input_ids=probes.input_ids,
        text_mask=probes.text_mask,
    )


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("frames", [1, FRAME_PLAN.count])
@pytest.mark.parametrize(("audio", "text"), [(8, 16), (AUDIO_LENGTH, max(TEXT.length_buckets)), (33, 21)])
def test_the_graphs_agree_with_torch_at_every_batch_and_length(
    tiny: Path, model: Architecture, count: int, frames: int, audio: int, text: int
) -> None:
    probes = random_probes(vocab=VOCABULARY, seed=count, count=count, audio_length=audio, text_length=text)
    golden = export.torch_answers(model, cut(probes, frames))
    assert np.isfinite(golden["level2_logits"]).all()
    assert export.worst_difference(golden, export.onnx_answers(tiny, golden)) <= export.PARITY_TOLERANCE


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(("audio", "text"), [(8, 16), (AUDIO_LENGTH, max(TEXT.length_buckets))])
def test_the_fp16_graphs_move_no_probability_by_a_hundredth(
    tiny: Path, model: Architecture, count: int, audio: int, text: int
) -> None:
    probes = random_probes(vocab=VOCABULARY, seed=count, count=count, audio_length=audio, text_length=text)
    golden = export.torch_answers(model, probes)
    half = export.onnx_answers(tiny, golden, half=True)
    assert 0 < export.half_deviation(golden, half, Bundle.load(tiny).taxonomy) <= export.HALF_TOLERANCE


def test_fp16_graphs_that_overflow_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def overflowing(folder: Path, golden: export.Arrays, *, half: bool = False) -> export.Arrays:
        answer = golden["level2_logits"]
        return {"level2_logits": np.full_like(answer, np.inf) if half else answer}

    monkeypatch.setattr(export, "onnx_answers", overflowing)
    with pytest.raises(UserError, match="fp16 graphs move a probability by inf"):
        tiny_bundle(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_fp16_graphs_hold_their_weights_in_fp16(tiny: Path) -> None:
    for name in ("vision", "fusion"):
        whole, half = ((tiny / f"{name}{kind}.onnx").stat().st_size for kind in ("", ".fp16"))
        assert half < 0.75 * whole


def test_nothing_of_the_exporting_machine_is_in_the_graphs(tiny: Path) -> None:
    for name in ("vision.onnx", "fusion.onnx", "vision.fp16.onnx", "fusion.fp16.onnx"):
        content = (tiny / name).read_bytes()
        for trace in (b"site-packages", b".py", str(Path.cwd()).encode(), str(Path.home()).encode() + b"/"):
            assert trace not in content


def test_equal_weights_are_equal_bytes(tiny: Path, tmp_path: Path) -> None:
    def digests(bundle: Path) -> dict[str, str]:
        return {
            path.relative_to(bundle).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in bundle.rglob("*")
            if path.is_file()
        }

    assert digests(tiny_bundle(tmp_path)) == digests(tiny)


def test_a_graph_that_differs_from_torch_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "export_graphs", lambda model, folder, *, sample: None)
    monkeypatch.setattr(
        export,
        "onnx_answers",
        lambda folder, golden, half=False: {"embeddings": golden["embeddings"] + 1e-3},
    )
    with pytest.raises(UserError, match=r"differ from torch by 1\.0e-03"):
        tiny_bundle(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_bundle_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "thesis.txt").write_text("all there is")
    with pytest.raises(UserError, match="is not empty and is not a bundle"):
        tiny_bundle(tmp_path)
    assert (tmp_path / "bundle" / "thesis.txt").read_text() == "all there is"
