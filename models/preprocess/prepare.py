"""A decoded clip and its words -> what a model takes. Serving's one way in; training uses the same parts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle, PixelNorm, TextTemplate
from models.media.types import AudioPlan, Clip, FramePlan
from models.preprocess.audio import NO_AUDIO, log_mel
from models.preprocess.pixels import normalise
from models.preprocess.text import TextEncoder, TextFields


@dataclass(frozen=True, slots=True)
class ModelInputs:
    """One video. Masks are True where something is; a missing modality is all False.

    frames: float32 [T, 3, S, S], normalised, or clips [T, clip, 3, S, S]; audio: float32 [A, F] log-mel; input_ids:
    int64 [L], L a length bucket.
    """

    frames: NDArray[np.float32]
    frame_mask: NDArray[np.bool_]
    audio: NDArray[np.float32]
    audio_mask: NDArray[np.bool_]
    input_ids: NDArray[np.int64]
    text_mask: NDArray[np.bool_]


class Preprocessor:
    """What a bundle says of pixels, sound and text, ready to use. Thread-safe."""

    def __init__(self, bundle: Bundle) -> None:
        """Raises UserError where the bundle's tokenizer cannot be read or does not fit its template."""
        self._pixels: PixelNorm = bundle.manifest.pixels
        self._frame_plan: FramePlan = bundle.manifest.frame_plan
        self._audio_plan: AudioPlan | None = bundle.manifest.audio_plan
        self.text: TextEncoder = text_encoder(bundle.folder, bundle.manifest.text)

    def prepare(self, clip: Clip, fields: TextFields) -> ModelInputs:
        """The clip must have been decoded by the bundle's own frame and audio plan."""
        if self._audio_plan is None:
            audio, audio_mask = np.zeros(NO_AUDIO, np.float32), np.zeros(NO_AUDIO[0], np.bool_)
        else:
            audio, audio_mask = log_mel(clip.audio, self._audio_plan)
        return self.assemble(clip.frames, audio, audio_mask, fields)

    def assemble(
        self, frames: NDArray[np.uint8], audio: NDArray[np.float32], audio_mask: NDArray[np.bool_], fields: TextFields
    ) -> ModelInputs:
        """prepare() where the log-mel features (log_mel()'s pair) were already made, as a decode child does."""
        input_ids, text_mask = self.text.encode(fields)
        plan = self._frame_plan
        pixels = normalise(frames, self._pixels.mean, self._pixels.std)
        return ModelInputs(
            frames=pixels.reshape(plan.units, *plan.unit_shape),
            frame_mask=np.ones(plan.units, np.bool_),
            audio=audio,
            audio_mask=audio_mask,
            input_ids=input_ids,
            text_mask=text_mask,
        )


def text_encoder(folder: Path, template: TextTemplate) -> TextEncoder:
    """The text front end of a bundle or a training run."""
    return TextEncoder.load(template, folder / "tokenizer")
