"""What presets share: what they see of a video, and towers at published sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.architectures.base import InputPlan
from models.bundle import TextTemplate
from models.layers.audio import AudioConfig
from models.layers.vivit import VivitConfig
from models.media.types import AudioPlan, FramePlan
from models.towers.text import TextConfig
from models.towers.vision import CLIP_PIXELS, VisionConfig

_SMALL_AUDIO = AudioPlan(sample_rate=8000, window=512, hop=256, mels=32, seconds=4.0)
_SMALL_TEXT = TextTemplate(
    fields=("title", "ocr", "asr", "tags"),
    max_tokens={"title": 40, "ocr": 24, "asr": 40, "tags": 16},
    length_buckets=(32, 64, 128),
)
TINY = InputPlan(frame_plan=FramePlan(count=6, size=64), audio_plan=_SMALL_AUDIO, text=_SMALL_TEXT)
TINY_CLIP = InputPlan(frame_plan=FramePlan(count=6, size=64, clip=6), audio_plan=_SMALL_AUDIO, text=_SMALL_TEXT)

_AUDIO = AudioPlan(sample_rate=16000, window=400, hop=160, mels=64, seconds=10.0)
_TEXT = TextTemplate(
    fields=("title", "ocr", "asr", "tags"),
    max_tokens={"title": 64, "ocr": 80, "asr": 80, "tags": 24},
    length_buckets=(64, 128, 192, 256),
)
BASE = InputPlan(
    frame_plan=FramePlan(count=10, size=224, fit="centre_crop"), audio_plan=_AUDIO, pixels=CLIP_PIXELS, text=_TEXT
)
BASE_CLIP = InputPlan(frame_plan=FramePlan(count=32, size=224, clip=32), audio_plan=_AUDIO, text=_TEXT)

# Direction of motion is where a thing is, frame by frame: a class token a picture loses most of it.
SMALL_GRID = VisionConfig(grid=4)
CLIP_B16 = VisionConfig(style="clip", width=768, layers=12, heads=12, patch=16)
BERT_BASE = TextConfig(style="bert", width=768, layers=12, heads=12)
AUDIO_BASE = AudioConfig(width=256, heads=4, layers=4)
BASE_TOWERS: Mapping[str, Any] = {"vision": CLIP_B16, "text": BERT_BASE, "audio": AUDIO_BASE}
VIVIT_B: Mapping[str, Any] = {
    "video": VivitConfig(width=768, layers=12, heads=12, patch=16, tubelet=2),
    "text": BERT_BASE,
    "audio": AUDIO_BASE,
    "width": 768,
}
# The mean over all tokens tells little of each: what a class token learns in half the time comes late.
LONGER: Mapping[str, Any] = {"epochs": 24}
FINE_TUNING: Mapping[str, Any] = {"epochs": 5, "learning_rate": 3e-5, "batch": 32, "weight_decay": 0.01, "shift": 0}
