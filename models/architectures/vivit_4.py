"""vivit_4: heads over space beside heads over time in each layer, fused late with sound and words."""

from __future__ import annotations

from dataclasses import dataclass

from models.architectures import plans
from models.architectures.base import Architecture, Preset
from models.layers.late_fusion import LateFusion, LateFusionConfig
from models.layers.vivit import FactorisedDotProduct, VivitConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(LateFusionConfig):
    """Sizes of vivit_4."""

    video: VivitConfig = VivitConfig()


PRESETS = {
    "tiny": Preset(inputs=plans.TINY_CLIP),
    "base": Preset(inputs=plans.BASE_CLIP, sizes=plans.VIVIT_B, training=plans.FINE_TUNING),
}


class Model(Architecture):
    """The two graphs of vivit_4."""

    source = "Arnab et al. 2021 (ViViT), model 4: factorised dot-product attention"
    takes_clips = True

    def __init__(self, config: Config) -> None:
        super().__init__()
        assert config.clip is not None  # as of any architecture that takes clips
        self.vision = FactorisedDotProduct(
            config.video,
            frames=config.clip,
            size=config.frame_size,
            dropout=config.dropout,
        )
        self.fusion = LateFusion(config, video_dim=config.video.width)
        self.vision_dim = config.video.width
        self.embedding_dim = 2 * config.width
