"""Published weights for the towers: sizes and state dicts from checkpoints of CLIP, Chinese-CLIP and BERT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

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


def vision_config(source: str, *, size: int, grid: int = 0) -> VisionConfig:
    """Sizes of a checkpoint's vision tower; reads no weights.

    Raises UserError where it cannot be read, or was trained on pictures of another size than `size` pixels: its
    position table has one row a patch.
    """
    config = _part(read_config(source, _VISION, "a CLIP or Chinese-CLIP model"), "vision_config")
    check_same(source, config, {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "num_channels": 3})
    if config.image_size != size:
        raise UserError(
            f"{source} sees pictures of {config.image_size} pixels; the frame plan gives {size}",
            "choose a preset whose frames have that size, such as base, or another model",
        )
    return VisionConfig(
        style="clip",
        width=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        hidden=config.intermediate_size,
        patch=config.patch_size,
        grid=grid,
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
    kind, part = _VISION[read_config(source, _VISION, "a CLIP or Chinese-CLIP model").model_type]
    weights = vision_weights(named(read_model(source, kind, part), part))
    for tower in _towers(model, VisionTower, source):
        _load(tower, weights, source)


def load_text(model: nn.Module, source: str) -> None:
    """Into every text tower inside `model`, all of the sizes that text_config() says."""
    kind, part = _TEXT[read_config(source, _TEXT, "a BERT or Chinese-CLIP model").model_type]
    read = named(read_model(source, kind, part), part)
    for tower in _towers(model, TextTower, source):
        weights = text_weights(
            read,
            vocab=tower.tokens.num_embeddings,
            fields=tower.segments.num_embeddings,
            length=len(tower.positions),
        )
        _load(tower, weights, source)


def vision_weights(read: Mapping[str, Tensor]) -> Weights:
    """transformers' names of a CLIP or Chinese-CLIP vision tower -> VisionTower(style="clip")."""
    weights = {
        "stem.weight": read["embeddings.patch_embedding.weight"],
        "cls": read["embeddings.class_embedding"],
        "positions": read["embeddings.position_embedding.weight"],
        **_affine("before", read, "pre_layrnorm"),  # their spelling
        **_affine("norm", read, "post_layernorm"),
    }
    for place in range(_layers(read, "encoder.layers.")):
        ours, theirs = f"blocks.{place}", f"encoder.layers.{place}"
        weights |= _affine(f"{ours}.norm1", read, f"{theirs}.layer_norm1")
        weights |= _fused(
            f"{ours}.attention.qkv", read, *(f"{theirs}.self_attn.{each}_proj" for each in ("q", "k", "v"))
        )
        weights |= _affine(f"{ours}.attention.out", read, f"{theirs}.self_attn.out_proj")
        weights |= _affine(f"{ours}.norm2", read, f"{theirs}.layer_norm2")
        weights |= _affine(f"{ours}.mlp.0", read, f"{theirs}.mlp.fc1")
        weights |= _affine(f"{ours}.mlp.2", read, f"{theirs}.mlp.fc2")
    return weights


def text_weights(read: Mapping[str, Tensor], *, vocab: int, fields: int, length: int) -> Weights:
    """transformers' names of a BERT -> TextTower(style="bert"), which then answers exactly as published.

    Every token is of type 0, so that type's embedding is added to the positions; the table that tells our fields
    apart, which BERT does not have, starts at zero.
    """
    tokens = read["embeddings.word_embeddings.weight"]
    positions = read["embeddings.position_embeddings.weight"] + read["embeddings.token_type_embeddings.weight"][0]
    weights = {
        "tokens.weight": tokens[:vocab],
        "segments.weight": torch.zeros(fields, tokens.shape[1]),
        "positions": positions[:length],
        **_affine("before", read, "embeddings.LayerNorm"),
    }
    for place in range(_layers(read, "encoder.layer.")):
        ours, theirs = f"blocks.{place}", f"encoder.layer.{place}"
        weights |= _fused(
            f"{ours}.attention.qkv", read, *(f"{theirs}.attention.self.{each}" for each in ("query", "key", "value"))
        )
        weights |= _affine(f"{ours}.attention.out", read, f"{theirs}.attention.output.dense")
        weights |= _affine(f"{ours}.norm1", read, f"{theirs}.attention.output.LayerNorm")
        weights |= _affine(f"{ours}.mlp.0", read, f"{theirs}.intermediate.dense")
        weights |= _affine(f"{ours}.mlp.2", read, f"{theirs}.output.dense")
        weights |= _affine(f"{ours}.norm2", read, f"{theirs}.output.LayerNorm")
    return weights


def named(model: nn.Module, part: str) -> Weights:
    """The weights whose names begin with `part`, without it; some classes put a tower under its own name."""
    found = {name.removeprefix(part): weight for name, weight in model.state_dict().items() if name.startswith(part)}
    return {name.removeprefix("vision_model."): weight for name, weight in found.items()}


def _part(config: Any, name: Literal["vision_config", "text_config"]) -> Any:
    return getattr(config, name, config)


def _layers(read: Mapping[str, Tensor], prefix: str) -> int:
    return len({name.removeprefix(prefix).partition(".")[0] for name in read if name.startswith(prefix)})


def _affine(ours: str, read: Mapping[str, Tensor], theirs: str) -> Weights:
    return {f"{ours}.{each}": read[f"{theirs}.{each}"] for each in ("weight", "bias")}


def _fused(ours: str, read: Mapping[str, Tensor], *theirs: str) -> Weights:
    """Queries, keys and values as one matrix."""
    return {f"{ours}.{each}": torch.cat([read[f"{name}.{each}"] for name in theirs]) for each in ("weight", "bias")}


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
