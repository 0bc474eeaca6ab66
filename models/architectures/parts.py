"""Parts of a fusion that follow from its inputs: what stands in Inputs is said once, here."""

from __future__ import annotations

from models.architectures.base import Inputs
from models.layers.audio import AudioConfig
from models.layers.heads import Heads
from models.layers.streams import MediaTokens
from models.towers.text import TextConfig, TextTower
from models.towers.vision import VisionConfig


def text_tower(text: TextConfig, inputs: Inputs, *, dropout: float) -> TextTower:
    """A text tower for the inputs' vocabulary, fields and length."""
    return TextTower(
        text,
        vocab=inputs.vocab,
        separator=inputs.separator,
        fields=inputs.text_fields,
        length=inputs.text_length,
        dropout=dropout,
    )


def media_tokens(
    vision: VisionConfig, audio: AudioConfig, inputs: Inputs, *, width: int, motion: bool, dropout: float
) -> MediaTokens:
    """Tokens of `width` of what such a vision tower leaves of each frame, and of the inputs' sound."""
    return MediaTokens(
        frames=inputs.frames,
        tokens=vision.tokens,
        depth=vision.width,
        audio=audio,
        mels=inputs.mels,
        audio_length=inputs.audio_length,
        width=width,
        motion=motion,
        dropout=dropout,
    )


def heads(inputs: Inputs, *, width: int, embedding_dim: int, dropout: float) -> Heads:
    """Heads over the inputs' two levels."""
    return Heads(
        width=width,
        embedding_dim=embedding_dim,
        n_level1=inputs.n_level1,
        n_level2=inputs.n_level2,
        dropout=dropout,
    )
