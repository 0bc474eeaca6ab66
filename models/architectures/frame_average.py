"""frame_average: a spatial transformer on each frame of a clip and their mean, fused late with sound and words."""

from __future__ import annotations

from dataclasses import dataclass

from models.architectures import plans
from models.architectures.base import Preset
from models.architectures.late_fusion import LateFusionConfig, LateFusionModel
from models.layers.vivit import FrameAverage, VivitConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(LateFusionConfig):
    """With deeper tubelets than 1, as in the paper, the order of the frames inside one still counts."""

    video: VivitConfig = VivitConfig(tubelet=1)


PRESETS = {
    "tiny": Preset(inputs=plans.TINY_CLIP),
    "base": Preset(inputs=plans.BASE_CLIP, sizes=plans.VIVIT_B, training=plans.FINE_TUNING),
}


class Model(LateFusionModel):
    """The two graphs of frame_average."""

    source = "Arnab et al. 2021 (ViViT), Table 2: the frame-average baseline"

    def __init__(self, config: Config) -> None:
        super().__init__(config, FrameAverage)
        self.ordered = config.video.tubelet > 1
