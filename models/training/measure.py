"""How large an architecture is, and what a video costs it: built on the meta device, so that nothing is computed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from models.architectures import build, preset_of
from models.architectures.base import InputPlan, inputs_of
from models.preprocess.audio import features_shape
from schemas.taxonomy import default_taxonomy

VOCABULARY = 21_128  # tokens, of the published Chinese BERTs
_SEPARATOR = 102


@dataclass(frozen=True, slots=True)
class Size:
    """A preset under the default taxonomy. macs: multiply-accumulates of matrix products for one video, everything
    present and at its longest."""

    architecture: str
    preset: str
    parameters: int
    macs: int
    inputs: InputPlan
    source: str


def measure(architecture: str, preset: str) -> Size:
    """Raises UserError for an unknown name, or where torch is missing."""
    chosen, taxonomy = preset_of(architecture, preset), default_taxonomy()
    plan = chosen.inputs
    config = dict(chosen.sizes) | inputs_of(
        plan,
        parent=tuple(taxonomy.parent_index),
        n_level1=len(taxonomy.level1),
        vocab=VOCABULARY,
        separator=_SEPARATOR,
    )
    with torch.device("meta"):
        model = build(architecture, config).eval()
        audio = features_shape(plan.audio_plan)
        units, length = plan.frame_plan.units, max(plan.text.length_buckets)
        video = (
            torch.empty(1, units, *plan.frame_plan.unit_shape),
            torch.empty(1, units, dtype=torch.bool),
            torch.empty(1, *audio),
            torch.empty(1, audio[0], dtype=torch.bool),
            torch.empty(1, length, dtype=torch.int64),
            torch.empty(1, length, dtype=torch.bool),
        )
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(*video)
    return Size(
        architecture=architecture,
        preset=preset,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        macs=counter.get_total_flops() // 2,
        inputs=plan,
        source=model.source,
    )
