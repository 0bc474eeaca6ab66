"""vivit_2: a spatial, then a temporal transformer over a clip, fused late with sound and words."""

from __future__ import annotations

from dataclasses import dataclass

from models.architectures import plans
from models.architectures.base import Preset
from models.architectures.late_fusion import LateFusionConfig, LateFusionModel
from models.layers.vivit import FactorisedEncoder


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(LateFusionConfig):
    """temporal_layers: of the transformer over the times of a clip."""

    temporal_layers: int = 1


PRESETS = {
    "tiny": Preset(inputs=plans.TINY_CLIP),
    "base": Preset(inputs=plans.BASE_CLIP, sizes={**plans.VIVIT_B, "temporal_layers": 4}, training=plans.FINE_TUNING),
}


class Model(LateFusionModel):
    """The two graphs of vivit_2."""

    source = "Arnab et al. 2021 (ViViT), model 2: factorised encoder"

    def __init__(self, config: Config) -> None:
        super().__init__(config, FactorisedEncoder, temporal_layers=config.temporal_layers)
