"""The exported graphs cast to fp16, for runtimes that take a graph's types as they are written (TensorRT 11)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

Graph = Literal["vision", "fusion"]
GRAPHS: tuple[Graph, ...] = ("vision", "fusion")


def half_path(folder: Path, graph: Graph) -> Path:
    """Where a bundle keeps a graph's fp16 form."""
    return folder / f"{graph}.fp16.onnx"


def write_half(folder: Path) -> None:
    """Cast both graphs in `folder`. Inputs and outputs stay float32, weights and all between are float16.

    The numbers are ONNX Runtime's on a CPU, which computes what it has no fp16 kernel for in fp32: on a GPU an
    intermediate may still overflow that does not here.
    """
    for name in GRAPHS:
        graph = onnx.load(folder / f"{name}.onnx")
        converted = OnnxModel(convert_float_to_float16(graph, keep_io_types=True))
        converted.topological_sort()  # its casts are at the end
        cast = converted.model
        onnx.checker.check_model(cast, full_check=True)
        half_path(folder, name).write_bytes(cast.SerializeToString(deterministic=True))
