"""A checkpoint of CLIP or Chinese-CLIP and a taxonomy's prompts -> a bundle, with no training."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.architectures import build, plans, zeroshot
from models.architectures.base import InputPlan, inputs_of
from models.bundle import BundleManifest
from models.decision.policy import PolicyFile
from models.preprocess.audio import NO_AUDIO
from models.preprocess.pixels import normalise
from models.preprocess.text import TextEncoder, train_tokenizer
from models.towers.checkpoint import read_config, read_model, read_pixels, read_tokenizer
from models.towers.pretrained import named, vision_config, vision_weights
from models.towers.vision import CLIP_PIXELS, VisionConfig
from models.training.decoded import Progress
from models.training.export import BundleParts, write_bundle
from models.training.probes import Probes
from schemas.taxonomy import Level2, Taxonomy

# model_type -> its class, its tokenizer's, and the language it reads
_KINDS = {
    "clip": ("CLIPModel", "CLIPTokenizer", "en"),
    "chinese_clip": ("ChineseCLIPModel", "BertTokenizer", "zh"),
}
_TEMPLATES = {
    "zh": ("{}", "一段关于{}的视频", "{}的视频画面"),
    "en": ("{}", "a video of {}", "a frame of a video about {}"),
}
_BATCH = 64  # sentences
_THRESHOLD = 0.9
_AUDIT_RATE = 0.1
_TARGET_RISK = 0.05


@dataclass(frozen=True, slots=True)
class PictureText:
    """A checkpoint, read. weights: the vision tower's, under our names."""

    name: str
    model: Any
    tokenizer: Any
    language: str
    vision: VisionConfig
    weights: dict[str, Tensor]
    inputs: InputPlan


def read_checkpoint(source: str) -> PictureText:
    """By folder or hub name. Raises UserError where it cannot be read or is another model."""
    config = read_config(source, _KINDS, "a CLIP or Chinese-CLIP model of pictures and text")
    kind, tokenizer, language = _KINDS[config.model_type]
    size = config.vision_config.image_size
    vision = vision_config(source, size=size)
    words = read_tokenizer(source, tokenizer)
    model = read_model(source, kind, "")
    plan = zeroshot.inputs(replace(plans.BASE.frame_plan, size=size))
    return PictureText(
        name=Path(source).resolve().name if Path(source).is_dir() else source,
        model=model,
        tokenizer=words,
        language=language,
        vision=vision,
        weights=vision_weights(named(model, "vision_model.")),
        inputs=replace(plan, pixels=read_pixels(source, CLIP_PIXELS)),
    )


def write_zeroshot(folder: Path, read: PictureText, taxonomy: Taxonomy, *, progress: Progress) -> None:
    """The bundle. Raises UserError as write_bundle() does."""
    classes = class_embeddings(read, taxonomy, progress=progress)
    text = TextEncoder(read.inputs.text, train_tokenizer((), min_count=1))  # a bundle has one; this model reads no text
    config = inputs_of(
        read.inputs,
        parent=tuple(taxonomy.parent_index),
        n_level1=len(taxonomy.level1),
        vocab=text.tokenizer.get_vocab_size(),
        separator=text.special.end,
    ) | {"vision": asdict(read.vision), "projection_dim": classes.shape[1]}
    model = build("zeroshot", config)
    state = {f"vision.tower.{name}": weight for name, weight in read.weights.items()}
    state["vision.project.weight"] = read.model.visual_projection.weight
    model.load_state_dict(state | {"fusion.class_embeddings": classes, "fusion.logit_scale": read.model.logit_scale})
    parts = BundleParts(
        model=model.eval(),
        manifest=BundleManifest(
            name=folder.name,
            architecture="zeroshot",
            architecture_config=config,
            taxonomy_id=taxonomy.id,
            frame_plan=read.inputs.frame_plan,
            audio_plan=None,
            pixels=read.inputs.pixels,
            text=read.inputs.text,
            embedding_dim=model.embedding_dim,
            vision_dim=model.vision_dim,
            trained_from={"checkpoint": read.name, "prompts": read.language},
        ),
        taxonomy=taxonomy,
        tokenizer=text.tokenizer,
        policy=_policy(taxonomy),
        probes=_probes(read.inputs),
        card=_card(folder.name, read, taxonomy, model),
    )
    write_bundle(folder, parts)


def sentences(category: Level2, language: str) -> list[str]:
    """What is said of a category: its own prompts, and its name in every template."""
    name, prompts = (category.zh, category.prompts.zh) if language == "zh" else (category.en, category.prompts.en)
    return [*prompts, *(template.format(name) for template in _TEMPLATES[language])]


@torch.inference_mode()
def class_embeddings(read: PictureText, taxonomy: Taxonomy, *, progress: Progress) -> Tensor:
    """[C2, projection_dim]: of each category the mean of its sentences' unit embeddings, as a unit vector."""
    said = [sentences(category, read.language) for category in taxonomy.level2]
    flat = [sentence for each in said for sentence in each]
    longest = read.model.config.text_config.max_position_embeddings
    embedded = []
    for start in range(0, len(flat), _BATCH):
        tokens = read.tokenizer(
            flat[start : start + _BATCH], padding=True, truncation=True, max_length=longest, return_tensors="pt"
        )
        embedded.append(functional.normalize(read.model.get_text_features(**tokens).pooler_output, dim=-1))
        progress(min(start + _BATCH, len(flat)), len(flat))
    of_category = torch.split(torch.cat(embedded), [len(each) for each in said])
    return functional.normalize(torch.stack([each.mean(0) for each in of_category]), dim=-1)


def _policy(taxonomy: Taxonomy) -> PolicyFile:
    """Nothing is known of how often it is wrong: only what it is almost sure of is published, the rest is reviewed."""
    return PolicyFile(
        taxonomy_id=taxonomy.id,
        level1_thresholds={category.id: _THRESHOLD for category in taxonomy.level1},
        level2_thresholds={category.id: _THRESHOLD for category in taxonomy.level2},
        audit_rate=_AUDIT_RATE,
        target_risk=_TARGET_RISK,
        calibration={"source": "none: the thresholds were set by hand"},
    )


def _probes(inputs: InputPlan) -> Probes:
    """Coarse random pictures, which compress well; the last video has none."""
    plan, count, squares = inputs.frame_plan, 3, 8
    coarse = np.random.default_rng(0).integers(0, 256, (count * plan.count, squares, squares, 3), np.uint8)
    at = np.arange(plan.size) * squares // plan.size
    pixels = normalise(coarse[:, at][:, :, at], inputs.pixels.mean, inputs.pixels.std)
    length = max(inputs.text.length_buckets)
    return Probes(
        pixels=pixels.reshape(count, plan.units, *plan.unit_shape),
        frame_mask=np.repeat(np.arange(count)[:, None] < count - 1, plan.units, axis=1),
        audio=np.zeros((count, *NO_AUDIO), np.float32),
        audio_mask=np.zeros((count, NO_AUDIO[0]), np.bool_),
        input_ids=np.zeros((count, length), np.int64),
        text_mask=np.zeros((count, length), np.bool_),
    )


def _card(name: str, read: PictureText, taxonomy: Taxonomy, model: nn.Module) -> str:
    plan = read.inputs.frame_plan
    parameters = sum(parameter.numel() for parameter in model.parameters())
    said = sum(len(sentences(category, read.language)) for category in taxonomy.level2)
    return f"""# {name}

| | |
| --- | --- |
| made from | the published checkpoint `{read.name}`, {parameters:,} parameters, with no training |
| answers | {len(taxonomy.level1)} level-1 and {len(taxonomy.level2)} level-2 categories |
| frames | {plan.count} of {plan.size} x {plan.size} pixels |
| sound, text | not looked at |
| categories | known by {said:,} sentences ({read.language}): the taxonomy's prompts, and their names in templates |

## When it publishes

**Uncalibrated.** A probability of {_THRESHOLD} or more is published, with {_AUDIT_RATE:.0%} of that going to people \
as well; everything else goes to review. The threshold was set by hand: no bound on wrong answers holds. \
`reelsort calibrate BUNDLE --data DIR` replaces it by measured ones from labelled videos, and needs no training.

## Limits

- Not evaluated: run `reelsort evaluate BUNDLE --data DIR`.
- Frames are averaged: neither their order nor what is said, heard or written around a video counts.
- Classes outside the taxonomy are answered with a class inside it.
- The checkpoint's licence and its limits are its publisher's.
"""
