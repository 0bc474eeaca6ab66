"""A video encoder that begins as an image ViT: ViViT, section 3.4."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from models.layers.tubelet import repeated_positions
from models.layers.vivit import ClassTokenStack, SpaceThenTimeBlock, VideoEncoder

_TIME = ("time_norm", "time_attention")


def initialise_from_image(
    encoder: VideoEncoder, image: Mapping[str, Tensor], filters: Callable[[Tensor, int], Tensor]
) -> None:
    """In place, from the state of a VisionTower of style `vit` with as many layers.

    filters: inflated_filters or central_frame_filters. Positions are repeated over time. Model 3's temporal attention
    adds nothing at first, as its projection is zero; model 2's temporal transformer stays as it is. Raises ValueError
    where the image model has other layers, and RuntimeError where it has other widths, patches or pictures.
    """
    stack, tubelets = encoder.stack, encoder.tubelets
    cls = isinstance(stack, ClassTokenStack)
    times = (len(stack.positions) - cls) // encoder.places
    state = {name: tensor for name, tensor in image.items() if not name.startswith("stem.") and (cls or name != "cls")}
    state["positions"] = repeated_positions(image["positions"], times, cls=cls)
    missing, unexpected = stack.load_state_dict(state, strict=False)
    other = [*unexpected, *(name for name in missing if not any(part in name for part in _TIME))]
    if other:
        raise ValueError(f"the image model has other layers: {', '.join(other[:3])}")

    kernel = filters(image["stem.weight"], tubelets.depth)
    tubelets.projection.load_state_dict({"weight": kernel, "bias": image["stem.bias"]})
    for block in stack.blocks:
        if isinstance(block, SpaceThenTimeBlock):
            _zero(block.time_attention.out)


def _zero(linear: nn.Linear) -> None:
    with torch.no_grad():
        for parameter in linear.parameters():
            parameter.zero_()
