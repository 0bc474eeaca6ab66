"""policy.json: temperatures, class scales and thresholds by category id, and the arrays decide() works with."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.decision.signal_file import MEND_SIGNALS, SIGNALS, load_signal_head
from models.decision.types import Policy, SignalHead, SignalRules
from schemas.errors import UserError
from schemas.taxonomy import Taxonomy

# What a threshold of null becomes: no probability reaches it, and unlike infinity it can be stored and sent.
NEVER = 2.0

Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]


class Temperatures(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    level1: Positive = 1.0
    level2: Positive = 1.0


class Reports(BaseModel):
    """People look at a video with at least `count` reports that are at least `share` of its plays."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: Annotated[int, Field(ge=1)] = 5
    share: Share = 0.01


class SignalRulesFile(BaseModel):
    """The part of policy.json that stands beside signals.npz, written by `reelsort train-signals`.

    margin: log-odds by which signals must beat the content's answer to move it. The thresholds hold for videos of which
    any signal is known. calibration is as in PolicyFile.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    margin: Positive
    level1_thresholds: dict[str, Share | None]
    level2_thresholds: dict[str, Share | None]
    reported: Reports = Reports()
    calibration: dict[str, Any] = Field(default_factory=dict)


class PolicyFile(BaseModel):
    """The content of policy.json, written by calibration.

    level1_thresholds and level2_thresholds name every category of the taxonomy; null means never accepted. class_scales
    multiply a category's probability before the levels are summed and normalised; one left out is 1. calibration says
    what the thresholds come from (items, confidence, source of each), for people alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    taxonomy_id: str
    temperature: Temperatures = Temperatures()
    class_scales: dict[str, Positive] = Field(default_factory=dict)
    level1_thresholds: dict[str, Share | None]
    level2_thresholds: dict[str, Share | None]
    min_margin: Share = 0.0
    tail_classes: tuple[str, ...] = ()
    audit_rate: Share
    target_risk: Share
    top_k: Annotated[int, Field(ge=1, le=50)] = 5
    signals: SignalRulesFile | None = None
    calibration: dict[str, Any] = Field(default_factory=dict)


def load_policy(path: Path, taxonomy: Taxonomy) -> Policy:
    """Read a policy.json and the signals.npz beside it.

    Raises UserError where either cannot be read, is not one, is for another taxonomy, or is there without the other.
    """
    content = _read(path)
    try:
        written = PolicyFile.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(f"{path} is not a policy: {where}: {first['msg']}", _MEND) from error
    beside = path.with_name(SIGNALS)
    head = load_signal_head(beside, taxonomy) if beside.is_file() else None
    return resolve(written, taxonomy, policy_id=policy_identity(path), origin=str(path), head=head)


def resolve(
    written: PolicyFile,
    taxonomy: Taxonomy,
    *,
    policy_id: str,
    origin: str = "the policy",
    head: SignalHead | None = None,
) -> Policy:
    """Category ids to places in the taxonomy. Raises UserError, naming the category or value at fault."""
    if written.taxonomy_id != taxonomy.id:
        raise UserError(f"{origin} is for taxonomy {written.taxonomy_id}, the bundle's is {taxonomy.id}", _MEND)
    level1 = [category.id for category in taxonomy.level1]
    level2 = [category.id for category in taxonomy.level2]
    for part, thresholds in (("", written), ("signals.", written.signals)):
        if thresholds is not None:
            _check_thresholds(thresholds.level1_thresholds, level1, f"{part}level1_thresholds", origin)
            _check_thresholds(thresholds.level2_thresholds, level2, f"{part}level2_thresholds", origin)
    _refuse_unknown(written.class_scales, level2, "class_scales", origin)
    _refuse_unknown(written.tail_classes, level2, "tail_classes", origin)
    return Policy(
        policy_id=policy_id,
        parent=np.array(taxonomy.parent_index, dtype=np.int64),
        n_level1=len(level1),
        temperature_level1=written.temperature.level1,
        temperature_level2=written.temperature.level2,
        log_class_scale=np.array([math.log(written.class_scales.get(each, 1.0)) for each in level2], dtype=np.float32),
        level2_thresholds=_thresholds(written.level2_thresholds, level2),
        level1_thresholds=_thresholds(written.level1_thresholds, level1),
        min_margin=written.min_margin,
        tail_classes=frozenset(taxonomy.level2_index[each] for each in written.tail_classes),
        audit_rate=written.audit_rate,
        target_risk=written.target_risk,
        top_k=written.top_k,
        signals=_signal_rules(written.signals, head, level1, level2, origin),
    )


def save_policy(path: Path, written: PolicyFile) -> None:
    """Write policy.json whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(written.model_dump_json(indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def policy_identity(path: Path) -> str:
    """'pol-' and 16 hex digits of policy.json's content, and of signals.npz where one lies beside it.

    White space and the order of keys do not count. Raises UserError where the file cannot be read or is not JSON.
    """
    try:
        canonical = json.dumps(json.loads(_read(path)), sort_keys=True, separators=(",", ":"))
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}", _MEND) from error
    digest = hashlib.sha256(canonical.encode())
    signals = path.with_name(SIGNALS)
    if signals.is_file():
        digest.update(hashlib.sha256(signals.read_bytes()).digest())
    return "pol-" + digest.hexdigest()[:16]


_MEND = "run `reelsort calibrate` on the bundle again"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"the policy {path} cannot be read: {error.strerror}", _MEND) from error


def _refuse_unknown(given: dict[str, Any] | tuple[str, ...], known: list[str], name: str, origin: str) -> None:
    if unknown := [category for category in given if category not in known]:
        raise UserError(f"{origin} names {unknown[0]} in {name}, which the taxonomy does not have", _MEND)


def _check_thresholds(given: dict[str, float | None], known: list[str], name: str, origin: str) -> None:
    if missing := [category for category in known if category not in given]:
        raise UserError(f"{origin} has no threshold for {missing[0]} in {name}", _MEND)
    _refuse_unknown(given, known, name, origin)


def _signal_rules(
    written: SignalRulesFile | None, head: SignalHead | None, level1: list[str], level2: list[str], origin: str
) -> SignalRules | None:
    if (written is None) != (head is None):
        what = f"lies beside {SIGNALS} and has no rules for it" if written is None else f"needs {SIGNALS} beside it"
        raise UserError(f"{origin} {what}", MEND_SIGNALS)
    if written is None or head is None:
        return None
    return SignalRules(
        head=head,
        margin=written.margin,
        level2_thresholds=_thresholds(written.level2_thresholds, level2),
        level1_thresholds=_thresholds(written.level1_thresholds, level1),
        report_count=written.reported.count,
        report_share=written.reported.share,
    )


def _thresholds(given: dict[str, float | None], order: list[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
    values = (given[category] for category in order)
    return np.array([NEVER if value is None else value for value in values], dtype=np.float32)
