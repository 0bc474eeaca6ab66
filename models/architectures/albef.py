"""albef: text through its tower, then layers that look into the video; further heads and tasks in training alone."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from models.architectures import plans
from models.architectures.base import Architecture, Inputs, Preset
from models.architectures.parts import heads, media_tokens, text_tower
from models.layers.attention import CrossBlock, attention_bias
from models.layers.audio import AudioConfig
from models.layers.contrast import Contrast
from models.layers.heads import Answers
from models.layers.pooling import masked_mean
from models.layers.streams import ClassToken, Stream, joined
from models.towers.text import TextConfig
from models.towers.vision import VisionConfig, VisionTower


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Inputs):
    """layers: that look into the video, after the text tower's own; motion: see FrameTokens.

    contrast_dim: of the space in which text and video are compared in training.
    """

    vision: VisionConfig = VisionConfig()
    text: TextConfig = TextConfig()
    audio: AudioConfig = AudioConfig()
    layers: int = 2
    contrast_dim: int = 64
    motion: bool = True
    dropout: float = 0.1


_DISTILLATION = {"momentum_distillation": 0.4}  # alpha of Li et al. 2021, section 3.5
PRESETS = {
    "tiny": Preset(inputs=plans.TINY, sizes={"vision": plans.SMALL_GRID}, training=_DISTILLATION),
    "base": Preset(
        inputs=plans.BASE,
        sizes={
            "vision": plans.CLIP_B16,
            "text": TextConfig(style="bert", width=768, layers=6, heads=12),
            "audio": plans.AUDIO_BASE,
            "layers": 6,
            "contrast_dim": 256,
            "motion": False,
        },
        training={**plans.FINE_TUNING, **_DISTILLATION},
    ),
}


class Fusion(nn.Module):
    """Li et al. 2021, section 3.1: self-attention over text, cross-attention into the video, read at the class token.

    That token is learned apart from the vocabulary, so that a video without text has one too.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, dropout = config.text.width, config.dropout
        self.media = media_tokens(
            config.vision, config.audio, config, width=width, motion=config.motion, dropout=dropout
        )
        self.text = text_tower(config.text, config, dropout=dropout)
        self.token = ClassToken(width)
        self.layers = nn.ModuleList(
            CrossBlock(width=width, other=width, heads=config.text.heads, dropout=dropout)
            for _ in range(config.layers)
        )  # fmt: skip
        self.norm = nn.LayerNorm(width)
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
        return self.answers(self.read(input_ids, text_mask), *self.media(frames, frame_mask, audio, audio_mask))

    def read(self, input_ids: Tensor, text_mask: Tensor) -> Stream:
        """The text on its own, behind the class token: states [B, 1 + L, width] and their mask."""
        text, mask = self.token(self.text.embed(input_ids), text_mask)
        return self.text.norm(self.text.run(text, mask, self.text.blocks)), mask

    def answers(self, text: Stream, video: Stream, sound: Stream) -> Answers:
        """Text that has looked into video and sound, to answers."""
        (x, mask), (media, media_mask) = text, joined(video, sound)
        bias = attention_bias(mask)
        for layer in self.layers:
            x = layer(x, bias, media, media_mask)
        out: Answers = self.heads(self.norm(x[:, 0]))
        return out


class Model(Architecture):
    """The two graphs of albef, and what training alone uses: a head on the video's side and the contrastive task."""

    source = "Li et al. 2021, Align before Fuse, arXiv 2107.07651"

    fusion: Fusion

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.text.width
        self.vision = VisionTower(config.vision, size=config.frame_size, dropout=config.dropout)
        self.fusion = Fusion(config)
        self.vision_dim = config.vision.output_dim
        self.embedding_dim = 2 * width
        self.video_heads = heads(config, width=width, embedding_dim=width, dropout=config.dropout)
        self.contrast = Contrast(width=width, dim=config.contrast_dim)

    def training_answers(
        self,
        frames: Tensor,
        frame_mask: Tensor,
        audio: Tensor,
        audio_mask: Tensor,
        input_ids: Tensor,
        text_mask: Tensor,
        *,
        items: Tensor,
    ) -> tuple[list[Answers], Tensor]:
        """The answers, those of the video alone, and the contrast of text and video."""
        text = self.fusion.read(input_ids, text_mask)
        video, sound = self.fusion.media(self.encode(frames, frame_mask), frame_mask, audio, audio_mask)
        seen = masked_mean(*video)
        both = text_mask.any(dim=1) & frame_mask.any(dim=1)
        answers = [self.fusion.answers(text, video, sound), self.video_heads(seen)]
        return answers, self.contrast(text[0][:, 0], seen, both, items)
