"""A model bundle: one folder that answers for itself. Format: docs/bundle.md."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from schemas.taxonomy import Taxonomy

from models.decision.types import Policy
from models.media.types import AudioPlan, FramePlan


class TextTemplate(BaseModel):
    """How title, OCR, ASR and tags become one token sequence: fields in order, each cut to its share of tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fields: tuple[str, ...] = ("title", "ocr", "asr", "tags")
    max_tokens: dict[str, int] = Field(default_factory=lambda: {"title": 48, "ocr": 32, "asr": 28, "tags": 12})
    length_buckets: tuple[int, ...] = (32, 64, 128)


class PixelNorm(BaseModel):
    """(pixel / 255 - mean) / std, per RGB channel."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)


class BundleManifest(BaseModel):
    """bundle.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = 1
    name: str
    architecture: str
    architecture_config: dict[str, Any] = Field(default_factory=dict)
    taxonomy_id: str
    frame_plan: FramePlan
    audio_plan: AudioPlan | None
    pixels: PixelNorm
    text: TextTemplate
    embedding_dim: int  # E of the fused embedding
    vision_dim: int  # D of a frame embedding
    metrics: dict[str, float] = Field(default_factory=dict)
    trained_from: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class Bundle:
    """A verified bundle. encoder_id keys predictions; policy_id the decision rules; model_id both."""

    folder: Path
    manifest: BundleManifest
    taxonomy: Taxonomy
    policy: Policy
    encoder_id: str
    policy_id: str
    model_id: str
