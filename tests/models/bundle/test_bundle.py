from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from models.bundle import Bundle, BundleManifest, default_bundle, write_manifest
from models.runtimes.golden import load_golden
from schemas.errors import UserError


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(tiny, tmp_path / "bundle"))


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "bundle.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def reseal(folder: Path) -> None:
    write_manifest(folder, BundleManifest.model_validate_json((folder / "bundle.json").read_bytes()))


def test_an_exported_bundle_loads_with_its_ids(folder: Path) -> None:
    bundle = Bundle.load(folder)
    assert bundle.encoder_id.startswith("enc-")
    assert bundle.policy_id == bundle.policy.policy_id
    assert bundle.model_id == f"{bundle.encoder_id}.{bundle.policy_id}"
    assert bundle.taxonomy.id == bundle.manifest.taxonomy_id
    assert bundle.vision_path.is_file()
    assert bundle.fusion_path.is_file()


def test_where_a_bundle_lies_does_not_change_it(tiny: Path, folder: Path) -> None:
    assert Bundle.load(folder).model_id == Bundle.load(tiny).model_id


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest["frame_plan"].update(count=manifest["frame_plan"]["count"] + 1),
        lambda manifest: manifest["audio_plan"].update(seconds=1.0),
        lambda manifest: manifest["pixels"].update(mean=[0.4, 0.5, 0.5]),
        lambda manifest: manifest["text"].update(fields=["title"]),
        lambda manifest: manifest["text"].update(tokens="words", segmenter="rjieba 0.2.2"),
    ],
)
def test_a_change_before_the_graphs_is_another_encoder(
    folder: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    before = Bundle.load(folder)
    rewrite(folder, change)
    after = Bundle.load(folder)
    assert after.encoder_id != before.encoder_id
    assert after.policy_id == before.policy_id


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest.update(name="another name"),
        lambda manifest: manifest.update(metrics={"level2_accuracy": 0.7}),
        lambda manifest: manifest.update(trained_from={"seed": 3}),
    ],
)
def test_what_is_said_about_a_bundle_is_in_no_id(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    before = Bundle.load(folder)
    rewrite(folder, change)
    (folder / "CARD.md").write_text("another card")
    assert Bundle.load(folder).model_id == before.model_id


def test_another_segmenter_of_words_is_another_encoder(folder: Path) -> None:
    ids = set()
    for version in ("0.2.2", "0.2.3"):
        rewrite(folder, lambda manifest, each=version: manifest["text"].update(segmenter=f"rjieba {each}"))
        ids.add(Bundle.load(folder).encoder_id)
    assert len(ids) == 2


def test_a_new_tokenizer_or_graph_is_another_encoder(folder: Path) -> None:
    seen = {Bundle.load(folder).encoder_id}
    for name in ("tokenizer/tokenizer.json", "vision.onnx", "fusion.onnx"):
        path = folder / name
        if path.suffix == ".onnx":
            graph = onnx.load(path)
            graph.doc_string = "changed"
            path.write_bytes(graph.SerializeToString())
        else:
            path.write_text(path.read_text() + "\n")
        reseal(folder)
        seen.add(Bundle.load(folder).encoder_id)
    assert len(seen) == 4


def test_a_new_policy_keeps_the_encoder(folder: Path) -> None:
    before = Bundle.load(folder)
    policy = json.loads((folder / "policy.json").read_text())
    (folder / "policy.json").write_text(json.dumps(policy | {"audit_rate": 0.5}))
    after = Bundle.load(folder)
    assert after.encoder_id == before.encoder_id
    assert after.policy_id != before.policy_id
    assert after.model_id != before.model_id


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        Bundle.load(folder)
    assert "\n" not in caught.value.message
    assert caught.value.remedy
    return caught.value.message


@pytest.mark.parametrize(
    "name",
    ["vision.onnx", "fusion.onnx", "taxonomy.json", "tokenizer/tokenizer.json", "golden.npz", "model.safetensors"],
)
def test_a_missing_or_altered_file_is_named(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    message = refused(folder)
    assert name in message
    assert "SHA-256" in message
    (folder / name).unlink()
    assert f"lacks {name}" in refused(folder)


def test_a_missing_policy_is_named(folder: Path) -> None:
    (folder / "policy.json").unlink()
    assert "policy.json" in refused(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda manifest: manifest.update(format=2), "format 2"),
        (lambda manifest: manifest.update(taxonomy_id="tx-other"), "is for taxonomy tx-other"),
        (lambda manifest: manifest.pop("frame_plan"), "frame_plan"),
        (lambda manifest: manifest["frame_plan"].update(kind="random"), "frame_plan.kind"),
        (lambda manifest: manifest["files"].pop("vision.onnx"), "no hash of vision.onnx"),
        (lambda manifest: manifest["files"].update({"../x": "0"}), "outside its folder"),
        (lambda manifest: manifest["frame_plan"].update(size=64), "input frames is float"),
        (lambda manifest: manifest.update(vision_dim=7), "embeddings"),
        (lambda manifest: manifest.update(embedding_dim=7), "output embedding is"),
        (lambda manifest: manifest["audio_plan"].update(mels=5), "input audio is"),
        (lambda manifest: manifest.update(audio_plan=None), "has the inputs"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    folder: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    rewrite(folder, change)
    assert message in refused(folder)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"{"])
def test_a_manifest_that_is_none_is_refused(folder: Path, content: bytes) -> None:
    (folder / "bundle.json").write_bytes(content)
    assert "bundle.json" in refused(folder)


def test_a_graph_that_is_none_is_refused(folder: Path) -> None:
    (folder / "vision.onnx").write_bytes(b"not a graph")
    reseal(folder)
    assert "vision.onnx cannot be loaded" in refused(folder)


def test_graphs_in_each_others_place_are_refused(folder: Path) -> None:
    shutil.copy(folder / "vision.onnx", folder / "fusion.onnx")
    reseal(folder)
    assert "fusion.onnx has the inputs frames; it needs" in refused(folder)


def test_a_graph_with_a_fixed_batch_is_refused(folder: Path) -> None:
    graph = onnx.load(folder / "vision.onnx")
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    (folder / "vision.onnx").write_bytes(graph.SerializeToString())
    reseal(folder)
    assert "vision.onnx: input frames is float [4, 3" in refused(folder)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    assert "there is no bundle at" in refused(tmp_path / "nowhere")
    assert "is not a bundle" in refused(tmp_path)


def test_the_manifest_holds_what_was_sealed(folder: Path) -> None:
    files = Bundle.load(folder).manifest.files
    assert "policy.json" not in files
    assert "CARD.md" not in files
    assert {"vision.onnx", "fusion.onnx", "golden.npz", "taxonomy.json", "tokenizer/tokenizer.json"} <= files.keys()


def test_nothing_in_a_bundle_is_unpickled(folder: Path) -> None:
    with np.load(folder / "golden.npz") as file:
        arrays = dict(file)
    arrays["pixels"] = np.array([{"a": "pickle"}], dtype=object)
    np.savez(folder / "golden.npz", **arrays)
    reseal(folder)
    with pytest.raises(UserError, match=r"golden\.npz cannot be read"):
        load_golden(Bundle.load(folder))


def test_the_default_bundle_is_part_of_the_package() -> None:
    assert default_bundle().parts[-3:] == ("models", "bundles", "demo")
