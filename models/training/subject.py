"""What can be evaluated and calibrated: a training run, through torch, or a bundle, through ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from models.bundle import Bundle
from models.decision.policy import load_policy
from models.decision.types import Policy
from models.preprocess.prepare import text_encoder
from models.runtimes.base import Runtime
from models.runtimes.registry import runtimes
from models.training.dataset import InputSpec
from schemas.errors import UserError
from schemas.taxonomy import Taxonomy


@dataclass(frozen=True, slots=True)
class Subject:
    """A model that answers. class_counts: training items by level-2 id, empty where the bundle does not say."""

    folder: Path
    spec: InputSpec
    runtime: Runtime
    class_counts: dict[str, int]

    @property
    def taxonomy(self) -> Taxonomy:
        return self.spec.taxonomy

    @property
    def policy_path(self) -> Path:
        return self.folder / "policy.json"

    def policy(self) -> Policy:
        """Raises UserError for a run that has not been calibrated."""
        if not self.policy_path.is_file():
            raise UserError(f"{self.folder} has no policy", f"run `reelsort calibrate {self.folder} --data DIR` first")
        return load_policy(self.policy_path, self.taxonomy)


def load_subject(folder: Path, *, threads: int) -> Subject:
    """A run's or a bundle's folder. Raises UserError where it is neither, or a run without torch installed."""
    if (folder / "bundle.json").is_file():
        return _bundle(folder, threads)
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}", "name a run of `reelsort train` or a bundle")
    return _run(folder, threads)


def _bundle(folder: Path, threads: int) -> Subject:
    bundle = Bundle.load(folder)
    manifest = bundle.manifest
    text = text_encoder(folder, manifest.text)
    counts = manifest.trained_from.get("class_counts", {})
    return Subject(
        folder=folder,
        spec=InputSpec(manifest.frame_plan, manifest.audio_plan, manifest.pixels, text, bundle.taxonomy),
        runtime=runtimes()["onnxruntime"].load(bundle, "fp32", threads),
        class_counts=dict(counts),
    )


def _run(folder: Path, threads: int) -> Subject:
    # torch is needed for a run alone, so that a bundle is evaluated on a base install
    import torch

    from models.training.model_runtime import ModelRuntime
    from models.training.run import Run

    torch.set_num_threads(threads)
    run = Run.load(folder)
    return Subject(
        folder=folder,
        spec=run.spec,
        runtime=ModelRuntime(run.model()),
        class_counts=run.manifest.class_counts,
    )
