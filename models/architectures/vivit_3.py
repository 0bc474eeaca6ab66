"""vivit_3: attention over space, then over time in each layer, fused late with sound and words."""

from __future__ import annotations

from dataclasses import dataclass

from models.architectures import plans
from models.architectures.base import Preset
from models.architectures.late_fusion import LateFusionConfig, LateFusionModel
from models.layers.vivit import FactorisedSelfAttention


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(LateFusionConfig):
    """Sizes of vivit_3."""


PRESETS = {
    "tiny": Preset(inputs=plans.TINY_CLIP, training=plans.LONGER),
    "base": Preset(inputs=plans.BASE_CLIP, sizes=plans.VIVIT_B, training=plans.FINE_TUNING),
}


class Model(LateFusionModel):
    """The two graphs of vivit_3."""

    source = "Arnab et al. 2021 (ViViT), model 3: factorised self-attention"

    def __init__(self, config: Config) -> None:
        super().__init__(config, FactorisedSelfAttention)
