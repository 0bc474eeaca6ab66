"""`python -m tests.faults [--seed N] [--only 1,9] [--quick]`: run the faults, print the ledger, exit 1 if one fails."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.lab import Lab
from tests.faults.scenarios import Form, Outcome, all_scenarios


def main() -> int:
    parser = argparse.ArgumentParser(prog="make faults")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--rounds", type=int, help="of fault 1")
    parser.add_argument("--only", help="numbers, comma-separated")
    parser.add_argument("--quick", action="store_true")
    chosen = parser.parse_args()
    if chosen.rounds:
        os.environ["ROUNDS"] = str(chosen.rounds)
    form = Form.QUICK if chosen.quick else Form.FULL
    scenarios = all_scenarios()
    numbers = [int(number) for number in chosen.only.split(",")] if chosen.only else list(scenarios)
    print(f"seed {chosen.seed}, {form} form")  # noqa: T201
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="reelsort-faults-") as folder:
        lab = Lab(Path(folder) / "stack", chosen.seed)
        try:
            for number in numbers:
                begun = time.monotonic()
                outcome = scenarios[number].run(lab, form)
                outcomes.append(outcome)
                _show(outcome, time.monotonic() - begun)
        finally:
            lab.close()
    failed = [outcome.number for outcome in outcomes if not outcome.passes]
    print(f"{len(outcomes) - len(failed)} passed, {len(failed)} failed")  # noqa: T201
    return 1 if failed else 0


def _show(outcome: Outcome, seconds: float) -> None:
    verdict = "pass" if outcome.passes else "FAIL"
    print(f"{verdict}  {outcome.number:2d} {outcome.title} ({seconds:.0f} s)")  # noqa: T201
    print(f"      {json.dumps(outcome.figures)}")  # noqa: T201
    for failure in outcome.failures:
        print(f"      {failure}")  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
