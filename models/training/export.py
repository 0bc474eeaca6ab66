"""Weights -> a bundle: two ONNX graphs that agree with torch, and all that gives their inputs and outputs a meaning."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import nn
from torch.export import Dim

from models.architectures.base import Architecture
from models.bundle import Bundle, BundleManifest, write_manifest
from models.decision.policy import PolicyFile, policy_identity, save_policy
from models.graphs import AUDIO_INPUTS, FUSION_INPUTS, FUSION_OUTPUTS, VISION_INPUTS, VISION_OUTPUTS
from models.layers.heads import Answers
from models.preprocess.audio import NO_AUDIO
from models.training.card import write_card
from models.training.evaluate import Evaluation
from models.training.half import GRAPHS, half_path, write_half
from models.training.losses import joint_log_probabilities
from models.training.place import taking_the_place_of
from models.training.probes import Probes, load_probes
from models.training.run import Run
from models.training.weights import check_exportable, save_weights
from schemas.errors import ExitCode, UserError
from schemas.taxonomy import Taxonomy

# Both ONNX Runtime and OpenVINO run it whole, and the exporter writes it without converting.
OPSET = 18
PARITY_TOLERANCE = 1e-4
HALF_TOLERANCE = 1e-2  # of a probability

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class BundleParts:
    """What a bundle is written from. probes: the inputs of golden.npz, which `model` answers."""

    model: Architecture
    manifest: BundleManifest
    taxonomy: Taxonomy
    tokenizer: Tokenizer
    policy: PolicyFile
    probes: Probes
    card: str


def write_bundle(folder: Path, parts: BundleParts) -> None:
    """Write a whole bundle or nothing: it appears under its name when every file is there and the graphs agree.

    Raises UserError where `folder` holds something that is not a bundle, or where a graph differs from torch.
    """
    with taking_the_place_of(folder) as new:
        _write(new, parts)


def export_run(run: Run, folder: Path, *, name: str, evaluation: Evaluation | None) -> None:
    """A calibrated run as a bundle.

    Raises UserError where the run has no weights or no policy, or the evaluation is of another policy than it has now.
    """
    if not run.policy.is_file():
        raise UserError(f"{run.folder} has no policy", f"run `reelsort calibrate {run.folder} --data DIR` first")
    if evaluation is not None and evaluation.policy_id != policy_identity(run.policy):
        raise UserError(
            f"{run.folder} was calibrated after it was evaluated: its figures are of the policy before",
            f"run `reelsort evaluate {run.folder} --data DIR` again",
        )
    policy = PolicyFile.model_validate_json(run.policy.read_bytes())
    model = run.model()
    trained = run.manifest
    manifest = BundleManifest(
        name=name,
        architecture=trained.recipe.architecture,
        architecture_config=trained.architecture_config,
        taxonomy_id=run.taxonomy.id,
        frame_plan=trained.recipe.frame_plan,
        audio_plan=trained.recipe.audio_plan,
        pixels=trained.recipe.pixels,
        text=trained.recipe.text,
        embedding_dim=model.embedding_dim,
        vision_dim=model.vision_dim,
        metrics={} if evaluation is None else evaluation.metrics,
        trained_from={"data": trained.data, "seed": trained.seed, "class_counts": trained.class_counts},
    )
    parameters = sum(parameter.numel() for parameter in model.parameters())
    parts = BundleParts(
        model=model,
        manifest=manifest,
        taxonomy=run.taxonomy,
        tokenizer=run.text.tokenizer,
        policy=policy,
        probes=load_probes(run.probes),
        card=write_card(name, trained, policy, evaluation, parameters=parameters),
    )
    write_bundle(folder, parts)


def export_graphs(model: Architecture, folder: Path, *, sample: Probes) -> None:
    """vision.onnx and fusion.onnx in fp32. `sample` gives shapes alone; batch and lengths stay dynamic.

    A model without an audio plan gets a fusion graph without audio inputs.
    """
    model = model.eval()
    pixels = torch.from_numpy(sample.pixels).flatten(0, 1)
    _export_graph(
        model.vision, (pixels,), VISION_INPUTS, VISION_OUTPUTS, {"frames": {0: Dim("N")}}, folder / "vision.onnx"
    )
    names = fusion_inputs(sample)
    inputs = {name: torch.from_numpy(getattr(sample, name)) for name in names[1:]}
    embedded = model.vision(pixels).detach().view(*sample.pixels.shape[:2], -1)
    batch, frames, audio, text = Dim("B"), Dim("T"), Dim("A"), Dim("L")
    lengths = {"frame": frames, "audio": audio, "input": text, "text": text}
    shapes = {name: {0: batch, 1: lengths[name.partition("_")[0].removesuffix("s")]} for name in names}
    fusion = model.fusion if "audio" in names else _Deaf(model.fusion)
    _export_graph(fusion, (embedded, *inputs.values()), names, FUSION_OUTPUTS, shapes, folder / "fusion.onnx")


def fusion_inputs(probes: Probes) -> tuple[str, ...]:
    """The fusion graph's inputs for a model that takes such probes."""
    deaf = probes.audio.shape[1:] == NO_AUDIO
    return tuple(name for name in FUSION_INPUTS if not (deaf and name in AUDIO_INPUTS))


class _Deaf(nn.Module):
    """A fusion without audio inputs."""

    def __init__(self, fusion: nn.Module) -> None:
        super().__init__()
        self.fusion = fusion

    def forward(
        self, frames: torch.Tensor, frame_mask: torch.Tensor, input_ids: torch.Tensor, text_mask: torch.Tensor
    ) -> Answers:
        silence = frames.new_zeros(frames.shape[0], *NO_AUDIO)
        out: Answers = self.fusion(frames, frame_mask, silence, silence[:, :, 0] > 0, input_ids, text_mask)
        return out


def torch_answers(model: Architecture, probes: Probes) -> Arrays:
    """golden.npz: the probes and what torch says of them, in float32."""
    model = model.eval()
    count, frames = probes.pixels.shape[:2]
    pixels = probes.pixels.reshape(count * frames, *probes.pixels.shape[2:])
    rest = {name: getattr(probes, name) for name in FUSION_INPUTS[1:]}
    with torch.inference_mode():
        embeddings = model.vision(torch.from_numpy(pixels))
        answers = model.fusion(embeddings.view(count, frames, -1), *(torch.from_numpy(a) for a in rest.values()))
    outputs = dict(zip(FUSION_OUTPUTS, (answer.numpy() for answer in answers), strict=True))
    return {"pixels": pixels, "embeddings": embeddings.numpy(), **rest, **outputs}


def onnx_answers(folder: Path, golden: Arrays, *, half: bool = False) -> Arrays:
    """What the graphs in `folder`, or their fp16 forms, say of the probes in `golden`, by ONNX Runtime on a CPU."""
    vision, fusion = (
        onnxruntime.InferenceSession(
            half_path(folder, name) if half else folder / f"{name}.onnx", providers=["CPUExecutionProvider"]
        )
        for name in GRAPHS
    )
    (embeddings,) = vision.run(None, {"frames": golden["pixels"]})
    names = [port.name for port in fusion.get_inputs()]
    inputs = {name: golden[name] for name in names if name != "frames"}
    inputs["frames"] = embeddings.reshape(*golden["frame_mask"].shape, -1)
    return {"embeddings": embeddings, **dict(zip(FUSION_OUTPUTS, fusion.run(None, inputs), strict=True))}


def worst_difference(golden: Arrays, answers: Arrays) -> float:
    """The largest absolute difference over all outputs."""
    return max(float(np.abs(golden[name] - answer).max()) for name, answer in answers.items())


def _write(folder: Path, parts: BundleParts) -> None:
    check_exportable(parts.model)
    export_graphs(parts.model, folder, sample=parts.probes)
    golden = torch_answers(parts.model, parts.probes)
    worst = worst_difference(golden, onnx_answers(folder, golden))
    if worst > PARITY_TOLERANCE:
        raise UserError(
            f"the exported graphs differ from torch by {worst:.1e}, more than {PARITY_TOLERANCE:.0e}",
            "report this with the versions of torch and onnxruntime",
            ExitCode.CHECK_FAILED,
        )
    write_half(folder)
    _check_half(golden, onnx_answers(folder, golden, half=True), parts.taxonomy)
    np.savez_compressed(folder / "golden.npz", allow_pickle=False, **golden)
    save_weights(parts.model, folder / "model.safetensors")
    (folder / "tokenizer").mkdir()
    parts.tokenizer.save(str(folder / "tokenizer" / "tokenizer.json"))
    (folder / "taxonomy.json").write_text(parts.taxonomy.to_json(), encoding="utf-8")
    save_policy(folder / "policy.json", parts.policy)
    (folder / "CARD.md").write_text(parts.card, encoding="utf-8")
    write_manifest(folder, parts.manifest)
    Bundle.load(folder)  # whoever gets it will


def _check_half(golden: Arrays, answers: Arrays, taxonomy: Taxonomy) -> None:
    off = half_deviation(golden, answers, taxonomy)
    if not off <= HALF_TOLERANCE:
        raise UserError(
            f"the fp16 graphs move a probability by {off:.1e}, more than {HALF_TOLERANCE:.0e}",
            "train in bf16 or with a smaller learning rate: some value is out of fp16's range",
            ExitCode.CHECK_FAILED,
        )


def half_deviation(golden: Arrays, answers: Arrays, taxonomy: Taxonomy) -> float:
    """The largest shift of a level-2 probability; infinite where an answer is not a finite number."""
    if not all(np.isfinite(answer).all() for answer in answers.values()):
        return float("inf")
    parent = torch.tensor(taxonomy.parent_index)

    def probabilities(said: Arrays) -> torch.Tensor:
        level1, level2 = (torch.from_numpy(said[name]) for name in ("level1_logits", "level2_logits"))
        return joint_log_probabilities(level1, level2, parent).exp()

    return float((probabilities(golden) - probabilities(answers)).abs().max())


def _export_graph(
    module: nn.Module,
    inputs: tuple[torch.Tensor, ...],
    input_names: tuple[str, ...],
    output_names: tuple[str, ...],
    dynamic_shapes: dict[str, dict[int, Dim]],
    path: Path,
) -> None:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns that torchvision is absent
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own dependencies
        program = torch.onnx.export(
            module,
            inputs,
            input_names=input_names,
            output_names=output_names,
            dynamic_shapes=dynamic_shapes,
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    assert program is not None  # dynamo=True always returns one
    _make_names_unique(program)
    graph = program.model_proto
    _forget_origin(graph)
    onnx.checker.check_model(graph, full_check=True)
    path.write_bytes(graph.SerializeToString(deterministic=True))


def _make_names_unique(program: torch.onnx.ONNXProgram) -> None:
    """Inner values give way to inputs and outputs: the exporter calls what nn.Embedding gives 'embedding' too."""
    outer = {id(value): value.name for value in (*program.model.graph.inputs, *program.model.graph.outputs)}
    for node in program.model.graph:
        for value in node.outputs:
            if id(value) not in outer and value.name in outer.values():
                value.name = f"{value.name}_of_{node.name}"


def _forget_origin(graph: onnx.ModelProto) -> None:
    """Take out source files and lines of the machine that exported: equal weights must give equal bytes anywhere."""
    del graph.metadata_props[:]
    for holder in (graph.graph, *graph.functions):
        del holder.metadata_props[:]
        for part in (*holder.node, *holder.value_info):
            del part.metadata_props[:]
            part.doc_string = ""
    for value in (*graph.graph.input, *graph.graph.output, *graph.graph.initializer):
        del value.metadata_props[:]
        value.doc_string = ""
