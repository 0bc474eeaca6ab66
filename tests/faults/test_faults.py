"""Every fault in its quick form, on a stack of their own. `make faults` runs the full forms."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from tests.faults.lab import Lab
from tests.faults.scenarios import Form, Scenario, all_scenarios, perform

SEED = int(os.environ.get("FAULTS_SEED", "7"))

pytestmark = [pytest.mark.fault, pytest.mark.stack, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("faults"), SEED)
    yield lab
    lab.close()


SCENARIOS = [pytest.param(scenario, id=scenario.__name__.split(".")[-1]) for scenario in all_scenarios().values()]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_input_ends_once_whatever_happens(lab: Lab, scenario: Scenario) -> None:
    outcome = perform(scenario, lab, Form.QUICK)
    print(f"seed {SEED}, {outcome.seconds:.0f} s: {json.dumps(outcome.figures)}")  # noqa: T201 - shown where it fails
    assert outcome.passes, outcome.failures
