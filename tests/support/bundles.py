"""Small valid bundles with random weights: they answer nonsense, at once, and the same nonsense every time."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from models.architectures import build
from models.bundle import BundleManifest, PixelNorm, TextTemplate
from models.decision.policy import PolicyFile
from models.media.types import AudioPlan, FramePlan
from models.preprocess.text import END_OF_FIELD, train_tokenizer
from models.training.export import BundleParts, write_bundle
from models.training.probes import Probes
from schemas.taxonomy import Taxonomy, default_taxonomy

FRAME_PLAN = FramePlan(count=4, size=32)
AUDIO_PLAN = AudioPlan(sample_rate=8000, window=512, hop=256, mels=16, seconds=2.0)
TEXT = TextTemplate(max_tokens={"title": 24, "ocr": 12, "asr": 12, "tags": 8}, length_buckets=(16, 32, 64))
AUDIO_LENGTH = math.ceil(AUDIO_PLAN.seconds * AUDIO_PLAN.sample_rate / AUDIO_PLAN.hop) + 1


def tiny_taxonomy() -> Taxonomy:
    """Two level-2 categories of each of the first three level-1 categories of the default taxonomy."""
    full = default_taxonomy()
    parents = [category.id for category in full.level1[:3]]
    return full.subset({c.id for p in parents for c in [c for c in full.level2 if c.parent == p][:2]})


def tiny_bundle(
    folder: Path,
    *,
    taxonomy: Taxonomy | None = None,
    level1_threshold: float = 0.4,
    level2_threshold: float = 0.3,
    audit_rate: float = 0.1,
    seed: int = 0,
) -> Path:
    """Write an untrained dual_concat bundle to `folder`/bundle and return that path. Another seed is another model."""
    taxonomy = taxonomy or tiny_taxonomy()
    tokenizer = train_tokenizer((f"{c.zh} {c.en}" for c in (*taxonomy.level1, *taxonomy.level2)), min_count=1)
    config = {
        "n_level1": len(taxonomy.level1),
        "n_level2": len(taxonomy.level2),
        "vocab": tokenizer.get_vocab_size(),
        "separator": tokenizer.token_to_id(END_OF_FIELD),
        "text_fields": len(TEXT.fields),
        "text_length": max(TEXT.length_buckets),
        "frames": FRAME_PLAN.count,
        "frame_size": FRAME_PLAN.size,
        "mels": AUDIO_PLAN.mels,
        "audio_length": AUDIO_LENGTH,
        "width": 32,
        "heads": 2,
        "patch": 8,
        "vision_layers": 1,
        "text_layers": 1,
    }
    torch.manual_seed(seed)
    model = build("dual_concat", config).eval()
    bundle = folder / "bundle"
    parts = BundleParts(
        model=model,
        manifest=BundleManifest(
            name="tiny",
            architecture="dual_concat",
            architecture_config=config,
            taxonomy_id=taxonomy.id,
            frame_plan=FRAME_PLAN,
            audio_plan=AUDIO_PLAN,
            pixels=PixelNorm(),
            text=TEXT,
            embedding_dim=model.embedding_dim,
            vision_dim=model.vision_dim,
        ),
        taxonomy=taxonomy,
        tokenizer=tokenizer,
        policy=PolicyFile(
            taxonomy_id=taxonomy.id,
            level1_thresholds={c.id: level1_threshold for c in taxonomy.level1},
            level2_thresholds={c.id: level2_threshold for c in taxonomy.level2},
            audit_rate=audit_rate,
            target_risk=0.05,
        ),
        probes=random_probes(vocab=config["vocab"], seed=seed),
        card="# tiny\n\nRandom weights, for tests.\n",
    )
    write_bundle(bundle, parts)
    return bundle


def random_probes(
    *, vocab: int, seed: int = 0, count: int = 4, text_length: int = 32, audio_length: int = 40
) -> Probes:
    """Probes of FRAME_PLAN, AUDIO_PLAN and TEXT; the second lacks audio, the third text, the fourth frames."""
    random = np.random.default_rng(seed)
    present = np.ones((3, count), dtype=np.bool_)
    for missing, modality in enumerate((1, 2, 0), start=1):
        if missing < count:
            present[modality, missing] = False
    frame, sound, text = present[:, :, None]
    return Probes(
        pixels=random.uniform(-1, 1, (count, FRAME_PLAN.count, 3, FRAME_PLAN.size, FRAME_PLAN.size)).astype(np.float32),
        frame_mask=frame & np.ones((count, FRAME_PLAN.count), np.bool_),
        audio=random.normal(size=(count, audio_length, AUDIO_PLAN.mels)).astype(np.float32),
        audio_mask=sound & (np.arange(audio_length) < random.integers(8, audio_length + 1, (count, 1))),
        input_ids=random.integers(0, vocab, (count, text_length)),
        text_mask=text & (np.arange(text_length) < random.integers(8, text_length + 1, (count, 1))),
    )
