"""vivit_2: a spatial, then a temporal transformer over a clip, fused late with sound and words."""

from __future__ import annotations

from dataclasses import dataclass

from models.architectures import plans
from models.architectures.base import Architecture, Preset
from models.layers.late_fusion import LateFusion, LateFusionConfig
from models.layers.vivit import FactorisedEncoder, VivitConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(LateFusionConfig):
    """temporal_layers: of the transformer over the times of a clip."""

    video: VivitConfig = VivitConfig()
    temporal_layers: int = 1


PRESETS = {
    "tiny": Preset(inputs=plans.TINY_CLIP),
    "base": Preset(inputs=plans.BASE_CLIP, sizes={**plans.VIVIT_B, "temporal_layers": 4}, training=plans.FINE_TUNING),
}


class Model(Architecture):
    """The two graphs of vivit_2."""

    source = "Arnab et al. 2021 (ViViT), model 2: factorised encoder"
    takes_clips = True

    def __init__(self, config: Config) -> None:
        super().__init__()
        assert config.clip is not None  # as of any architecture that takes clips
        self.vision = FactorisedEncoder(
            config.video,
            temporal_layers=config.temporal_layers,
            frames=config.clip,
            size=config.frame_size,
            dropout=config.dropout,
        )
        self.fusion = LateFusion(config, video_dim=config.video.width)
        self.vision_dim = config.video.width
        self.embedding_dim = 2 * config.width
