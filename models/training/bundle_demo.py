"""`python -m models.training.bundle_demo`: make the committed bundle again, by the project's own commands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SEED = 1
ARCHITECTURE = "feature_mix"  # the best of the small ones: docs/models.md, "How they compare"
COUNTS = {"train": 4000, "validation": 300, "calibration": 1500, "test": 1000}
TARGET_RISK = 0.10  # 1,500 calibration videos over 48 classes certify hardly a class at 5 %


def main() -> None:
    """Data, training, calibration, evaluation, export, the bundle's evaluation, signals: each as a user would run it.

    Whatever an interrupted call finished is not done again.
    """
    bundle = Path(__file__).parent.parent / "bundles" / "demo"
    work = Path.cwd() / "var" / "bundle"
    data, run = work / "data", work / "run"
    counts = [word for split, count in COUNTS.items() for word in (f"--{split}", str(count))]
    for command in (
        ["data", "make", str(data), "--seed", str(SEED), *counts],
        ["train", "--data", str(data), "--out", str(run), "--seed", str(SEED), "--arch", ARCHITECTURE],
        ["calibrate", str(run), "--data", str(data), "--target-risk", str(TARGET_RISK)],
        ["evaluate", str(run), "--data", str(data)],
        ["export", str(run), "--out", str(bundle)],
        ["evaluate", str(bundle), "--data", str(data)],
        ["train-signals", str(bundle), "--data", str(data)],
    ):
        subprocess.run([sys.executable, "-m", "stream.cli.main", *command], check=True)


if __name__ == "__main__":
    main()
