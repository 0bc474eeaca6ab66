"""CARD.md: what the model is, what it was trained on, what it is worth and where it is not to be trusted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from models.decision.policy import PolicyFile
from models.training.evaluate import Evaluation
from models.training.run import RunManifest

_PUBLISHES = "## When it publishes"
_LAST = "## Limits"


def write_card(
    name: str, run: RunManifest, policy: PolicyFile, evaluation: Evaluation | None, *, parameters: int
) -> str:
    """The card as Markdown. Equal input gives equal text: nothing is dated."""
    return (
        "\n\n".join(
            [
                f"# {name}",
                _summary(run, parameters),
                "## What it was trained on",
                _data(run),
                *_worth(evaluation),
                _PUBLISHES,
                _policy(policy, evaluation),
                _LAST,
                _LIMITS,
            ]
        )
        + "\n"
    )


_LIMITS = """\
- The figures hold for videos drawn as the test split was. On other videos they say nothing; the audit sample
  (a share of accepted videos that people see too) is what measures them there.
- A threshold's bound is on its own group of answers, at the confidence stated, and is as good as the calibration
  split is like what is published. When the mix changes, `reelsort calibrate BUNDLE --data DIR` needs no training.
- Classes outside the taxonomy are answered with a class inside it. Low confidence is the only sign of that.
- Frames are reduced to the size in bundle.json: small print, and what differs in detail alone, is not seen."""


def _summary(run: RunManifest, parameters: int) -> str:
    recipe = run.recipe
    audio = recipe.audio_plan
    clips = f", in clips of {recipe.frame_plan.clip}" if recipe.frame_plan.clip else ""
    fields = ", ".join(f"{name} ({recipe.text.max_tokens[name]})" for name in recipe.text.fields)
    return card_table(
        ("", ""),
        [
            ("architecture", f"{recipe.architecture}, {parameters:,} parameters"),
            (
                "answers",
                f"{run.architecture_config['n_level1']} level-1 and {len(run.class_counts)} level-2 categories",
            ),
            (
                "frames",
                f"{recipe.frame_plan.count} of {recipe.frame_plan.size} x {recipe.frame_plan.size} pixels{clips}",
            ),
            (
                "sound",
                f"the first {audio.seconds:g} s at {audio.sample_rate} Hz, {audio.mels} mel bands" if audio else "none",
            ),
            ("text", f"{recipe.text.tokens} at most: {fields}"),
        ],
    )


def _data(run: RunManifest) -> str:
    counts = sorted(run.class_counts.values())
    recipe = run.recipe
    return (
        f"{sum(counts):,} labelled videos, from {counts[0]} to {counts[-1]} a class "
        f"(manifest SHA-256 `{run.data}`), for {recipe.epochs} epochs in batches of {recipe.batch}, seed {run.seed}."
    )


def _worth(evaluation: Evaluation | None) -> list[str]:
    if evaluation is None:
        return ["## What it is worth", "Not evaluated: run `reelsort evaluate` before `reelsort export`."]
    full = evaluation.views["all"].level2.accuracy
    views = [
        (
            view,
            *(f"{each.accuracy:.3f}" for each in (scores.level1, scores.level2)),
            *(f"{each.macro_f1:.3f}" for each in (scores.level1, scores.level2)),
            f"{scores.mean_metric:.3f}",
            "" if view == "all" else f"{scores.level2.accuracy - full:+.3f}",
        )
        for view, scores in evaluation.views.items()
    ]
    scores = evaluation.views["all"]
    return [
        f"## What it is worth: {evaluation.items:,} videos of the {evaluation.split} split",
        card_table(
            ("seen", "level 1", "level 2", "macro-F1 1", "macro-F1 2", "mean metric", "level 2 against all"), views
        ),
        "Level 1 and level 2 are accuracies, and micro-F1 too, as a video has one label. Macro-F1 averages over "
        "every class of the taxonomy. The mean metric is the mean of the four F1 figures.",
        f"Calibration error (ECE, 15 bins): level 1 {scores.level1.ece:.3f}, level 2 {scores.level2.ece:.3f}.",
        "### Risk against coverage, level 2",
        "If the most confident share of all videos were published with level 2, this share of them would be wrong.",
        card_table(
            ("coverage", "probability at least", "wrong"),
            [(f"{p.coverage:.0%}", f"{p.threshold:.3f}", f"{p.risk:.3f}") for p in evaluation.risk_coverage],
        ),
    ]


def _policy(policy: PolicyFile, evaluation: Evaluation | None) -> str:
    certified = policy.calibration
    text = (
        f"Target: at most {policy.target_risk:.0%} wrong at {certified['confidence']:.0%} confidence, from "
        f"{certified['items']:,} calibration videos (Clopper-Pearson bound). Temperatures: level 1 "
        f"{policy.temperature.level1:.3f}, level 2 {policy.temperature.level2:.3f}. "
        f"{policy.audit_rate:.0%} of what is accepted goes to people as well."
    )
    sources = card_table(
        ("level", "own threshold", "shared threshold", "never"),
        [(level.replace("level", "level "), *threshold_sources(certified[level])) for level in ("level2", "level1")],
    )
    parts = [text, sources]
    if evaluation is not None:
        parts.append(
            card_table(
                (f"route, {evaluation.split} split", "share of videos", "wrong"),
                [
                    (route, f"{each.share:.3f}", "" if each.risk is None else f"{each.risk:.3f}")
                    for route, each in evaluation.routes.items()
                ],
            )
        )
    return "\n\n".join(parts)


def recalibrated(card: str, policy: PolicyFile) -> str:
    """The card of a bundle that was given another policy, whose worth is not measured yet."""
    told = (
        "Calibrated again since the card was written: what it says of probabilities elsewhere is of the policy before. "
        "`reelsort evaluate BUNDLE --data DIR` measures this one."
    )
    return with_section(card, _PUBLISHES, f"{_policy(policy, None)}\n\n{told}")


def with_section(card: str, head: str, body: str) -> str:
    """The card with such a section: in its old place, or before the last one where there was none."""
    section = f"{head}\n\n{body}"
    before, found, after = card.partition(f"{head}\n")
    if found:
        _, following, rest = after.partition("\n## ")
    else:
        before, following, rest = card.partition(f"{_LAST}\n")
    return f"{before.rstrip()}\n\n{section}\n\n{following.lstrip()}{rest}".rstrip() + "\n"


def without_section(card: str, head: str) -> str:
    """The card without it."""
    before, found, after = card.partition(f"{head}\n")
    if not found:
        return card
    _, following, rest = after.partition("\n## ")
    return f"{before.rstrip()}\n\n{following.lstrip()}{rest}".rstrip() + "\n"


def threshold_sources(classes: dict[str, dict[str, Any]]) -> Iterable[str]:
    """How many classes have a threshold of their own, a shared one, and none."""
    found = [each["source"] for each in classes.values()]
    return (str(found.count(source)) for source in ("own", "pooled", "none"))


def card_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
