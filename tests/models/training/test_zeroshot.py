"""Bundles with no training: they answer as the published model does, and the command says what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from torch.nn import functional

from models.architectures import build
from models.bundle import Bundle
from models.decision.probabilities import hierarchical
from models.runtimes.base import FusionInputs
from models.runtimes.golden import check_golden
from models.runtimes.registry import runtimes
from models.training.weights import load_weights
from models.training.zeroshot import sentences
from schemas.errors import ExitCode
from schemas.taxonomy import Taxonomy, default_taxonomy
from stream.cli.main import run as reelsort
from tests.support.bundles import tiny_taxonomy
from tests.support.checkpoints import PIXELS, PROJECTION, SIZE, save_bert, save_chinese_clip, save_clip

KINDS = ["zh", "en"]


@pytest.fixture(scope="module")
def taxonomy() -> Taxonomy:
    return tiny_taxonomy()


@pytest.fixture(scope="module")
def file(taxonomy: Taxonomy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("taxonomy") / "taxonomy.json"
    path.write_text(taxonomy.to_json(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def checkpoints(taxonomy: Taxonomy, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    hub = tmp_path_factory.mktemp("hub")
    said = {kind: "".join(s for each in taxonomy.level2 for s in sentences(each, kind)) for kind in KINDS}
    return {"zh": save_chinese_clip(hub / "zh", said["zh"]), "en": save_clip(hub / "en", said["en"])}


@pytest.fixture(scope="module")
def bundles(checkpoints: dict[str, Path], file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    folder = tmp_path_factory.mktemp("bundles")
    for kind, source in checkpoints.items():
        command = ["zeroshot", "--model", str(source), "--taxonomy", str(file), "--out", str(folder / kind)]
        assert reelsort([*command, "--threads", "1"]) == ExitCode.OK
    return {kind: Bundle.load(folder / kind) for kind in checkpoints}


@torch.inference_mode()
def published_logits(source: Path, kind: str, taxonomy: Taxonomy, pictures: torch.Tensor) -> torch.Tensor:
    """[videos, C2], by transformers' own forward pass of both towers, from pictures [videos, T, 3, S, S]."""
    model = transformers.AutoModel.from_pretrained(source).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    units = pictures.flatten(0, 1)
    classes, frames = [], None
    for category in taxonomy.level2:
        each = []
        for sentence in sentences(category, kind):  # one at a time: nothing is padded
            answer = model(**tokenizer([sentence], return_tensors="pt"), pixel_values=units)
            frames = answer.image_embeds
            torch.testing.assert_close(
                answer.logits_per_image, model.logit_scale.exp() * frames @ answer.text_embeds.T, atol=1e-5, rtol=0
            )
            each.append(answer.text_embeds[0])
        classes.append(functional.normalize(torch.stack(each).mean(0), dim=-1))
    assert frames is not None
    videos = functional.normalize(frames.view(*pictures.shape[:2], -1).mean(1), dim=-1)
    return torch.as_tensor(model.logit_scale.exp() * videos @ torch.stack(classes).T)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_bundle_answers_as_the_published_model_does(
    kind: str, runtime: str, bundles: dict[str, Bundle], checkpoints: dict[str, Path], taxonomy: Taxonomy
) -> None:
    bundle = bundles[kind]
    random = np.random.default_rng(4)
    videos, units = 3, bundle.manifest.frame_plan.units
    pictures = random.normal(size=(videos, units, 3, SIZE, SIZE)).astype(np.float32)
    expected = published_logits(checkpoints[kind], kind, taxonomy, torch.from_numpy(pictures)).numpy()
    assert np.ptp(expected, axis=1).min() > 0.05  # categories differ, and so do videos
    assert np.ptp(expected, axis=0).min() > 0.01

    loaded = runtimes()[runtime].load(bundle, "fp32", 1)
    embedded = loaded.encode_frames(pictures.reshape(-1, 3, SIZE, SIZE)).reshape(videos, units, PROJECTION)
    length = max(bundle.manifest.text.length_buckets)
    answer = loaded.fuse(
        FusionInputs(
            frames=embedded,
            frame_mask=np.ones((videos, units), np.bool_),
            audio=np.zeros((videos, 1, 1), np.float32),
            audio_mask=np.zeros((videos, 1), np.bool_),
            input_ids=np.zeros((videos, length), np.int64),
            text_mask=np.zeros((videos, length), np.bool_),
        )
    )
    np.testing.assert_allclose(answer.level2_logits, expected, atol=1e-4)
    assert not answer.level1_logits.any()
    check_golden(bundle, loaded)

    probabilities = hierarchical(answer.level1_logits, answer.level2_logits, bundle.policy)
    softmax = torch.softmax(torch.from_numpy(expected), dim=1).numpy()
    np.testing.assert_allclose(probabilities.level2, softmax, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_says_what_it_is(kind: str, bundles: dict[str, Bundle], taxonomy: Taxonomy) -> None:
    bundle = bundles[kind]
    manifest = bundle.manifest
    assert (manifest.architecture, manifest.name, manifest.pixels) == ("zeroshot", kind, PIXELS)
    assert manifest.trained_from == {"checkpoint": kind, "prompts": kind}
    assert manifest.audio_plan is None
    assert manifest.frame_plan.size == SIZE
    assert (bundle.policy.level2_thresholds >= 0.9).all()
    assert "**Uncalibrated.**" in (bundle.folder / "CARD.md").read_text(encoding="utf-8")
    model = build("zeroshot", manifest.architecture_config)
    load_weights(model, bundle.folder / "model.safetensors")
    assert model.fusion.class_embeddings.shape == (len(taxonomy.level2), PROJECTION)


def test_every_category_is_described_in_the_models_language(taxonomy: Taxonomy) -> None:
    for category in taxonomy.level2:
        assert set(category.prompts.zh) < set(sentences(category, "zh"))
        assert set(category.prompts.en) < set(sentences(category, "en"))
        assert f"一段关于{category.zh}的视频" in sentences(category, "zh")
        assert f"a video of {category.en}" in sentences(category, "en")


def test_what_is_wrong_is_one_sentence(
    file: Path, checkpoints: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bert = save_bert(tmp_path / "bert", "今天")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes").touch()
    (tmp_path / "not.json").write_text("[]")
    model, out, good = str(checkpoints["zh"]), tmp_path / "out", str(file)
    for arguments, said in (
        ((model, str(tmp_path / "none.json"), str(out)), "cannot be read"),
        ((model, str(tmp_path / "not.json"), str(out)), "is not a taxonomy"),
        ((model, good, str(tmp_path / "full")), "is not empty and is not a bundle"),
        ((str(tmp_path / "none"), good, str(out)), "there is no folder"),
        ((str(bert), good, str(out)), "is a model of type bert, not a CLIP"),
    ):
        options = ("--model", "--taxonomy", "--out")
        command = ["zeroshot", *(word for pair in zip(options, arguments, strict=True) for word in pair)]
        assert reelsort(command) == ExitCode.BAD_INPUT, said
        error = capsys.readouterr().err
        assert said in error
        assert "fix:" in error
        assert "Traceback" not in error
    assert not out.exists()


def test_without_a_taxonomy_the_categories_are_those_that_ship(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    command = ["zeroshot", "--model", str(checkpoints["zh"]), "--out", str(tmp_path / "out"), "--threads", "1"]
    assert reelsort(command) == ExitCode.OK
    assert Bundle.load(tmp_path / "out").taxonomy == default_taxonomy()
