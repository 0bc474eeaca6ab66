"""A model bundle: one folder that answers for itself. Format: docs/bundle.md."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.decision.policy import load_policy
from models.decision.types import Policy
from models.graphs import check_graphs
from models.media.types import AudioPlan, FramePlan
from schemas.errors import UserError
from schemas.taxonomy import Taxonomy, load_taxonomy

Tokens = Literal["characters", "words"]


class TextTemplate(BaseModel):
    """How title, OCR, ASR and tags become one token sequence: fields in order, each cut to its share of tokens.

    tokens: `characters` leaves the cutting to the tokenizer (single characters, or a published model's word pieces);
    `words` looks whole words up. segmenter: what cuts text into words, with its version; None for characters, and then
    not written, so that the ids of bundles that need none stay what they are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fields: tuple[str, ...] = ("title", "ocr", "asr", "tags")
    max_tokens: dict[str, int] = Field(default_factory=lambda: {"title": 48, "ocr": 32, "asr": 28, "tags": 12})
    length_buckets: tuple[int, ...] = (32, 64, 128)
    tokens: Tokens = "characters"
    segmenter: str | None = Field(default=None, exclude_if=lambda value: value is None)


class PixelNorm(BaseModel):
    """(pixel / 255 - mean) / std, per RGB channel."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)


class BundleManifest(BaseModel):
    """bundle.json. files: SHA-256 of every file that write_manifest() found, by path inside the folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    name: str
    architecture: str
    architecture_config: dict[str, Any] = Field(default_factory=dict)
    taxonomy_id: str
    frame_plan: FramePlan
    audio_plan: AudioPlan | None
    pixels: PixelNorm
    text: TextTemplate
    embedding_dim: int  # E of the fused embedding
    vision_dim: int  # D of a frame embedding
    metrics: dict[str, float] = Field(default_factory=dict)
    trained_from: dict[str, Any] = Field(default_factory=dict)
    files: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True)
class Bundle:
    """A verified bundle. encoder_id keys predictions; policy_id the decision rules; model_id both."""

    folder: Path
    manifest: BundleManifest
    taxonomy: Taxonomy
    policy: Policy
    encoder_id: str
    policy_id: str
    model_id: str

    @property
    def vision_path(self) -> Path:
        return self.folder / "vision.onnx"

    @property
    def fusion_path(self) -> Path:
        return self.folder / "fusion.onnx"

    @classmethod
    def load(cls, folder: Path) -> Bundle:
        """Read and verify: every file is there and unchanged, its parts fit together, the graphs are what is said.

        Raises UserError naming the first thing that is wrong. Does not run the graphs: that is check_golden's part.
        """
        manifest, plans = _read_manifest(folder)
        _check_files(folder, manifest)
        taxonomy = load_taxonomy(folder / "taxonomy.json")
        if taxonomy.id != manifest.taxonomy_id:
            raise UserError(
                f"{folder}/bundle.json is for taxonomy {manifest.taxonomy_id}, its taxonomy.json is {taxonomy.id}",
                _MEND,
            )
        policy = load_policy(folder / "policy.json", taxonomy)
        check_graphs(folder, manifest, taxonomy)
        encoder_id = _encoder_id(manifest, plans)
        return cls(
            folder=folder,
            manifest=manifest,
            taxonomy=taxonomy,
            policy=policy,
            encoder_id=encoder_id,
            policy_id=policy.policy_id,
            model_id=f"{encoder_id}.{policy.policy_id}",
        )


def default_bundle() -> Path:
    """The bundle that ships in the distribution."""
    return Path(__file__).parent / "bundles" / "demo"


def write_manifest(folder: Path, manifest: BundleManifest) -> BundleManifest:
    """Write bundle.json over the files that lie in `folder`, last of all, and return it with their hashes.

    Those that may change without another export (policy.json, signals.npz, CARD.md) are left out.
    """
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in found]
    hashes = {name: _sha256(folder / name) for name in names if name not in _UNSEALED}
    sealed = manifest.model_copy(update={"files": hashes})
    partial = folder / "bundle.json.partial"
    partial.write_text(sealed.model_dump_json(indent=2) + "\n", encoding="utf-8")
    partial.replace(folder / "bundle.json")
    return sealed


_UNSEALED = frozenset({"bundle.json", "bundle.json.partial", "policy.json", "signals.npz", "CARD.md"})
_REQUIRED = ("vision.onnx", "fusion.onnx", "taxonomy.json", "tokenizer/tokenizer.json", "golden.npz")
_MEND = "export the bundle again with `reelsort export`, or copy it again whole"


def _read_manifest(folder: Path) -> tuple[BundleManifest, dict[str, Any]]:
    """bundle.json twice: checked, and as written, since ids must not move when a version adds a field."""
    if not folder.is_dir():
        raise UserError(f"there is no bundle at {folder}", "name a bundle's folder, or make one with `make bundle`")
    path = folder / "bundle.json"
    try:
        written = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{folder} is not a bundle: bundle.json cannot be read: {error.strerror}", _MEND) from error
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}", _MEND) from error
    if isinstance(written, dict) and isinstance(newer := written.get("format"), int) and newer > 1:
        raise UserError(f"{path} has format {newer}; this version reads format 1", "upgrade reelsort")
    try:
        return BundleManifest.model_validate(written), written
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(f"{path} is not a bundle's manifest: {where}: {first['msg']}", _MEND) from error


def _check_files(folder: Path, manifest: BundleManifest) -> None:
    if unlisted := [name for name in _REQUIRED if name not in manifest.files]:
        raise UserError(f"{folder}/bundle.json gives no hash of {unlisted[0]}", _MEND)
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"{folder}/bundle.json names a file outside its folder: {name}", _MEND)
        try:
            found = _sha256(path)
        except OSError as error:
            raise UserError(f"the bundle {folder} lacks {name}: {error.strerror}", _MEND) from error
        if found != expected:
            raise UserError(f"{path} is not the file that was exported: its SHA-256 differs", _MEND)


def _encoder_id(manifest: BundleManifest, written: dict[str, Any]) -> str:
    """'enc-' and 16 hex digits over all that stands between a video and its logits."""
    parts: dict[str, Any] = {key: written[key] for key in ("frame_plan", "audio_plan", "pixels", "text")}
    parts["taxonomy"] = manifest.taxonomy_id
    # a graph over 2 GB keeps its weights in files that begin with its name
    prefixes = ("vision.onnx", "fusion.onnx", "tokenizer/")
    parts["files"] = {name: digest for name, digest in manifest.files.items() if name.startswith(prefixes)}
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return "enc-" + hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
