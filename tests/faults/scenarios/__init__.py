"""One file a fault; each has NUMBER, TITLE, ALSO_CLASSIC and run(lab, form) -> Outcome."""

from __future__ import annotations

import importlib
import pkgutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from random import Random
from typing import Any, Protocol

from tests.faults.field import Field
from tests.faults.lab import GroupProtocol, Lab
from tests.faults.ledger import Input, Verdict, judge


class Form(StrEnum):
    """quick runs in every CI; full is the promise in docs/reliability.md."""

    QUICK = "quick"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one fault showed. `failures` is empty when it passes."""

    number: int
    title: str
    figures: dict[str, Any]
    failures: list[str] = field(default_factory=list)
    protocol: GroupProtocol = "consumer"
    seconds: float = 0.0

    @property
    def passes(self) -> bool:
        return not self.failures


class Scenario(Protocol):
    NUMBER: int
    TITLE: str
    ALSO_CLASSIC: bool
    """Whether the full form runs it under the classic group protocol as well."""

    def run(self, lab: Lab, form: Form) -> Outcome: ...


def all_scenarios() -> dict[int, Scenario]:
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    return {module.NUMBER: module for module in sorted(modules, key=lambda module: module.NUMBER)}


def planned(
    numbers: Sequence[int], form: Form, protocols: Sequence[GroupProtocol]
) -> Iterator[tuple[Scenario, GroupProtocol]]:
    """What a form runs, in order: the classic protocol belongs to the full form."""
    for number in numbers:
        scenario = all_scenarios()[number]
        if "consumer" in protocols:
            yield scenario, "consumer"
        if "classic" in protocols and scenario.ALSO_CLASSIC and form is Form.FULL:
            yield scenario, "classic"


def perform(scenario: Scenario, lab: Lab, form: Form, protocol: GroupProtocol = "consumer") -> Outcome:
    """Run it. What does not come to rest in time has failed, and is no reason to leave out the faults behind it."""
    lab.protocol = protocol
    begun = time.monotonic()
    try:
        outcome = scenario.run(lab, form)
    except TimeoutError as error:
        outcome = Outcome(scenario.NUMBER, scenario.TITLE, {}, [str(error)])
    return replace(outcome, protocol=protocol, seconds=round(time.monotonic() - begun, 1))


def conclude(
    scenario: Scenario,
    field: Field,
    figures: dict[str, Any],
    failures: list[str] | None = None,
    poison: set[Input] | None = None,
    unparsed: int = 0,
) -> Outcome:
    """Hold what is stored and announced against the ledger, and add what the scenario itself found."""
    verdict = judge(field.read_back(), poison or set(), unparsed)
    return Outcome(
        scenario.NUMBER,
        scenario.TITLE,
        {"published": len(field.published)} | verdict.counts() | figures,
        (failures or []) + _breaches(verdict),
    )


def rng_of(lab: Lab, number: int) -> Random:
    return Random(lab.seed * 100 + number)


def _breaches(verdict: Verdict) -> list[str]:
    return [
        f"{name.replace('_', ' ')}: {', '.join(items[:3])}"
        for name in verdict.counts()
        if (items := getattr(verdict, name))
    ]
