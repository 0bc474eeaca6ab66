"""vivit_4: heads over space beside heads over time in each layer, fused late with sound and words."""

from __future__ import annotations

from dataclasses import dataclass

from models.architectures import plans
from models.architectures.base import Preset
from models.architectures.late_fusion import LateFusionConfig, LateFusionModel
from models.layers.vivit import FactorisedDotProduct


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(LateFusionConfig):
    """Sizes of vivit_4."""


PRESETS = {
    "tiny": Preset(inputs=plans.TINY_CLIP, training=plans.LONGER),
    "base": Preset(inputs=plans.BASE_CLIP, sizes=plans.VIVIT_B, training=plans.FINE_TUNING),
}


class Model(LateFusionModel):
    """The two graphs of vivit_4."""

    source = "Arnab et al. 2021 (ViViT), model 4: factorised dot-product attention"

    def __init__(self, config: Config) -> None:
        super().__init__(config, FactorisedDotProduct)
