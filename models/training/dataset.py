"""A manifest and its decoded clips as arrays: what training, calibration and evaluation draw batches from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.bundle import PixelNorm
from models.media.types import AudioPlan, FramePlan
from models.preprocess.pixels import normalise
from models.preprocess.text import SpecialIds, TextEncoder, TextFields
from models.training.decoded import DecodedClips, Progress, decode_all
from schemas import manifest
from schemas.errors import UserError
from schemas.manifest import MANIFEST, ManifestRow, Split
from schemas.taxonomy import Taxonomy

PictureChange = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]  # [B, T, S, S, 3] -> the same


@dataclass(frozen=True, slots=True)
class Batch:
    """The inputs of a model, B videos. frames: float32 [B, T, 3, S, S], or clips [B, T, clip, 3, S, S]; the rest is
    as in FusionInputs."""

    frames: NDArray[np.float32]
    frame_mask: NDArray[np.bool_]
    audio: NDArray[np.float32]
    audio_mask: NDArray[np.bool_]
    input_ids: NDArray[np.int64]
    text_mask: NDArray[np.bool_]

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """In the order in which a model takes them."""
        return tuple(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True, slots=True)
class Examples:
    """N videos. text_lengths counts tokens, 0 for none; targets are level-2 indices in taxonomy order."""

    video_ids: tuple[str, ...]
    clips: DecodedClips
    input_ids: NDArray[np.int64]  # [N, longest]
    text_lengths: NDArray[np.int64]
    targets: NDArray[np.int64]
    special: SpecialIds
    pixels: PixelNorm
    frame_plan: FramePlan

    def __len__(self) -> int:
        return len(self.video_ids)

    def batch(
        self, index: NDArray[np.int64], change: PictureChange | None = None, *, to_longest: bool = False
    ) -> Batch:
        """The examples at `index`, padded no further than the longest of them needs, or as far as any video may go
        (`to_longest`); `change` moves raw pictures."""
        pictures = self.clips.frames[index]
        if change:
            pictures = change(pictures)
        flat = normalise(pictures.reshape(-1, *pictures.shape[2:]), self.pixels.mean, self.pixels.std)
        frames = flat.reshape(len(pictures), self.frame_plan.units, *self.frame_plan.unit_shape)
        audio_length = max(1, int(self.clips.audio_lengths[index].max()))
        text_length = max(1, int(self.text_lengths[index].max()))
        if to_longest:
            audio_length, text_length = self.clips.audio.shape[1], self.input_ids.shape[1]
        return Batch(
            frames=frames,
            frame_mask=np.repeat(self.clips.seen[index, None], self.frame_plan.units, axis=1),
            audio=self.clips.audio[index, :audio_length],
            audio_mask=np.arange(audio_length) < self.clips.audio_lengths[index, None],
            input_ids=self.input_ids[index, :text_length],
            text_mask=np.arange(text_length) < self.text_lengths[index, None],
        )


def read_manifest(data: Path) -> list[ManifestRow]:
    """Every line of a dataset's manifest. Raises UserError as schemas.manifest does."""
    return manifest.read_manifest(data / MANIFEST)


def rows_of(rows: Iterable[ManifestRow], split: Split) -> list[ManifestRow]:
    """The labelled rows of a split. Raises UserError where there is none."""
    chosen = [row for row in rows if row.split == split and row.label is not None]
    if not chosen:
        raise UserError(f"the dataset has no labelled video in its {split} split", "make one that has, or add lines")
    return chosen


def fields_of(row: ManifestRow) -> TextFields:
    """The words of a row."""
    return TextFields(title=row.title, ocr=row.ocr, asr=row.asr, tags=row.tags)


def targets_of(rows: Iterable[ManifestRow], taxonomy: Taxonomy) -> NDArray[np.int64]:
    """Level-2 indices of the rows' labels. Raises UserError for a label that the taxonomy does not have."""
    index = taxonomy.level2_index
    targets = []
    for row in rows:
        if row.label is None or row.label not in index:
            raise UserError(
                f"{row.video_id} has the label {row.label}, which is no category of this model",
                "train again with it, or take the line out",
            )
        targets.append(index[row.label])
    return np.array(targets, np.int64)


@dataclass(frozen=True, slots=True)
class InputSpec:
    """How a model sees a video: what a training run and a bundle have in common."""

    frame_plan: FramePlan
    audio_plan: AudioPlan | None
    pixels: PixelNorm
    text: TextEncoder
    taxonomy: Taxonomy


def load_split(data: Path, split: Split, spec: InputSpec, *, progress: Progress | None = None) -> Examples:
    """The labelled videos of a split, decoded where no earlier call has kept them."""
    rows = rows_of(read_manifest(data), split)
    targets = targets_of(rows, spec.taxonomy)
    clips = decode_all(data, rows, spec.frame_plan, spec.audio_plan, progress=progress)
    encoded = [spec.text.encode(fields_of(row)) for row in rows]
    input_ids = np.full((len(rows), max(spec.text.template.length_buckets)), spec.text.special.pad, np.int64)
    for place, (ids, _) in enumerate(encoded):
        input_ids[place, : len(ids)] = ids
    return Examples(
        video_ids=tuple(row.video_id for row in rows),
        clips=clips,
        input_ids=input_ids,
        text_lengths=np.array([int(mask.sum()) for _, mask in encoded], np.int64),
        targets=targets,
        special=spec.text.special,
        pixels=spec.pixels,
        frame_plan=spec.frame_plan,
    )
