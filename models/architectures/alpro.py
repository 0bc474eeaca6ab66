"""alpro: half of the text tower's layers over text, the other half over text, frames and audio together."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from models.architectures import plans
from models.architectures.base import Architecture, Inputs, Preset
from models.architectures.parts import heads, media_tokens, text_tower
from models.layers.audio import AudioConfig
from models.layers.heads import Answers
from models.layers.streams import ClassToken, joined
from models.towers.text import TextConfig
from models.towers.vision import VisionConfig, VisionTower


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Inputs):
    """text_layers: how many of the text tower's layers see text alone; motion: see FrameTokens."""

    vision: VisionConfig = VisionConfig()
    text: TextConfig = TextConfig()
    audio: AudioConfig = AudioConfig()
    text_layers: int = 1
    motion: bool = True
    dropout: float = 0.1


PRESETS = {
    "tiny": Preset(inputs=plans.TINY, sizes={"vision": plans.SMALL_GRID}),
    "base": Preset(
        inputs=plans.BASE,
        sizes={
            **plans.BASE_TOWERS,
            "text_layers": 6,
            "motion": False,
        },
        training=plans.FINE_TUNING,
    ),
}


class Fusion(nn.Module):
    """Li et al. 2022, section 3.1: self-attention over both modalities' tokens, read at the text's class token.

    That token is learned apart from the vocabulary, so that a video without text has one too.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, dropout = config.text.width, config.dropout
        self.text_layers = config.text_layers
        self.media = media_tokens(
            config.vision, config.audio, config, width=width, motion=config.motion, dropout=dropout
        )
        self.text = text_tower(config.text, config, dropout=dropout)
        self.token = ClassToken(width)
        self.heads = heads(config, width=width, embedding_dim=2 * width, dropout=dropout)

    def forward(
        self,
        frames: Tensor,
        frame_mask: Tensor,
        audio: Tensor,
        audio_mask: Tensor,
        input_ids: Tensor,
        text_mask: Tensor,
    ) -> Answers:
        tower, first = self.text, self.text_layers
        text, mask = self.token(tower.embed(input_ids), text_mask)
        text = tower.run(text, mask, tower.blocks[:first])
        video, sound = self.media(frames, frame_mask, audio, audio_mask)
        x, mask = joined((text, mask), video, sound)
        x = tower.norm(tower.run(x, mask, tower.blocks[first:]))
        out: Answers = self.heads(x[:, 0])
        return out


class Model(Architecture):
    """The two graphs of alpro. Raises ValueError where no layer is left for both modalities."""

    source = "Li et al. 2022, Align and Prompt: Video-and-Language Pre-training with Entity Prompts, arXiv 2112.09583"

    def __init__(self, config: Config) -> None:
        super().__init__()
        if not 0 <= config.text_layers < config.text.layers:
            raise ValueError(f"text_layers must leave some of the text tower's {config.text.layers} layers")
        self.vision = VisionTower(config.vision, size=config.frame_size, dropout=config.dropout)
        self.fusion = Fusion(config)
        self.vision_dim = config.vision.output_dim
        self.embedding_dim = 2 * config.text.width
