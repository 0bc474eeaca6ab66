"""Small valid bundles with random weights: they answer nonsense, at once, and the same nonsense every time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from models.architectures import build, presets
from models.architectures.base import Architecture, InputPlan, inputs_of
from models.bundle import BundleManifest, TextTemplate
from models.decision.policy import PolicyFile
from models.media.types import AudioPlan, FramePlan
from models.preprocess.audio import NO_AUDIO, steps
from models.preprocess.text import END_OF_FIELD, train_tokenizer
from models.training.export import BundleParts, write_bundle
from models.training.probes import Probes
from schemas.taxonomy import Taxonomy, default_taxonomy

FRAME_PLAN = FramePlan(count=4, size=32)
AUDIO_PLAN = AudioPlan(sample_rate=8000, window=512, hop=256, mels=16, seconds=2.0)
TEXT = TextTemplate(max_tokens={"title": 24, "ocr": 12, "asr": 12, "tags": 8}, length_buckets=(16, 32, 64))
INPUTS = InputPlan(frame_plan=FRAME_PLAN, audio_plan=AUDIO_PLAN, text=TEXT)
AUDIO_LENGTH = steps(AUDIO_PLAN)
SIZES: Mapping[str, Any] = {
    "vision": {"width": 32, "heads": 2, "patch": 8},
    "text": {"width": 32, "heads": 2, "layers": 1},
    "audio": {"width": 32, "heads": 2},
    "width": 32,
    "heads": 2,
}


def tiny_taxonomy() -> Taxonomy:
    """Two level-2 categories of each of the first three level-1 categories of the default taxonomy."""
    full = default_taxonomy()
    parents = [category.id for category in full.level1[:3]]
    return full.subset({c.id for p in parents for c in [c for c in full.level2 if c.parent == p][:2]})


def tokenizer_of(taxonomy: Taxonomy) -> Tokenizer:
    """A character-level tokenizer that knows the names of the categories."""
    return train_tokenizer((f"{c.zh} {c.en}" for c in (*taxonomy.level1, *taxonomy.level2)), min_count=1)


def config_of(inputs: InputPlan, sizes: Mapping[str, Any], taxonomy: Taxonomy, tokenizer: Tokenizer) -> dict[str, Any]:
    """What bundle.json calls architecture_config."""
    return dict(sizes) | inputs_of(
        inputs,
        parent=tuple(taxonomy.parent_index),
        n_level1=len(taxonomy.level1),
        vocab=tokenizer.get_vocab_size(),
        separator=tokenizer.token_to_id(END_OF_FIELD),
    )


def preset_model(architecture: str, preset: str = "tiny", *, seed: int = 0) -> Architecture:
    """A preset of an architecture over the tiny taxonomy, with random weights, in evaluation mode."""
    chosen, taxonomy = presets(architecture)[preset], tiny_taxonomy()
    torch.manual_seed(seed)
    return build(architecture, config_of(chosen.inputs, chosen.sizes, taxonomy, tokenizer_of(taxonomy))).eval()


def tiny_bundle(
    folder: Path,
    *,
    taxonomy: Taxonomy | None = None,
    level1_threshold: float = 0.4,
    level2_threshold: float = 0.3,
    audit_rate: float = 0.1,
    seed: int = 0,
    architecture: str = "dual_concat",
    inputs: InputPlan = INPUTS,
    sizes: Mapping[str, Any] = SIZES,
) -> Path:
    """Write an untrained bundle to `folder`/bundle and return that path. Another seed is another model."""
    taxonomy = taxonomy or tiny_taxonomy()
    tokenizer = tokenizer_of(taxonomy)
    config = config_of(inputs, sizes, taxonomy, tokenizer)
    torch.manual_seed(seed)
    model = build(architecture, config).eval()
    bundle = folder / "bundle"
    parts = BundleParts(
        model=model,
        manifest=BundleManifest(
            name="tiny",
            architecture=architecture,
            architecture_config=config,
            taxonomy_id=taxonomy.id,
            frame_plan=inputs.frame_plan,
            audio_plan=inputs.audio_plan,
            pixels=inputs.pixels,
            text=inputs.text,
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
        probes=random_probes(vocab=config["vocab"], seed=seed, inputs=inputs),
        card="# tiny\n\nRandom weights, for tests.\n",
    )
    write_bundle(bundle, parts)
    return bundle


def preset_bundle(folder: Path, architecture: str, preset: str = "tiny") -> Path:
    """tiny_bundle() of a preset."""
    chosen = presets(architecture)[preset]
    return tiny_bundle(folder, architecture=architecture, inputs=chosen.inputs, sizes=chosen.sizes)


def random_probes(
    *,
    vocab: int,
    seed: int = 0,
    count: int = 4,
    text_length: int = 32,
    audio_length: int = 40,
    inputs: InputPlan = INPUTS,
) -> Probes:
    """Probes that fit `inputs`; the second lacks audio, the third text, the fourth frames."""
    random = np.random.default_rng(seed)
    present = np.ones((3, count), dtype=np.bool_)
    for missing, modality in enumerate((1, 2, 0), start=1):
        if missing < count:
            present[modality, missing] = False
    frame, sound, text = present[:, :, None]
    plan = inputs.frame_plan
    heard = (audio_length, inputs.audio_plan.mels) if inputs.audio_plan else NO_AUDIO
    if inputs.audio_plan is None:
        sound = np.zeros_like(sound)
    return Probes(
        pixels=random.uniform(-1, 1, (count, plan.units, *plan.unit_shape)).astype(np.float32),
        frame_mask=frame & np.ones((count, plan.units), np.bool_),
        audio=random.normal(size=(count, *heard)).astype(np.float32),
        audio_mask=sound & (np.arange(heard[0]) < random.integers(min(8, heard[0]), heard[0] + 1, (count, 1))),
        input_ids=random.integers(0, vocab, (count, text_length)),
        text_mask=text & (np.arange(text_length) < random.integers(8, text_length + 1, (count, 1))),
    )
