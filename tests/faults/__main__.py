"""`python -m tests.faults`: run the faults, print the ledger line by line, exit 1 if one fails."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import get_args

from deploy.local import stack
from tests.faults import report
from tests.faults.lab import GroupProtocol, Lab
from tests.faults.scenarios import Form, Outcome, Scenario, all_scenarios, perform, planned

INTERRUPTED = 130


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--rounds", type=int, help="of fault 1")
    parser.add_argument("--only", help="numbers, comma-separated")
    parser.add_argument("--protocol", choices=get_args(GroupProtocol), help="of the consumer groups")
    parser.add_argument("--quick", action="store_true", help="the form that CI runs")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--markdown", type=Path, help="run nothing: print the table of such a file")
    chosen = parser.parse_args()
    if chosen.markdown:
        print(report.table(json.loads(chosen.markdown.read_text(encoding="utf-8"))))  # noqa: T201
        return 0
    if chosen.rounds:
        os.environ["ROUNDS"] = str(chosen.rounds)
    form = Form.QUICK if chosen.quick else Form.FULL
    protocols = [chosen.protocol] if chosen.protocol else list(get_args(GroupProtocol))
    numbers = [int(number) for number in chosen.only.split(",")] if chosen.only else list(all_scenarios())
    print(f"seed {chosen.seed}, {form} form")  # noqa: T201
    # a SIGTERM, as a Ctrl-C, ends servers and workers before it ends us
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        outcomes = _run(planned(numbers, form, protocols), form, chosen.seed, chosen.json)
    except KeyboardInterrupt:
        print("interrupted: everything that was started is stopped")  # noqa: T201
        return INTERRUPTED
    failed = [outcome for outcome in outcomes if not outcome.passes]
    print(f"{len(outcomes) - len(failed)} passed, {len(failed)} failed")  # noqa: T201
    return 1 if failed else 0


def _run(plan: Iterable[tuple[Scenario, GroupProtocol]], form: Form, seed: int, saved: Path | None) -> list[Outcome]:
    """Servers and workers are stopped however this ends; logs are kept unless everything passed."""
    folder = Path(tempfile.mkdtemp(prefix="reelsort-faults-"))
    outcomes: list[Outcome] = []
    try:
        with closing(Lab(folder / "stack", seed)) as lab:
            for scenario, protocol in plan:
                outcomes.append(perform(scenario, lab, form, protocol))
                print(report.lines(outcomes[-1]), flush=True)  # noqa: T201
                if saved:
                    report.save(saved, seed, form, outcomes)
    finally:
        stack.down(folder / "stack")  # an interrupt may have come while they started
    if all(outcome.passes for outcome in outcomes):
        shutil.rmtree(folder, ignore_errors=True)
    return outcomes


if __name__ == "__main__":
    sys.exit(main())
