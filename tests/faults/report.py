"""Outcomes as lines while they come, as JSON, and as the table of docs/reliability.md."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.faults.scenarios import Outcome

_LEDGER = ("published", "lost", "double_effects", "wrong_dead_letters", "unannounced", "committed_past_durable")


def lines(outcome: Outcome) -> str:
    verdict = "pass" if outcome.passes else "FAIL"
    head = f"{verdict}  {outcome.number:2d} {outcome.title}, {outcome.protocol} groups ({outcome.seconds:.0f} s)"
    return "\n".join([head, f"      {json.dumps(outcome.figures)}", *(f"      {each}" for each in outcome.failures)])


def save(path: Path, seed: int, form: str, outcomes: Sequence[Outcome]) -> None:
    document = {"seed": seed, "form": form, "outcomes": [asdict(outcome) for outcome in outcomes]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def table(document: dict[str, Any]) -> str:
    """The saved document as a Markdown table."""
    rows = [
        f"Seed {document['seed']}, {document['form']} form.",
        "",
        "| # | fault | groups | published | lost | double effects | wrong dead letters | what else was measured | s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for each in document["outcomes"]:
        figures = each["figures"]
        rest = ", ".join(f"{_words(name)} {_plain(value)}" for name, value in figures.items() if name not in _LEDGER)
        cells = [
            each["number"],
            each["title"] + ("" if not each["failures"] else " **(failed)**"),
            each["protocol"],
            *(figures.get(name, "") for name in _LEDGER[:4]),
            rest,
            round(each["seconds"]),
        ]
        rows.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(rows)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{_words(key)} {count}" for key, count in value.items()) + ")"
    return f"{value:g}" if isinstance(value, float) else str(value)
