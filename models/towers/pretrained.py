"""Published weights: sizes and state dicts from checkpoints of CLIP, Chinese-CLIP, ViT and BERT.

A tower takes them as they are; a video encoder begins as an image ViT (models/layers/vivit_from_image.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from models.layers.tubelet import central_frame_filters
from models.layers.vivit import VideoEncoder, VivitConfig
from models.layers.vivit_from_image import initialise_from_image
from models.towers.checkpoint import check_same, read_config, read_model
from models.towers.text import TextConfig, TextTower
from models.towers.vision import VisionConfig, VisionTower
from schemas.errors import UserError

Weights = dict[str, Tensor]
Tower = TypeVar("Tower", bound=nn.Module)

# model_type -> the class that reads it, and how the names of the tower's weights begin there
_VISION = {
    "clip": ("CLIPModel", "vision_model."),
    "clip_vision_model": ("CLIPVisionModel", ""),
    "chinese_clip": ("ChineseCLIPModel", "vision_model."),
    "chinese_clip_vision_model": ("ChineseCLIPVisionModel", ""),
}
_TEXT = {"bert": ("BertModel", ""), "chinese_clip": ("ChineseCLIPModel", "text_model.")}
_IMAGE = {"vit": ("ViTModel", "")}
_CLIP_KIND = "a CLIP or Chinese-CLIP model"
_IMAGE_KIND = "an image ViT"

# our names of a block's parts -> theirs; three that become one matrix where there are three
_Names = Mapping[str, str | tuple[str, ...]]
_CLIP_BLOCK: _Names = {
    "norm1": "layer_norm1",
    "attention.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attention.out": "self_attn.out_proj",
    "norm2": "layer_norm2",
    "mlp.0": "mlp.fc1",
    "mlp.2": "mlp.fc2",
}
_VIT_BLOCK: _Names = {
    "norm1": "layernorm_before",
    "attention.qkv": ("attention.q_proj", "attention.k_proj", "attention.v_proj"),
    "attention.out": "attention.o_proj",
    "norm2": "layernorm_after",
    "mlp.0": "mlp.fc1",
    "mlp.2": "mlp.fc2",
}
_BERT_BLOCK: _Names = {
    "norm1": "attention.output.LayerNorm",
    "attention.qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "attention.out": "attention.output.dense",
    "norm2": "output.LayerNorm",
    "mlp.0": "intermediate.dense",
    "mlp.2": "output.dense",
}


def vision_config(source: str, *, size: int, grid: int = 0) -> VisionConfig:
    """Sizes of a checkpoint's vision tower; reads no weights.

    Raises UserError where it cannot be read, or was trained on pictures of another size than `size` pixels: its
    position table has one row a patch.
    """
    config = _part(read_config(source, _VISION, _CLIP_KIND), "vision_config")
    check_same(source, config, {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "num_channels": 3})
    _check_size(source, config, size)
    return VisionConfig(
        style="clip",
        width=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        hidden=config.intermediate_size,
        patch=config.patch_size,
        grid=grid,
    )


def video_config(source: str, *, size: int, tubelet: int) -> VivitConfig:
    """Sizes of a video encoder that begins as the image ViT of a checkpoint. Raises UserError as vision_config()."""
    config = read_config(source, _IMAGE, _IMAGE_KIND)
    hidden = 4 * config.hidden_size
    check_same(source, config, {"hidden_act": "gelu", "num_channels": 3, "intermediate_size": hidden, "qkv_bias": True})
    _check_size(source, config, size)
    return VivitConfig(
        width=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        patch=config.patch_size,
        tubelet=tubelet,
    )


def _check_size(source: str, config: Any, size: int) -> None:
    if config.image_size != size:
        raise UserError(
            f"{source} sees pictures of {config.image_size} pixels; the frame plan gives {size}",
            "choose a preset whose frames have that size, such as base, or another model",
        )


def text_config(source: str, *, length: int) -> TextConfig:
    """Sizes of a checkpoint's BERT; reads no weights.

    Raises UserError where it cannot be read, or has positions for fewer than `length` tokens.
    """
    config = _part(read_config(source, _TEXT, "a BERT or Chinese-CLIP model"), "text_config")
    check_same(source, config, {"hidden_act": "gelu", "layer_norm_eps": 1e-12, "position_embedding_type": "absolute"})
    if config.max_position_embeddings < length:
        raise UserError(
            f"{source} reads at most {config.max_position_embeddings} tokens; the text template allows {length}",
            "lower the template's max_tokens and length_buckets, or name another model",
        )
    return TextConfig(
        style="bert",
        width=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        hidden=config.intermediate_size,
    )


def load_vision(model: nn.Module, source: str) -> None:
    """Into every vision tower inside `model`, all of the sizes that vision_config() says."""
    kind, part = _VISION[read_config(source, _VISION, _CLIP_KIND).model_type]
    weights = vision_weights(named(read_model(source, kind, part), part))
    for tower in _towers(model, VisionTower, source):
        _load(tower, weights, source)


def load_video(model: nn.Module, source: str) -> None:
    """Into every video encoder inside `model`, all of the sizes that video_config() says; filters of the central frame
    see the picture (ViViT, Eq. 9), which the paper found best."""
    kind, part = _IMAGE[read_config(source, _IMAGE, _IMAGE_KIND).model_type]
    weights = image_weights(named(read_model(source, kind, part), part))
    for encoder in _towers(model, VideoEncoder, source):
        initialise_from_image(encoder, weights, central_frame_filters)


def load_text(model: nn.Module, source: str) -> None:
    """Into every text tower inside `model`, all of the sizes that text_config() says, or with only the first layers."""
    kind, part = _TEXT[read_config(source, _TEXT, "a BERT or Chinese-CLIP model").model_type]
    read = named(read_model(source, kind, part), part)
    for tower in _towers(model, TextTower, source):
        weights = text_weights(
            read,
            vocab=tower.tokens.num_embeddings,
            fields=tower.segments.num_embeddings,
            length=len(tower.positions),
        )
        kept = tower.state_dict().keys()
        _load(
            tower, {name: weight for name, weight in weights.items() if name in kept or "blocks." not in name}, source
        )


def vision_weights(read: Mapping[str, Tensor]) -> Weights:
    """transformers' names of a CLIP or Chinese-CLIP vision tower -> VisionTower(style="clip")."""
    return {
        "stem.weight": read["embeddings.patch_embedding.weight"],
        "cls": read["embeddings.class_embedding"],
        "positions": read["embeddings.position_embedding.weight"],
        **_affine("before", read, "pre_layrnorm"),  # their spelling
        **_affine("norm", read, "post_layernorm"),
        **_blocks(read, "encoder.layers.", _CLIP_BLOCK),
    }


def image_weights(read: Mapping[str, Tensor]) -> Weights:
    """transformers' names of a ViT -> VisionTower(style="vit")."""
    return {
        **_affine("stem", read, "embeddings.patch_embeddings.projection"),
        "cls": read["embeddings.cls_token"].flatten(),
        "positions": read["embeddings.position_embeddings"].squeeze(0),
        **_affine("norm", read, "layernorm"),
        **_blocks(read, "layers.", _VIT_BLOCK),
    }


def text_weights(read: Mapping[str, Tensor], *, vocab: int, fields: int, length: int) -> Weights:
    """transformers' names of a BERT -> TextTower(style="bert"), which then answers exactly as published.

    Every token is of type 0, so that type's embedding is added to the positions; the table that tells our fields
    apart, which BERT does not have, starts at zero.
    """
    tokens = read["embeddings.word_embeddings.weight"]
    positions = read["embeddings.position_embeddings.weight"] + read["embeddings.token_type_embeddings.weight"][0]
    return {
        "tokens.weight": tokens[:vocab],
        "segments.weight": torch.zeros(fields, tokens.shape[1]),
        "positions": positions[:length],
        **_affine("before", read, "embeddings.LayerNorm"),
        **_blocks(read, "encoder.layer.", _BERT_BLOCK),
    }


def _blocks(read: Mapping[str, Tensor], prefix: str, names: _Names) -> Weights:
    """All blocks, under our names."""
    weights: Weights = {}
    for place in range(len({name.removeprefix(prefix).partition(".")[0] for name in read if name.startswith(prefix)})):
        for ours, theirs in names.items():
            parts = (theirs,) if isinstance(theirs, str) else theirs
            weights |= _affine(f"blocks.{place}.{ours}", read, *(f"{prefix}{place}.{part}" for part in parts))
    return weights


def _affine(ours: str, read: Mapping[str, Tensor], *theirs: str) -> Weights:
    """Weight and bias; of several, one under the other."""
    return {f"{ours}.{each}": torch.cat([read[f"{name}.{each}"] for name in theirs]) for each in ("weight", "bias")}


def named(model: nn.Module, part: str) -> Weights:
    """The weights whose names begin with `part`, without it; some classes put a tower under its own name."""
    found = {name.removeprefix(part): weight for name, weight in model.state_dict().items() if name.startswith(part)}
    return {name.removeprefix("vision_model."): weight for name, weight in found.items()}


def _part(config: Any, name: Literal["vision_config", "text_config"]) -> Any:
    return getattr(config, name, config)


def _towers(model: nn.Module, kind: type[Tower], source: str) -> list[Tower]:
    found = [module for module in model.modules() if isinstance(module, kind)]
    if not found:
        raise UserError(f"this architecture has no tower for {source}", "leave the weights out, or name another one")
    return found


def _load(tower: nn.Module, weights: Weights, source: str) -> None:
    try:
        tower.load_state_dict(weights)
    except RuntimeError as error:
        why = str(error).splitlines()[-1].strip()
        raise UserError(f"the weights of {source} do not fit the tower: {why}", "name a model of its sizes") from error
