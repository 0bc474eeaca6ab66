"""From a manifest to batches: what training sees is what serving sees."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.bundle import Bundle
from models.media.decode import decode_clip
from models.preprocess.pixels import normalise
from models.preprocess.prepare import Preprocessor, text_encoder
from models.training.dataset import InputSpec, fields_of, load_split, read_manifest, rows_of
from models.training.decoded import decode_all
from schemas.errors import UserError
from schemas.taxonomy import default_taxonomy
from stream.cli.progress import shown


@pytest.fixture(scope="module")
def bundle(tiny: Path) -> Bundle:
    return Bundle.load(tiny)


def spec_of(bundle: Bundle) -> InputSpec:
    """The bundle's view of a video, over every category there is."""
    manifest = bundle.manifest
    text = text_encoder(bundle.folder, manifest.text)
    return InputSpec(manifest.frame_plan, manifest.audio_plan, manifest.pixels, text, default_taxonomy())


@pytest.mark.parametrize("clip", [None, 2])
def test_a_training_batch_holds_what_serving_prepares_of_the_same_files(
    bundle: Bundle, dataset: Path, clip: int | None
) -> None:
    plan = replace(bundle.manifest.frame_plan, clip=clip)
    bundle = replace(bundle, manifest=bundle.manifest.model_copy(update={"frame_plan": plan}))
    rows = rows_of(read_manifest(dataset), "test")
    batch = load_split(dataset, "test", spec_of(bundle)).batch(np.arange(len(rows)))
    served = Preprocessor(bundle)
    lengths = set()
    for place, row in enumerate(rows):
        manifest = bundle.manifest
        decoded = decode_clip(dataset / row.path, manifest.frame_plan, manifest.audio_plan)
        inputs = served.prepare(decoded, fields_of(row))
        assert inputs.frames.shape == (plan.units, *plan.unit_shape)
        raw = inputs.frames.reshape(plan.count, 3, plan.size, plan.size)  # in the order they were shown
        np.testing.assert_array_equal(raw, normalise(decoded.frames, manifest.pixels.mean, manifest.pixels.std))
        np.testing.assert_array_equal(batch.frames[place], inputs.frames)
        np.testing.assert_array_equal(batch.frame_mask[place], inputs.frame_mask)
        for values, mask, expected, expected_mask in (
            (batch.audio, batch.audio_mask, inputs.audio, inputs.audio_mask),
            (batch.input_ids, batch.text_mask, inputs.input_ids, inputs.text_mask),
        ):
            assert mask[place].sum() == expected_mask.sum()
            np.testing.assert_array_equal(values[place][mask[place]], expected[expected_mask])
        lengths.add(int(inputs.text_mask.sum()))
    assert len(lengths) > 1  # padding was put to the test


def test_clips_are_decoded_once_and_again_when_a_file_or_a_plan_changes(
    bundle: Bundle, dataset: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    rows = rows_of(read_manifest(dataset), "validation")[:3]
    for row in rows:
        (data / row.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(dataset / row.path, data / row.path)
    plan, audio = bundle.manifest.frame_plan, bundle.manifest.audio_plan
    decoded: list[int] = []

    def decode() -> None:
        decode_all(data, rows, plan, audio, processes=1, progress=lambda done, total: decoded.append(done))

    decode()
    assert decoded == [1, 2, 3]
    decode()
    assert decoded == [1, 2, 3]
    shutil.copy(dataset / rows_of(read_manifest(dataset), "test")[0].path, data / rows[1].path)
    decode()
    assert decoded == [1, 2, 3] * 2


def test_a_broken_video_is_named_and_leaves_nothing_half_kept(bundle: Bundle, dataset: Path, tmp_path: Path) -> None:
    rows = rows_of(read_manifest(dataset), "validation")[:2]
    for row in rows:
        (tmp_path / row.path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / row.path).write_text("not a video")
    with pytest.raises(UserError, match=f"{rows[0].video_id}.mp4 cannot be decoded"):
        decode_all(tmp_path, rows, bundle.manifest.frame_plan, bundle.manifest.audio_plan, processes=1)
    assert not list((tmp_path / ".decoded").iterdir())


def test_a_decoding_that_is_told_to_end_leaves_nothing(bundle: Bundle, dataset: Path, tmp_path: Path) -> None:
    rows, manifest = rows_of(read_manifest(dataset), "validation")[:2], bundle.manifest
    data = Path(shutil.copytree(dataset, tmp_path / "data", ignore=shutil.ignore_patterns(".decoded")))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), shown():
        decode_all(
            data, rows, manifest.frame_plan, manifest.audio_plan, processes=1,
            progress=lambda done, total: os.kill(os.getpid(), signal.SIGTERM),
        )  # fmt: skip
    assert not list((data / ".decoded").iterdir())
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_a_killed_decoding_left_goes_with_the_next_and_what_a_living_one_makes_stays(
    bundle: Bundle, dataset: Path, tmp_path: Path
) -> None:
    rows, manifest = rows_of(read_manifest(dataset), "validation")[:2], bundle.manifest
    data = Path(shutil.copytree(dataset, tmp_path / "data", ignore=shutil.ignore_patterns(".decoded")))
    abandoned, living = (data / ".decoded" / f"making-{name}" for name in ("abandoned", "living"))
    for folder in (abandoned, living):
        folder.mkdir(parents=True)
        (folder / "frames.npy").write_bytes(b"half of them")
    held = os.open(living, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    decode_all(data, rows, manifest.frame_plan, manifest.audio_plan, processes=1)
    os.close(held)
    assert not abandoned.exists()
    assert (living / "frames.npy").is_file()


def test_bad_manifests_are_sentences(bundle: Bundle, dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_manifest(tmp_path)
    lines = (dataset / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    (tmp_path / "manifest.jsonl").write_text(f'{lines[0]}\n{{"video_id": 3}}\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"line 2: video_id"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.jsonl").write_text(f"{lines[0]}\n\n{lines[0]}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"line 3: video \S+, revision 0, is in line 1 already"):
        read_manifest(tmp_path)  # in two splits it would be judged by what it taught
    with pytest.raises(UserError, match="no labelled video in its unlabelled split"):
        load_split(dataset, "unlabelled", spec_of(bundle))
    (tmp_path / "manifest.jsonl").write_text(lines[0].replace('"label":"', '"label":"x'), encoding="utf-8")
    with pytest.raises(UserError, match="which is no category of this model"):
        load_split(tmp_path, "train", spec_of(bundle))
    (tmp_path / "manifest.jsonl").write_text(lines[0], encoding="utf-8")
    with pytest.raises(UserError, match="cannot be read"):
        load_split(tmp_path, "train", spec_of(bundle))


def test_a_row_without_a_path_is_words_alone(bundle: Bundle, dataset: Path, tmp_path: Path) -> None:
    rows = rows_of(read_manifest(dataset), "test")
    first = rows[0].model_copy(update={"path": ""})
    (tmp_path / "test").symlink_to(dataset / "test")
    written = "\n".join(row.model_dump_json() for row in [first, *rows[1:]])
    (tmp_path / "manifest.jsonl").write_text(written, encoding="utf-8")
    whole, partly = (
        load_split(data, "test", spec_of(bundle)).batch(np.arange(len(rows))) for data in (dataset, tmp_path)
    )
    assert not partly.frame_mask[0].any()
    assert not partly.audio_mask[0].any()
    np.testing.assert_array_equal(partly.input_ids, whole.input_ids)
    for one, other in zip(partly.arrays(), whole.arrays(), strict=True):
        np.testing.assert_array_equal(one[1:], other[1:])
