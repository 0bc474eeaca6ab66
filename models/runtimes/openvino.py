"""OpenVINO on a CPU, at the precision that is asked for.

Its own default is bf16 wherever the instructions exist, which is slower than f32 where they are not AMX, and less
exact: hence the explicit hint, and the choice by timing.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import openvino

from models.bundle import Bundle
from models.graphs import FUSION_OUTPUTS, VISION_INPUTS, VISION_OUTPUTS
from models.runtimes.base import FloatArray, FusionInputs, FusionOutputs, feed
from models.runtimes.registry import Precision, RuntimeSpec
from schemas.errors import UserError

_HINTS: Mapping[Precision, str] = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoRuntime:
    """Both graphs compiled by OpenVINO's CPU plugin, one stream."""

    def __init__(self, bundle: Bundle, precision: Precision, threads: int) -> None:
        """Raises UserError where a graph cannot be compiled or the precision is not known."""
        if precision not in _HINTS:
            raise UserError(f"OpenVINO on a CPU does not run {precision}", "set inference.precision to fp32 or bf16")
        self.name = f"openvino-{precision}"
        self._vision: openvino.InferRequest | None = _compile(bundle.vision_path, precision, threads)
        self._fusion: openvino.InferRequest | None = _compile(bundle.fusion_path, precision, threads)
        ports = self._fusion.get_compiled_model().inputs
        self._fusion_inputs = frozenset(port.get_any_name() for port in ports)

    def encode_frames(self, frames: FloatArray) -> FloatArray:
        if self._vision is None:
            raise RuntimeError("the runtime is closed")
        return _infer(self._vision, {VISION_INPUTS[0]: frames}, VISION_OUTPUTS)[0]

    def fuse(self, inputs: FusionInputs) -> FusionOutputs:
        if self._fusion is None:
            raise RuntimeError("the runtime is closed")
        return FusionOutputs(*_infer(self._fusion, feed(inputs, self._fusion_inputs), FUSION_OUTPUTS))

    def close(self) -> None:
        self._vision = self._fusion = None


def _compile(path: Path, precision: Precision, threads: int) -> openvino.InferRequest:
    options = {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
    }
    try:
        return _core().compile_model(path, "CPU", options).create_infer_request()
    except RuntimeError as error:
        raise UserError(f"OpenVINO cannot compile {path}: {error}", "choose another runtime") from error


def _infer(request: openvino.InferRequest, inputs: dict[str, Any], outputs: tuple[str, ...]) -> list[FloatArray]:
    results = request.infer(inputs, share_inputs=True)
    # the request's own memory is overwritten by its next call
    return [np.array(results[name], dtype=np.float32) for name in outputs]


@cache
def _core() -> openvino.Core:
    return openvino.Core()


def _precisions() -> tuple[Precision, ...]:
    capabilities = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ("fp32", "bf16") if "BF16" in capabilities else ("fp32",)


SPEC = RuntimeSpec(
    name="openvino",
    precisions=_precisions,
    load=OpenVinoRuntime,
    version=lambda: str(openvino.__version__),
)
