"""The probes of golden.npz: what torch said at export, which any runtime must say again before it serves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from models.decision.probabilities import hierarchical
from models.graphs import FUSION_INPUTS, FUSION_OUTPUTS
from models.runtimes.base import FloatArray, FusionInputs, FusionOutputs, Runtime
from schemas.errors import ExitCode, UserError

# The largest shift of a probability that is let pass: thresholds are set on hundreds of items, so that their own error
# is above one percent. fp32 stays four orders of magnitude below; a bf16 that moves probabilities by 0.013 is refused.
PROBABILITY_TOLERANCE = 0.005

_DTYPES = {"frame_mask": np.bool_, "audio_mask": np.bool_, "text_mask": np.bool_, "input_ids": np.int64}


@dataclass(frozen=True)
class Golden:
    """G probes. pixels: normalised, [G * T, 3, S, S] or [G * T, clip, 3, S, S]; inputs: frame embeddings as torch had
    them, and the rest."""

    pixels: FloatArray
    inputs: FusionInputs
    outputs: FusionOutputs

    @cached_property
    def count(self) -> int:
        return len(self.inputs.frame_mask)

    def answer(self, runtime: Runtime) -> FusionOutputs:
        """Both graphs, from pixels to logits."""
        embedded = runtime.encode_frames(self.pixels).reshape(self.inputs.frames.shape)
        return runtime.fuse(
            FusionInputs(
                frames=embedded,
                frame_mask=self.inputs.frame_mask,
                audio=self.inputs.audio,
                audio_mask=self.inputs.audio_mask,
                input_ids=self.inputs.input_ids,
                text_mask=self.inputs.text_mask,
            )
        )


@dataclass(frozen=True, slots=True)
class Deviation:
    """The largest absolute differences from torch fp32 over all probes; infinite where an answer is not a number."""

    logits: float
    probability: float


def load_golden(bundle: Bundle) -> Golden:
    """Read golden.npz. Raises UserError where an array is missing or has the wrong type or shape."""
    path = bundle.folder / "golden.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays: dict[str, NDArray[np.generic]] = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} cannot be read: {error}", _MEND) from error
    return _checked(arrays, bundle, path)


def deviation(bundle: Bundle, golden: Golden, runtime: Runtime) -> Deviation:
    """How far `runtime` is from the recorded answers."""
    said = golden.answer(runtime)
    pairs = [(getattr(said, name), getattr(golden.outputs, name)) for name in FUSION_OUTPUTS]
    if not all(np.isfinite(answer).all() for answer, _ in pairs):
        return Deviation(logits=np.inf, probability=np.inf)
    p, q = (hierarchical(each.level1_logits, each.level2_logits, bundle.policy) for each in (said, golden.outputs))
    return Deviation(
        logits=max(float(np.abs(answer - recorded).max()) for answer, recorded in pairs[:2]),
        probability=max(float(np.abs(p.level1 - q.level1).max()), float(np.abs(p.level2 - q.level2).max())),
    )


def check_golden(bundle: Bundle, runtime: Runtime, tolerance: float = PROBABILITY_TOLERANCE) -> Deviation:
    """Raise UserError unless every probability is within `tolerance` of what was recorded at export."""
    found = deviation(bundle, load_golden(bundle), runtime)
    if not found.probability <= tolerance:
        raise UserError(
            f"{runtime.name} answers the golden probes of {bundle.folder} wrongly: a probability is off by "
            f"{found.probability:.2g}, more than {tolerance:g}",
            "choose another runtime or precision, or export the bundle again",
            ExitCode.CHECK_FAILED,
        )
    return found


_MEND = "export the bundle again with `reelsort export`"


def _checked(arrays: dict[str, NDArray[np.generic]], bundle: Bundle, path: Path) -> Golden:
    manifest, taxonomy = bundle.manifest, bundle.taxonomy
    needed = ("pixels", "embeddings", *FUSION_INPUTS[1:], *FUSION_OUTPUTS)
    if missing := [name for name in needed if name not in arrays]:
        raise UserError(f"{path} has no array {missing[0]}", _MEND)
    probes, frames = arrays["frame_mask"].shape if arrays["frame_mask"].ndim == 2 else (0, 0)
    if not probes:
        raise UserError(f"{path} holds no probes", _MEND)
    shapes: dict[str, tuple[int | None, ...]] = {
        "pixels": (probes * frames, *manifest.frame_plan.unit_shape),
        "embeddings": (probes * frames, manifest.vision_dim),
        "frame_mask": (probes, frames),
        "audio": (probes, None, manifest.audio_plan.mels if manifest.audio_plan else None),
        "audio_mask": (probes, arrays["audio"].shape[1] if arrays["audio"].ndim == 3 else -1),
        "input_ids": (probes, None),
        "text_mask": arrays["input_ids"].shape,
        "level1_logits": (probes, len(taxonomy.level1)),
        "level2_logits": (probes, len(taxonomy.level2)),
        "embedding": (probes, manifest.embedding_dim),
    }
    for name, shape in shapes.items():
        found, dtype = arrays[name], _DTYPES.get(name, np.float32)
        fits = len(found.shape) == len(shape) and all(
            need in (None, has) for has, need in zip(found.shape, shape, strict=True)
        )
        if not fits or found.dtype != dtype:
            raise UserError(
                f"{path}: {name} is {found.dtype} {list(found.shape)}, which does not fit the bundle", _MEND
            )
    embeddings = np.asarray(arrays["embeddings"], dtype=np.float32)
    return Golden(
        pixels=np.asarray(arrays["pixels"], dtype=np.float32),
        inputs=FusionInputs(
            frames=embeddings.reshape(probes, frames, manifest.vision_dim),
            frame_mask=np.asarray(arrays["frame_mask"], dtype=np.bool_),
            audio=np.asarray(arrays["audio"], dtype=np.float32),
            audio_mask=np.asarray(arrays["audio_mask"], dtype=np.bool_),
            input_ids=np.asarray(arrays["input_ids"], dtype=np.int64),
            text_mask=np.asarray(arrays["text_mask"], dtype=np.bool_),
        ),
        outputs=FusionOutputs(
            level1_logits=np.asarray(arrays["level1_logits"], dtype=np.float32),
            level2_logits=np.asarray(arrays["level2_logits"], dtype=np.float32),
            embedding=np.asarray(arrays["embedding"], dtype=np.float32),
        ),
    )
