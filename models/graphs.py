"""What a bundle's two graphs are called, take and give; and whether a graph is that."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import onnxruntime

from schemas.errors import UserError
from schemas.taxonomy import Taxonomy

if TYPE_CHECKING:
    from models.bundle import BundleManifest

VISION_INPUTS = ("frames",)
VISION_OUTPUTS = ("embeddings",)
AUDIO_INPUTS = ("audio", "audio_mask")  # absent where a bundle has no audio plan
FUSION_INPUTS = ("frames", "frame_mask", "audio", "audio_mask", "input_ids", "text_mask")
FUSION_OUTPUTS = ("level1_logits", "level2_logits", "embedding")

# A port: element type, and the size of each axis; a name where any size must do.
Port = tuple[str, tuple[int | str, ...]]

_FLOAT, _BOOL, _INT64 = "tensor(float)", "tensor(bool)", "tensor(int64)"


def check_graphs(folder: Path, manifest: BundleManifest, taxonomy: Taxonomy) -> None:
    """Raise UserError unless vision.onnx and fusion.onnx have the inputs and outputs that the manifest implies."""
    depth = manifest.vision_dim
    pictures: Port = (_FLOAT, ("N", *manifest.frame_plan.unit_shape))
    _check(folder / "vision.onnx", {"frames": pictures}, {"embeddings": (_FLOAT, ("N", depth))})
    rows = "T" if manifest.frame_plan.units > 1 else 1  # an exporter may fix what is never more than one
    inputs: dict[str, Port] = {
        "frames": (_FLOAT, ("B", rows, depth)),
        "frame_mask": (_BOOL, ("B", rows)),
        "input_ids": (_INT64, ("B", "L")),
        "text_mask": (_BOOL, ("B", "L")),
    }
    if manifest.audio_plan:
        inputs |= {"audio": (_FLOAT, ("B", "A", manifest.audio_plan.mels)), "audio_mask": (_BOOL, ("B", "A"))}
    outputs: dict[str, Port] = {
        "level1_logits": (_FLOAT, ("B", len(taxonomy.level1))),
        "level2_logits": (_FLOAT, ("B", len(taxonomy.level2))),
        "embedding": (_FLOAT, ("B", manifest.embedding_dim)),
    }
    _check(folder / "fusion.onnx", inputs, outputs)


def _check(path: Path, inputs: dict[str, Port], outputs: dict[str, Port]) -> None:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library's own exceptions share no base class of its own
        raise UserError(f"{path} cannot be loaded: {_first_line(error)}", _MEND) from error
    for kind, expected, found in (
        ("input", inputs, session.get_inputs()),
        ("output", outputs, session.get_outputs()),
    ):
        ports = {port.name: (port.type, tuple(port.shape)) for port in found}
        if ports.keys() != expected.keys():
            raise UserError(f"{path} has the {kind}s {', '.join(ports)}; it needs {', '.join(expected)}", _MEND)
        for name, (element, shape) in expected.items():
            if not _fits(ports[name], element, shape):
                raise UserError(
                    f"{path}: {kind} {name} is {_say(*ports[name])}; it needs to be {_say(element, shape)}", _MEND
                )


def _fits(port: tuple[str, tuple[int | str | None, ...]], element: str, shape: tuple[int | str, ...]) -> bool:
    """A fixed axis may be left open by the graph (exporters lose some sizes); an open one may not be fixed."""
    found_element, found = port
    if found_element != element or len(found) != len(shape):
        return False
    return all(not isinstance(has, int) or has == needs for has, needs in zip(found, shape, strict=True))


def _say(element: str, shape: tuple[int | str | None, ...]) -> str:
    return f"{element.removeprefix('tensor(').removesuffix(')')} [{', '.join(str(axis) for axis in shape)}]"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


_MEND = "export the bundle again with `reelsort export`"
