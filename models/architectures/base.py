"""What every architecture is: two graphs, split so that frames of many videos share one vision batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict
from torch import Tensor, nn

from models.architectures import TRAIN
from models.bundle import PixelNorm, TextTemplate
from models.layers.heads import Answers
from models.media.types import AudioPlan, FramePlan
from models.preprocess.audio import features_shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a model is given and asked for. It follows from the data and the input plan; every Config begins with it."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    n_level1: int
    n_level2: int
    parent: tuple[int, ...]  # [n_level2]: the level-1 index of each level-2 category
    vocab: int
    separator: int  # token id that ends a text field
    text_fields: int
    text_length: int  # tokens at most
    frames: int  # rows of the fusion's frame input: frames, or clips
    clip: int | None  # frames a clip; None where the vision graph takes single frames
    frame_size: int  # pixels
    mels: int
    audio_length: int  # log-mel frames at most


@dataclass(frozen=True, slots=True, kw_only=True)
class InputPlan:
    """How a model sees a video. Part of a preset, a recipe and a bundle."""

    frame_plan: FramePlan
    audio_plan: AudioPlan | None
    pixels: PixelNorm = PixelNorm()
    text: TextTemplate = TextTemplate()


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A named choice. sizes: fields of the Config; training: fields of a Recipe that differ from its defaults."""

    inputs: InputPlan
    sizes: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)


class Architecture(nn.Module):
    """vision: frames [N, 3, S, S], or clips [N, clip, 3, S, S] -> [N, vision_dim].

    fusion: (frames [B, T, vision_dim], frame_mask [B, T], audio [B, A, F], audio_mask [B, A], input_ids [B, L],
    text_mask [B, L]) -> (level1_logits [B, C1], level2_logits [B, C2], embedding [B, embedding_dim]). Masks are True
    where something is; a missing modality is an all-False row, and what stands under a mask never changes an answer.

    source: the paper or repository, for tables. made_by: the command that makes a bundle of it.
    takes_clips: whether the vision graph sees clips or single frames. ordered: whether the order of frames can change
    an answer. modalities: those that can.
    """

    source: ClassVar[str]
    made_by: ClassVar[str] = TRAIN
    takes_clips: ClassVar[bool] = False
    ordered: bool = True
    modalities: ClassVar[frozenset[str]] = frozenset({"frames", "audio", "text"})

    vision: nn.Module
    fusion: nn.Module
    vision_dim: int
    embedding_dim: int

    def encode(self, frames: Tensor, frame_mask: Tensor) -> Tensor:
        """Pixels [B, T, 3, S, S], or clips [B, T, clip, 3, S, S] + mask [B, T] -> [B, T, vision_dim].

        In training what is masked is not looked at, zeros stand for it: it would enter the statistics of batch norms.
        """
        batch, count = frames.shape[:2]
        units = frames.flatten(0, 1)
        if self.training:
            units = units[frame_mask.flatten()]
        if units.ndim == 4:
            units = units.contiguous(memory_format=torch.channels_last)  # halves a convolution's time
        if not self.training:
            encoded: Tensor = self.vision(units)
            return encoded.view(batch, count, -1)
        scattered = frames.new_zeros(batch * count, self.vision_dim)
        if len(units):
            scattered[frame_mask.flatten()] = self.vision(units)
        return scattered.view(batch, count, -1)

    def forward(
        self,
        frames: Tensor,
        frame_mask: Tensor,
        audio: Tensor,
        audio_mask: Tensor,
        input_ids: Tensor,
        text_mask: Tensor,
    ) -> Answers:
        """Both graphs in one: frames are pixels."""
        out: Answers = self.fusion(self.encode(frames, frame_mask), frame_mask, audio, audio_mask, input_ids, text_mask)
        return out

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
        """What is trained on: the answers, each of which learns the labels (the model's own first), and a further loss.

        items: [B], equal where two rows are draws of one video. An architecture with heads or objectives of its own
        overrides it.
        """
        answers = self(frames, frame_mask, audio, audio_mask, input_ids, text_mask)
        return [answers], torch.zeros(())


def inputs_of(plan: InputPlan, *, parent: tuple[int, ...], n_level1: int, vocab: int, separator: int) -> dict[str, Any]:
    """The fields of Inputs for a plan, a taxonomy and a tokenizer."""
    length, mels = features_shape(plan.audio_plan)
    return {
        "n_level1": n_level1,
        "n_level2": len(parent),
        "parent": list(parent),  # as JSON has it
        "vocab": vocab,
        "separator": separator,
        "text_fields": len(plan.text.fields),
        "text_length": max(plan.text.length_buckets),
        "frames": plan.frame_plan.units,
        "clip": plan.frame_plan.clip,
        "frame_size": plan.frame_plan.size,
        "mels": mels,
        "audio_length": length,
    }
