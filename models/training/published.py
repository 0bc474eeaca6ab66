"""Published weights in a training: what a checkpoint says of a recipe, and its weights in a model.

transformers takes seconds to import, so only recipes that name a checkpoint do it.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from tokenizers import Tokenizer

from models.architectures import default_of, sizes_of
from models.architectures.base import Architecture
from models.bundle import PixelNorm
from models.layers.vivit import VivitConfig
from models.towers.text import TextConfig
from models.towers.vision import CLIP_PIXELS, VisionConfig
from models.training.recipe import Recipe
from schemas.errors import UserError


def resolve(recipe: Recipe) -> tuple[Recipe, Tokenizer | None]:
    """The recipe with the sizes and pixels of the checkpoints it names, and the text checkpoint's tokenizer.

    Reads no weights. Raises UserError where a checkpoint cannot be read or does not fit the architecture.
    """
    options, pixels = dict(recipe.options), recipe.pixels
    tokenizer = None
    if recipe.vision_weights or recipe.text_weights:
        from models.towers.checkpoint import read_pixels, read_wordpieces
        from models.towers.pretrained import text_config, video_config, vision_config
    if source := recipe.vision_weights:
        size = recipe.frame_plan.size
        if _sees_clips(recipe):
            tubelet = options.get("video", {}).get("tubelet", default_of(recipe.architecture, "video").tubelet)
            options["video"] = asdict(video_config(source, size=size, tubelet=tubelet))
        else:
            _need_tower(recipe.architecture, "vision", VisionConfig)
            grid = options.get("vision", {}).get("grid", 0)
            options["vision"] = asdict(vision_config(source, size=size, grid=grid))
        pixels = read_pixels(source, PixelNorm() if _sees_clips(recipe) else CLIP_PIXELS)
    if source := recipe.text_weights:
        if recipe.text.tokens == "words":
            raise UserError(
                f"{source} reads word pieces of its own vocabulary, not words", "train it by characters, or without it"
            )
        published = text_config(source, length=max(recipe.text.length_buckets))
        options = _with_text_tower(recipe.architecture, options, published)
        tokenizer = read_wordpieces(source)
    return recipe.model_copy(update={"options": options, "pixels": pixels}), tokenizer


def load(model: Architecture, recipe: Recipe) -> None:
    """The weights that the recipe names, into a model of a resolved recipe."""
    if recipe.vision_weights or recipe.text_weights:
        from models.towers.pretrained import load_text, load_video, load_vision
    if recipe.vision_weights:
        (load_video if _sees_clips(recipe) else load_vision)(model, recipe.vision_weights)
    if recipe.text_weights:
        load_text(model, recipe.text_weights)


def _sees_clips(recipe: Recipe) -> bool:
    return sizes_of(recipe.architecture).get("video") is VivitConfig


def _with_text_tower(architecture: str, options: dict[str, Any], published: TextConfig) -> dict[str, Any]:
    """The sizes of an architecture whose text is read as a checkpoint does; those of every member of an ensemble."""
    if "members" in sizes_of(architecture):
        members = [
            member | {"sizes": _with_text_tower(member["architecture"], member.get("sizes", {}), published)}
            for member in options["members"]
        ]
        return options | {"members": members}
    _need_tower(architecture, "text", TextConfig)
    layers = options.get("text", {}).get("layers", published.layers)  # ALBEF reads text with half a BERT
    return options | {"text": asdict(replace(published, layers=min(layers, published.layers)))}


def _need_tower(architecture: str, name: str, wanted: type[Any]) -> None:
    if sizes_of(architecture).get(name) is not wanted:
        raise UserError(
            f"{architecture} has no {name} tower that published weights fit",
            f"train it without --{name}-weights, or name another architecture",
        )
