"""Small checkpoints with random weights, saved as the hub has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers

from models.bundle import PixelNorm

SIZE, PATCH = 32, 8
PIXELS = PixelNorm(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
PROJECTION = 24
_SPECIAL = ["[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]  # the order differs from our own on purpose
_VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": SIZE,
    "patch_size": PATCH,
    "initializer_range": 0.2,
    "initializer_factor": 5.0,
}
_TEXT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 160,
    "initializer_range": 0.2,
    "initializer_factor": 5.0,
}


def save_bert(folder: Path, characters: str, *, head: bool = False, **changes: object) -> Path:
    """A BERT that knows `characters`; with `head` as RoBERTa-wwm and MacBERT are published, for masked words."""
    vocabulary = _save_vocabulary(folder, characters)
    config = transformers.BertConfig(**{**_TEXT, "vocab_size": len(vocabulary), **changes})
    torch.manual_seed(0)
    model = transformers.BertForMaskedLM(config) if head else transformers.BertModel(config)
    _save(model, folder)
    return folder


def save_chinese_clip(folder: Path, characters: str, **vision: object) -> Path:
    """A Chinese-CLIP with its vocabulary and its picture settings."""
    vocabulary = _save_vocabulary(folder, characters)
    config = transformers.ChineseCLIPConfig(
        text_config=_TEXT | {"vocab_size": len(vocabulary)}, vision_config=_VISION | vision, projection_dim=PROJECTION
    )
    torch.manual_seed(1)
    _save(transformers.ChineseCLIPModel(config), folder)
    _save_pixels(folder)
    return folder


def save_vit(folder: Path, **changes: object) -> Path:
    """An image ViT with its picture settings."""
    sizes = {name: value for name, value in _VISION.items() if name != "initializer_factor"}
    config = transformers.ViTConfig(**{**sizes, "intermediate_size": 128, **changes})
    torch.manual_seed(3)
    _save(transformers.ViTModel(config), folder)
    _save_pixels(folder)
    return folder


def save_clip(folder: Path, characters: str) -> Path:
    """A CLIP whose byte pairs are single characters."""
    folder.mkdir(parents=True)
    pieces = sorted(set(characters) - {" "})
    tokens = [*pieces, *(f"{piece}</w>" for piece in pieces), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: place for place, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    transformers.CLIPTokenizer.from_pretrained(folder).save_pretrained(folder)
    end = len(tokens) - 1
    text = _TEXT | {"vocab_size": len(tokens), "bos_token_id": end - 1, "eos_token_id": end, "pad_token_id": end}
    config = transformers.CLIPConfig(text_config=text, vision_config=_VISION, projection_dim=PROJECTION)
    torch.manual_seed(2)
    _save(transformers.CLIPModel(config), folder)
    _save_pixels(folder)
    return folder


def _save(model: Any, folder: Path) -> None:
    with torch.no_grad():  # biases and norms begin alike everywhere, and would hide one taken for another
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(folder)


def _save_vocabulary(folder: Path, characters: str) -> list[str]:
    folder.mkdir(parents=True)
    tokens = [*_SPECIAL, *sorted(set(characters.lower()) - {" "})]
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    transformers.BertTokenizer.from_pretrained(folder).save_pretrained(folder)
    return tokens


def _save_pixels(folder: Path) -> None:
    said = {"image_mean": PIXELS.mean, "image_std": PIXELS.std, "image_processor_type": "ChineseCLIPImageProcessor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
