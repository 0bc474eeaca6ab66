"""vivit_1: joint space-time attention over the tubelets of a clip, fused late with sound and words."""

from __future__ import annotations

from dataclasses import dataclass

from models.architectures import plans
from models.architectures.base import Preset
from models.architectures.late_fusion import LateFusionConfig, LateFusionModel
from models.layers.vivit import JointSpaceTime


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(LateFusionConfig):
    """Sizes of vivit_1."""


PRESETS = {
    "tiny": Preset(inputs=plans.TINY_CLIP),
    "base": Preset(inputs=plans.BASE_CLIP, sizes=plans.VIVIT_B, training=plans.FINE_TUNING),
}


class Model(LateFusionModel):
    """The two graphs of vivit_1."""

    source = "Arnab et al. 2021 (ViViT), model 1: spatio-temporal attention"

    def __init__(self, config: Config) -> None:
        super().__init__(config, JointSpaceTime)
