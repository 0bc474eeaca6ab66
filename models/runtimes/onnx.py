"""ONNX Runtime on a CPU, fp32: the runtime that is always there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from models.bundle import Bundle
from models.graphs import FUSION_OUTPUTS, VISION_INPUTS, VISION_OUTPUTS
from models.runtimes.base import FloatArray, FusionInputs, FusionOutputs, feed
from models.runtimes.registry import Precision, RuntimeSpec
from schemas.errors import UserError


class OnnxRuntime:
    """Both graphs as sessions of ONNX Runtime."""

    name = "onnxruntime-fp32"

    def __init__(self, bundle: Bundle, threads: int) -> None:
        """Raises UserError where a graph cannot be loaded."""
        self._vision: onnxruntime.InferenceSession | None = _session(bundle.vision_path, threads)
        self._fusion: onnxruntime.InferenceSession | None = _session(bundle.fusion_path, threads)
        self._fusion_inputs = frozenset(port.name for port in self._fusion.get_inputs())

    def encode_frames(self, frames: FloatArray) -> FloatArray:
        if self._vision is None:
            raise RuntimeError("the runtime is closed")
        (embeddings,) = self._vision.run(VISION_OUTPUTS, {VISION_INPUTS[0]: frames})
        return np.asarray(embeddings, dtype=np.float32)

    def fuse(self, inputs: FusionInputs) -> FusionOutputs:
        if self._fusion is None:
            raise RuntimeError("the runtime is closed")
        return FusionOutputs(*self._fusion.run(FUSION_OUTPUTS, feed(inputs, self._fusion_inputs)))

    def close(self) -> None:
        self._vision = self._fusion = None


def _session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # idle threads that spin take the cores that decoding needs
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library's own exceptions share no base class of its own
        raise UserError(f"ONNX Runtime cannot load {path}: {error}", "export the bundle again") from error


def _load(bundle: Bundle, precision: Precision, threads: int) -> OnnxRuntime:
    if precision != "fp32":
        raise UserError(f"ONNX Runtime on a CPU does not run {precision}", "set inference.precision to fp32")
    return OnnxRuntime(bundle, threads)


SPEC = RuntimeSpec(
    name="onnxruntime",
    precisions=lambda: ("fp32",),
    load=_load,
    version=lambda: str(onnxruntime.__version__),
)
